"""A made-up pair of SDCNL files in the upstream format, as large and as dirty as the real pair.

Every trap that was counted on the real files (columns, line breaks inside fields, wrong lengths,
empty columns, placeholder bodies, entities, invisible characters, links, repeated and contradicting
posts) is planted here in the same numbers. The posts are words drawn at random.
"""

import random
from dataclasses import dataclass, field, replace

from mental_slm.sample.formats import csv_bytes
from mental_slm.sample.sdcnl import HEADER

TRAIN, TEST = 1516, 379
LABELS = {"train": {1: 787, 0: 729}, "test": {1: 193, 0: 186}}

#: Rows with each kind of dirt in the body: train, test.
DIRT = {
    "entity": (48, 13),
    "backslash": (13, 1),
    "nbsp": (3, 1),
    "zero_width": (1, 0),
    "emoji": (14, 7),
    "double_space": (206, 59),
    "outer_space": (5, 3),
    "url": (14, 6),
    "board": (5, 2),
    "long_number": (3, 0),
    "newline": (698, 169),
    "curly": (535, 117),
}
EMPTY_POSTS = {"train": {1: 55, 0: 1}, "test": {1: 9}}
EMPTY_TITLES = {"train": 18, "test": 2}  # in title_clean only
BARE_LINKS = 2
DELETED = 4
SHARED_AUTHORS = 59
WRONG_LENGTHS = 14

#: Posts that stand in train twice with the same label, and with the other label.
REPEATED, CONTRADICTED = 3, 4

_SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu".split()
_WORDS = [a + b + c for a in _SYLLABLES for b in _SYLLABLES[:10] for c in _SYLLABLES[5:9]]
_SPOIL = {
    "entity": lambda body: f"{body} rain &amp; snow, that&#39;s it",
    "backslash": lambda body: rf"{body} \*sigh\*",
    "nbsp": lambda body: f"{body}\u00a0so",
    "zero_width": lambda body: f"{body} al\u200bways",
    "emoji": lambda body: f"{body} 😔",
    "double_space": lambda body: body.replace(" ", "  ", 1),
    "outer_space": lambda body: f" {body} ",
    "url": lambda body: f"{body} at https://example.org/page/7",
    "board": lambda body: f"{body} as in r/sampleboard",
    "long_number": lambda body: f"{body} 12345678",
    "newline": lambda body: body.replace(" ", "\n\n", 1) if "  " not in body else f"{body}\nthen",
    "curly": lambda body: f"{body} I can\u2019t",
}


@dataclass
class Post:
    """One row before it is written."""

    title: str
    body: str
    label: int
    author: str
    wrong_length: bool = False
    empty: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Pair:
    """The two files, and who and what must not leave the reader.

    Attributes:
        train: Bytes of training-set.csv.
        test: Bytes of testing-set.csv.
        authors: Names of all authors.
        urls: Addresses of all posts.
    """

    train: bytes
    test: bytes
    authors: set[str]
    urls: set[str]


def make_pair() -> Pair:
    """Write the pair; it is always the same."""
    rng = random.Random("made-up SDCNL")
    train, test = (_posts(rng, split) for split in ("train", "test"))
    for number, post in enumerate(test[:SHARED_AUTHORS]):
        post.author = train[number].author
    for post in train[100 : 100 + DELETED]:
        post.author = "[deleted]"
    rows = [_row(number, post) for number, post in enumerate(train + test)]
    return Pair(
        csv_bytes(HEADER, rows[:TRAIN]),
        csv_bytes(HEADER, rows[TRAIN:]),
        {post.author for post in train + test} - {"[deleted]"},
        {str(row[HEADER.index("url")]) for row in rows},
    )


def _posts(rng: random.Random, split: str) -> list[Post]:
    labels = [label for label, count in LABELS[split].items() for _ in range(count)]
    posts = [
        Post(
            _words(rng, 4),
            _words(rng, 30),
            label,
            f"{_words(rng, 1)}_{split}_{number:04d}",
        )
        for number, label in enumerate(labels)
    ]
    rng.shuffle(posts)
    place = ("train", "test").index(split)
    first = 0
    for kind, counts in DIRT.items():
        # line breaks and quotes lie on top of the other dirt, which lies on rows of its own
        rows = range(counts[place]) if kind in ("newline", "curly") else range(
            first, first := first + counts[place]
        )  # fmt: skip
        for row in rows:
            posts[row].body = _SPOIL[kind](posts[row].body)
    _empty_bodies(posts, EMPTY_POSTS[split])
    if split == "train":
        _plant_in_train(posts)
    for post in posts[: EMPTY_TITLES[split]]:
        post.empty.add("title_clean")
    return posts


def _empty_bodies(posts: list[Post], wanted: dict[int, int]) -> None:
    clean = list(reversed(posts))  # the last ones carry no dirt
    for label, count in wanted.items():
        for post in [p for p in clean if p.label == label and p.body != "emptypost"][:count]:
            post.body = "emptypost"


def _plant_in_train(posts: list[Post]) -> None:
    posts[0].empty.add("selftext_clean")
    for post in posts[:2]:
        post.empty.add("author_clean")
    for post in posts[:WRONG_LENGTHS]:
        post.wrong_length = True
    whole = [row for row in range(800, 1300) if posts[row].body != "emptypost"]
    for row in whole[:BARE_LINKS]:
        posts[row].body = "https://example.org/story"
    # the copies take over other rows of the label they need, so that the counts stay as they are
    for number in range(REPEATED + CONTRADICTED):
        original = posts[whole[10 + number]]
        label = original.label if number < REPEATED else 1 - original.label
        row = next(row for row in whole[40 + 20 * number :] if posts[row].label == label)
        copy = replace(posts[row], title=original.title, body=original.body)
        if number in (0, REPEATED):  # the same words, set in another way
            copy.title = original.title.upper()
        posts[row] = copy
    short = next(post for post in reversed(posts) if post.body == "emptypost")
    short.title = "Help"


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def _row(number: int, post: Post) -> list[object]:
    board = "SuicideWatch" if post.label else "depression"
    cells: dict[str, object] = {
        "": number,
        "title": post.title,
        "selftext": post.body,
        "author": post.author,
        "num_comments": number % 25,
        "is_suicide": post.label,
        "url": f"https://www.reddit.com/r/{board}/comments/mu{number:04d}/",
        "selftext_clean": " ".join(post.body.split()),
        "title_clean": post.title,
        "author_clean": post.author,
        "selftext_length": len(post.body) + 7 * post.wrong_length,
        "title_length": len(post.title),
        "megatext_clean": f"{post.title} {' '.join(post.body.split())}",
    }
    return ["" if name in post.empty else cells[name] for name in HEADER]
