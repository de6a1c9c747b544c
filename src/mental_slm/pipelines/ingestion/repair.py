"""Repairing texts: entities, Unicode form, invisible characters, white space, personal data.

Every change is named in ``repairs``. The keys that decide whether two texts are the same live here
too, because they must not depend on anything that a repair could change.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable

import pandas as pd
from ftfy.fixes import remove_control_chars, unescape_html

from mental_slm.datasets.remote_file import RawFile, SourceFileError
from mental_slm.pipelines.ingestion.parsers import twin_texts

#: Soft hyphen, zero-width space, direction marks, word joiner, byte-order mark, C1 controls and
#: U+FFFD. Joiners (U+200C, U+200D) stay: emoji and several scripts are made of them.
_INVISIBLE = re.compile(
    "[\u0080-\u009f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffd]"
)

#: Controls that part words (vertical tab, separators, next line): removed they would glue them.
_PARTING = re.compile("[\v\x1c-\x1f\x85]")
_BLANKS = re.compile(r"[^\S\n]+")
_LINE_BREAKS = re.compile(r" ?\n ?")
_EMPTY_LINES = re.compile(r"\n{3,}")

_ADDRESS = r"@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}"

#: Personal data and what stands in for it. `<url>` is the mask Dreaddit itself uses. A search begins
#: where a name begins, never inside one: else a long word would take time by the square of its
#: length. Names that hang together ("@one@two") are therefore taken as a whole.
_MASKS: tuple[tuple[str, str, "re.Pattern[str]"], ...] = (
    (
        "pii_url",
        "<url>",
        re.compile(
            r"(?:https?://|www\."
            # without a scheme only where a path follows: a page, not the name of a company
            r"|(?<![\w@.-])(?:[\w-]+\.)+(?:com|org|net|edu|gov|info|io|me|co|uk|ly|be|gg|tv|us)/"
            r")[^\s<>()\[\]]+",
            re.IGNORECASE,
        ),
    ),
    (
        "pii_email",
        "<email>",
        re.compile(rf"(?<![\w.+-])[\w.+-]+{_ADDRESS}(?:[\w.+-]*{_ADDRESS})*"),
    ),
    (
        "pii_user",
        "<user>",
        re.compile(r"(?<![\w/])(?:/?u/[\w-]{3,20})+|(?<![\w@.])(?:@\w{3,})+"),
    ),
    (
        "pii_phone",
        "<phone>",
        re.compile(
            r"(?<![\w.])(?:"
            r"\+\d{1,3}[\s.-]?\(?\d{1,4}\)?(?:[\s.-]?\d{2,4}){2,4}"  # international
            r"|(?:1[\s.-]?)?(?:\(\d{3}\)\s?|\d{3}[\s.-])\d{3}[\s.-]\d{4}"  # North American
            r"|\d{3}[.-]\d{4}"  # the same without its area code
            r"|\d{7,}"  # any number long enough to identify somebody
            r")(?!\w)"
        ),
    ),
)

_TWINS = (
    "the two files must hold the same posts in the same order: restore both, or leave Dreaddit out "
    "(ingestion.datasets)"
)

_TYPOGRAPHY = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--")


def normalise_key(text: str) -> str:
    """Return what is left of a text when typography is taken away: the base of equality.

    Entities decoded, NFKC, ASCII quotes and dashes, lower case, letters a-z and digits only. Of a
    text that is mostly in another script hardly anything would be left (two posts that share no
    more than a year would be the same), so it keeps its own letters with their marks; and a text
    without letters, for example of emoji alone, keeps everything but white space.
    """
    plain = unicodedata.normalize("NFKC", _decode_entities(text))
    plain = plain.translate(_TYPOGRAPHY).lower()
    key = re.sub(r"[^a-z0-9]", "", plain)
    if len(key) > len(re.sub(r"[\W_]", "", plain)) / 2:
        return key
    own = "".join(letter for letter in plain if unicodedata.category(letter)[0] in "LMN")
    return own or re.sub(r"\s", "", plain)


def text_id(key: str) -> str:
    """Return 16 hex digits of a key; equal texts share it, across datasets."""
    return hashlib.sha256(key.encode("utf-8")).hexdigest()[:16]


def repair_text(text: str) -> tuple[str, list[str]]:
    """Repair and mask one text.

    One repair can uncover work for another (a zero-width space inside an entity), so they run
    until nothing changes: to repair a repaired text changes nothing.

    Returns:
        The text, and the names of the repairs that changed it, in the order in which they ran.
    """
    done: dict[str, None] = {}
    before = None
    while text != before:
        before = text
        for name, repair in _STEPS:
            changed = repair(text)
            if changed != text:
                done[name] = None
                text = changed
    return text, list(done)


def restore_from_twin(posts: pd.DataFrame, twin: RawFile) -> pd.DataFrame:
    """Give Dreaddit's posts the intact text that DepSeverity holds at the same position.

    Dreaddit's public file lost its curly quotes, its emoji and some bytes; DepSeverity is the same
    2,838 + 715 posts in the same order. That is checked for every row before a text is taken.

    Args:
        posts: Parsed Dreaddit posts, train file first, in file order.
        twin: The DepSeverity file.

    Raises:
        SourceFileError: The two files do not hold the same posts in the same order.
    """
    intact = twin_texts(twin)
    if len(intact) != len(posts):
        raise SourceFileError(
            f"{twin.filepath}: {len(intact):,} rows, but Dreaddit has {len(posts):,}; {_TWINS}"
        )
    intact.index = posts.index
    differs = posts["text"].map(normalise_key) != intact.map(normalise_key)
    if differs.any():
        row = int(differs.to_numpy().argmax())
        post = posts.iloc[row]
        raise SourceFileError(
            f"{twin.filepath}: row {row} is not the post that Dreaddit has there "
            f"({post['source_path']}, row {post['source_row']}); {_TWINS}"
        )
    restored = posts["text"] != intact
    repairs = [
        [*names, "encoding_from_depseverity"] if hit else [*names]
        for names, hit in zip(posts["repairs"], restored, strict=True)
    ]
    return posts.assign(text=intact, repairs=pd.Series(repairs, index=posts.index, dtype="object"))


def _decode_entities(text: str) -> str:
    """Decode HTML entities, however often they were escaped."""
    before = None
    while text != before:
        before, text = text, unescape_html(text)
    return text


def _drop_invisible(text: str) -> str:
    return _INVISIBLE.sub("", remove_control_chars(_PARTING.sub(" ", text)))


def _clean_spaces(text: str) -> str:
    """Collapse blanks, keep line and paragraph breaks."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _LINE_BREAKS.sub("\n", _BLANKS.sub(" ", text))
    return _EMPTY_LINES.sub("\n\n", text).strip()


def _masker(mask: str, pattern: "re.Pattern[str]") -> Callable[[str], str]:
    return lambda text: pattern.sub(mask, text)


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("entities", _decode_entities),
    ("nfc", lambda text: unicodedata.normalize("NFC", text)),
    ("invisible", _drop_invisible),
    ("whitespace", _clean_spaces),
    *((name, _masker(mask, pattern)) for name, mask, pattern in _MASKS),
)
