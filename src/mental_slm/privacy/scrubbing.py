"""Finding personal data in a text and putting masks in its place."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .names import find_names
from .patterns import FINDERS

_FINDERS = {**FINDERS, "name": find_names}

#: What personal data is called, here and inside the masks.
KINDS: tuple[str, ...] = tuple(_FINDERS)

_MASK = re.compile(f"<(?:{'|'.join(KINDS)})>")


class Finding(NamedTuple):
    """One piece of personal data in a text.

    Attributes:
        kind: One of :data:`KINDS`.
        start: Index of its first character.
        end: Index after its last character.
    """

    kind: str
    start: int
    end: int


def find_personal_data(text: str) -> list[Finding]:
    """Find personal data in a text.

    Crisis lines and their sites, years, ages, doses, times, prices and subreddits are none, and
    masks that stand in the text already are left alone.

    Returns:
        Findings from left to right, without overlaps.
    """
    return _examine(text)[1]


def scrub(text: str) -> tuple[str, dict[str, int]]:
    """Put a mask (``<name>``, ``<email>``, ...) in the place of all personal data.

    Scrubbing twice is the same as scrubbing once.

    Returns:
        The text, and how many findings of each kind it had (kinds without any are left out).
    """
    scrubbed, findings = _examine(text)
    counts = Counter(finding.kind for finding in findings)
    return scrubbed, {kind: counts[kind] for kind in KINDS if counts[kind]}


def _examine(text: str) -> tuple[str, list[Finding]]:
    """Mask a text until nothing is found in it any more; return it and all that was found.

    A mask changes what stands around other words, so one pass could leave a finding for the next
    call. Findings never touch a mask, so each pass leaves less to look at, and this ends.
    """
    findings: list[Finding] = []
    scrubbed = text
    while found := _find_once(scrubbed):
        findings = sorted([*findings, *_in_original(found, findings)], key=lambda hit: hit.start)
        scrubbed = _masked(text, findings)
    return scrubbed, findings


def _find_once(text: str) -> list[Finding]:
    """Find what does not overlap a mask; of findings that overlap, the longest stays."""
    masks = [match.span() for match in _MASK.finditer(text)]
    found = [Finding(kind, *span) for kind, finder in _FINDERS.items() for span in finder(text)]
    found.sort(key=lambda hit: (hit.start - hit.end, KINDS.index(hit.kind), hit.start))
    kept: list[Finding] = []
    for hit in found:
        others = (*masks, *(finding[1:] for finding in kept))
        if hit.start < hit.end and all(
            hit.end <= left or right <= hit.start for left, right in others
        ):
            kept.append(hit)
    return sorted(kept, key=lambda finding: finding.start)


def _in_original(found: list[Finding], before: list[Finding]) -> Iterator[Finding]:
    """Move findings from a text in which ``before`` is masked back to the text as it was."""
    for kind, start, end in found:
        shift = 0
        for earlier in before:
            if earlier.start >= start + shift:
                break
            shift += earlier.end - earlier.start - len(mask(earlier.kind))
        yield Finding(kind, start + shift, end + shift)


def _masked(text: str, findings: list[Finding]) -> str:
    parts = []
    position = 0
    for kind, start, end in findings:
        parts += [text[position:start], mask(kind)]
        position = end
    return "".join([*parts, text[position:]])


def mask(kind: str) -> str:
    """Return what stands in the place of personal data of a kind."""
    return f"<{kind}>"
