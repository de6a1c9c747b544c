"""Dreaddit (stress) and DepSeverity (severity of depression): the same posts in two files.

Upstream, the two data sets are one collection of posts in one order. DepSeverity kept the text
intact; Dreaddit lost every curly quote and a few bytes. Dreaddit comes split, DepSeverity does not,
so posts that are training rows of one become test rows of the other.
"""

import random
import re
from dataclasses import dataclass, replace
from functools import partial

from mental_slm.sample.composer import PhraseBook, Register, compose
from mental_slm.sample.dirt import plant, typographic
from mental_slm.sample.formats import csv_bytes
from mental_slm.sample.phrases import BANKS

#: Posts by stress and severity, close to the real cross table but less skewed.
CROSS_TABLE: dict[tuple[str, str], int] = {
    ("no", "minimum"): 30,
    ("yes", "minimum"): 10,
    ("no", "mild"): 7,
    ("yes", "mild"): 18,
    ("no", "moderate"): 3,
    ("yes", "moderate"): 17,
    ("no", "severe"): 2,
    ("yes", "severe"): 18,
}
TEST_POSTS = 22
UNCLEAR_SHARE = 0.07

_DIRT = {
    "entity": 2, "entity_quote": 1, "entity_zero_width": 2, "backslash": 2, "literal_newline": 1,
    "nbsp": 1, "zero_width": 1, "emoji": 2, "double_space": 4, "outer_space": 2, "accent": 3,
    "ellipsis": 1, "quotation": 2, "user": 1, "group": 2, "url": 1, "masked_url": 3, "phone": 1,
    "handle": 1,
}  # fmt: skip
_CURLY_SHARE = 0.5
_SEVERE_FIRST = 0.3
_SPREADSHEET_ERROR = "#NAME?"

#: What Dreaddit's journey through a spreadsheet removed.
_LOST = re.compile("[\u2018\u2019\u201c\u201d\u200b\u200e\ufe0f]|[\U0001f300-\U0001faff]")

_LEAD = ("syntax_ari",)
_LIWC = (
    "WC Analytic Clout Authentic Tone WPS Sixltr Dic function pronoun ppron i we you shehe they "
    "ipron article prep auxverb adverb conj negate verb adj compare interrog number quant affect "
    "posemo negemo anx anger sad social family friend female male cogproc insight cause discrep "
    "tentat certain differ percept see hear feel bio body health sexual ingest drives affiliation "
    "achieve power reward risk focuspast focuspresent focusfuture relativ motion space time work "
    "leisure home money relig death informal swear netspeak assent nonflu filler AllPunc Period "
    "Comma Colon SemiC QMark Exclam Dash Quote Apostro Parenth OtherP"
).split()
_DAL = [
    f"lex_dal_{measure}"
    for measure in (
        "max_pleasantness max_activation max_imagery min_pleasantness min_activation min_imagery "
        "avg_activation avg_imagery avg_pleasantness"
    ).split()
]
_MEASURES = [
    *_LEAD,
    *(f"lex_liwc_{name}" for name in _LIWC),
    *_DAL,
    "social_upvote_ratio",
    "social_num_comments",
    "syntax_fk_grade",
    "sentiment",
]
_SOCIAL = ["label", "confidence", "social_timestamp", "social_karma"]
TRAIN_HEADER = ["subreddit", "post_id", "sentence_range", "text", "id", *_SOCIAL, *_MEASURES]
TEST_HEADER = ["id", "subreddit", "post_id", "sentence_range", "text", *_SOCIAL, *_MEASURES]


@dataclass(frozen=True)
class Post:
    """One post with its two labels.

    Attributes:
        text: The intact text.
        stress: ``yes`` or ``no``.
        severity: ``minimum``, ``mild``, ``moderate`` or ``severe``.
    """

    text: str
    stress: str
    severity: str


def fabricate_dreaddit(rng: random.Random, register: Register) -> dict[str, bytes]:
    """Write the two Dreaddit files and the DepSeverity file.

    Args:
        rng: The source of chance.
        register: Everything written so far.

    Returns:
        Content by path below the sample folder.
    """
    posts = _write_posts(rng, register)
    train, test = posts[:-TEST_POSTS], posts[-TEST_POSTS:]
    train = _plant_rows(train)
    test = [*test, train[3]]  # a post that was put into both of Dreaddit's files
    lost = [_lose_characters(post.text) for post in train + test]
    _leave_stray_bytes(train + test, lost)
    rows = [
        _row(number, post, text, number >= len(train), rng)
        for number, (post, text) in enumerate(zip(train + test, lost, strict=True))
    ]
    return {
        "dreaddit/dreaddit-train.csv": _dreaddit_file(TRAIN_HEADER, rows[: len(train)]),
        "dreaddit/dreaddit-test.csv": _dreaddit_file(TEST_HEADER, rows[len(train) :]),
        "depseverity/Reddit_depression_dataset.csv": csv_bytes(
            ["text", "label"], [(post.text, post.severity) for post in train + test], "\r\n"
        ),
    }


def _write_posts(rng: random.Random, register: Register) -> list[Post]:
    book = PhraseBook(BANKS, rng)
    labels = [labels for labels, count in CROSS_TABLE.items() for _ in range(count)]
    # As upstream, severe posts grow rarer towards the end: DepSeverity's last fifth of them then
    # reaches into Dreaddit's training rows.
    labels.sort(key=lambda pair: rng.random() - _SEVERE_FIRST * (pair[1] == "severe"))
    texts = [
        compose(register, "Dreaddit", partial(_draft, book, stress, severity, rng), 22)
        for stress, severity in labels
    ]
    texts = [typographic(text) if rng.random() < _CURLY_SHARE else text for text in texts]
    plant(texts, _DIRT, rng)
    return [Post(text, *pair) for text, pair in zip(texts, labels, strict=True)]


def _draft(book: PhraseBook, stress: str, severity: str, rng: random.Random) -> str:
    stress_bank = "stress_unclear" if rng.random() < UNCLEAR_SHARE else f"stress_{stress}"
    severity_bank = "severity_unclear" if rng.random() < UNCLEAR_SHARE else severity
    cues = [book.sentence(stress_bank), book.sentence(severity_bank)]
    if rng.random() < 0.4:
        cues.reverse()
    if rng.random() < 0.35:
        cues.insert(rng.randrange(2), book.sentence("detail"))
    if rng.random() < 0.2:
        cues.append(book.sentence("ending"))
    cues.insert(0 if rng.random() < 0.8 else 1, book.sentence("opening"))
    return " ".join(cues)


def _plant_rows(posts: list[Post]) -> list[Post]:
    """Add spreadsheet errors, a repeated post and posts with contradicting labels."""
    contradicted = next(post for post in posts[20:] if post.severity == "mild")
    planted = [
        (8, Post(_SPREADSHEET_ERROR, "yes", "minimum")),
        (31, Post(_SPREADSHEET_ERROR, "no", "minimum")),
        (44, posts[12]),
        (57, replace(posts[15], stress="no" if posts[15].stress == "yes" else "yes")),
        (66, replace(contradicted, severity="moderate")),
    ]
    posts = list(posts)
    for position, post in planted:
        posts.insert(position, post)
    return posts


def _lose_characters(text: str) -> str:
    return _LOST.sub("", text.replace("\u00a0", " "))


def _leave_stray_bytes(posts: list[Post], lost: list[str]) -> None:
    """Break an accent or an ellipsis in three of the Dreaddit texts into undecodable bytes."""
    accents = [number for number, post in enumerate(posts) if "café" in post.text]
    ellipses = [number for number, post in enumerate(posts) if "\u2026" in post.text]
    lost[accents[0]] = lost[accents[0]].replace("é", "\udce9")
    lost[accents[1]] = lost[accents[1]].replace("é", "\udcc3")  # half of a two-byte character
    for number in ellipses:
        lost[number] = lost[number].replace("\u2026", "\udce2\udc80")


def _row(
    number: int, post: Post, text: str, is_test: bool, rng: random.Random
) -> dict[str, object]:
    first, last = 5 * (number % 2), 5 * (number % 2) + 5
    row: dict[str, object] = {name: round(rng.uniform(0, 100), 2) for name in _MEASURES}
    row |= {name: round(rng.uniform(1, 3), 5) for name in _DAL}
    return row | {
        "subreddit": rng.choice(["samplestress", "sampletalk", "sampleadvice"]),
        "post_id": f"s{'t' if is_test else 'r'}{number // 2:04d}",
        "sentence_range": f"({first}, {last})",
        "text": text,
        "id": 90000 + number,
        "label": int(post.stress == "yes"),
        # Upstream gives the agreement of the annotators, and zero for some test rows.
        "confidence": 0 if is_test and number % 7 == 0 else round(rng.uniform(0.43, 1), 9),
        "social_timestamp": 1500000000 + 86400 * number,
        "social_karma": rng.randrange(40),
        "lex_liwc_WC": len(text.split()),
        "social_upvote_ratio": round(rng.uniform(0.5, 1), 2),
        "social_num_comments": rng.randrange(30),
        "sentiment": round(rng.uniform(-1, 1), 9),
    }


def _dreaddit_file(header: list[str], rows: list[dict[str, object]]) -> bytes:
    return csv_bytes(
        header, [[row[name] for name in header] for row in rows], "\r\n", final_line_end=False
    )
