"""Reading a label out of an answer, strictly and leniently.

Strict is the headline: the answer ends with the very line it was asked for. Lenient shows how much
of what strict calls invalid is a matter of form. Neither guesses: where an answer's last word names
two options, or denies one, it has no label.
"""

import re
from collections.abc import Mapping

from mental_slm.tasks import ANSWER_PREFIX, answer_line, normalise_phrase

_QUOTED = re.compile(r'"[^"\n]*"|\u201c[^\u201d\n]*\u201d')
#: "Answer:", "**Final answer** -", "the answer is"
_ANSWER_WORDS = re.compile(
    rf"\b{re.escape(ANSWER_PREFIX.rstrip(':'))}\b[\s*_`]*(?::|=|-|\u2013|\bis\b)", re.IGNORECASE
)
#: A word that turns what follows in its clause into its opposite.
_DENIAL = re.compile(
    r"(?:\b(?:no|not|never|without|neither|nor|cannot)\b|n['\u2019]t\b)[^.,;:!?]*$", re.IGNORECASE
)


def parse_strict(phrases: Mapping[str, str], answer: str) -> str | None:
    """Return the label if the last line of an answer is exactly an answer line, else None.

    Args:
        phrases: Label to the phrase that stands for it.
        answer: What a model wrote. Blanks around a line and blank lines at the end do not count.
    """
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    label_of = {answer_line(phrase): label for label, phrase in phrases.items()}
    return label_of.get(lines[-1]) if lines else None


def parse_lenient(phrases: Mapping[str, str], answer: str) -> str | None:
    """Return the label an answer means, if it means one.

    The last answer line decides, wherever it stands and however it is written; in an answer without
    one, the last line that names an option outside quotation marks. The line must name one option
    alone (as often as it likes) and not deny it. What strict reads, lenient reads the same.

    Args:
        phrases: Label to the phrase that stands for it.
        answer: What a model wrote.

    Returns:
        The label, or None.
    """
    strict = parse_strict(phrases, answer)
    if strict is not None:
        return strict
    lines = answer.splitlines()
    for line in reversed(lines):
        opening = _last_match(_ANSWER_WORDS, line)
        if opening is not None:
            return _only_option(phrases, line[opening.end() :])
    for line in reversed(lines):
        unquoted = _QUOTED.sub(" ", line)
        if _find_options(phrases, unquoted):
            return _only_option(phrases, unquoted)
    return None


def _only_option(phrases: Mapping[str, str], text: str) -> str | None:
    mentions = _find_options(phrases, text)
    labels = {label for _, label in mentions}
    denied = any(_DENIAL.search(text[:start]) for start, _ in mentions)
    return labels.pop() if len(labels) == 1 and not denied else None


def _find_options(phrases: Mapping[str, str], text: str) -> list[tuple[int, str]]:
    """Return where options are named; of phrases that contain each other the longer one counts."""
    label_of = {normalise_phrase(phrase): label for label, phrase in phrases.items()}
    longest_first = sorted(label_of, key=len, reverse=True)
    alternatives = "|".join(r"\s+".join(map(re.escape, p.split())) for p in longest_first)
    found = re.finditer(rf"\b(?:{alternatives})\b", text, re.IGNORECASE)
    return [(match.start(), label_of[normalise_phrase(match[0])]) for match in found]


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(reversed([*pattern.finditer(text)]), None)
