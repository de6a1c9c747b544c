"""SDCNL: posts with a title, from a board about suicide or one about depression."""

import random
import re
from dataclasses import dataclass, replace
from functools import partial

from mental_slm.sample.composer import PhraseBook, Register, compose
from mental_slm.sample.dirt import plant, typographic
from mental_slm.sample.formats import csv_bytes
from mental_slm.sample.phrases import BANKS

#: Posts by file and label, without the planted rows.
COUNTS = {
    "training": {"suicidal": 34, "depression": 34},
    "testing": {"suicidal": 11, "depression": 11},
}
UNCLEAR_SHARE = 0.07
LONG_POST_WORDS = 180
EMPTY_POST = "emptypost"

HEADER = [
    "", "title", "selftext", "author", "num_comments", "is_suicide", "url", "selftext_clean",
    "title_clean", "author_clean", "selftext_length", "title_length", "megatext_clean",
]  # fmt: skip
_BOARDS = {"suicidal": "SuicideWatch", "depression": "depression"}
_DIRT = {
    "entity": 2, "entity_zero_width": 2, "backslash": 2, "nbsp": 2, "zero_width": 1, "emoji": 2,
    "double_space": 3, "outer_space": 1, "quotation": 2, "group": 1, "url": 2, "email": 1,
}  # fmt: skip
_CURLY_SHARE = 0.4
_NEWLINE_SHARE = 0.45
_STOP_WORDS = frozenset(
    "a an and are as at be but for i in is it my of on or so that the to".split()
)


@dataclass(frozen=True)
class Post:
    """One post: title, body and label (``suicidal`` or ``depression``)."""

    title: str
    body: str
    label: str


def fabricate_sdcnl(rng: random.Random, register: Register) -> dict[str, bytes]:
    """Write the training and the test file of SDCNL.

    Args:
        rng: The source of chance.
        register: Everything written so far.

    Returns:
        Content by path below the sample folder.
    """
    book = PhraseBook(BANKS, rng)
    train, test = (_write_posts(book, counts, rng, register) for counts in COUNTS.values())
    train = _plant_rows(train, book, register, rng)
    test = [*test, *_title_only(book, ["suicidal", "depression"], register)]
    rows = [_row(number, post, rng) for number, post in enumerate(train + test)]
    return {
        "sdcnl/training-set.csv": csv_bytes(HEADER, rows[: len(train)]),
        "sdcnl/testing-set.csv": csv_bytes(HEADER, rows[len(train) :]),
    }


def _write_posts(
    book: PhraseBook, counts: dict[str, int], rng: random.Random, register: Register
) -> list[Post]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    rng.shuffle(labels)
    drafts = [_compose(book, label, rng, register) for label in labels]
    titles, bodies = [title for title, _ in drafts], [body for _, body in drafts]
    for texts in (titles, bodies):
        texts[:] = [typographic(text) if rng.random() < _CURLY_SHARE else text for text in texts]
    share = len(bodies) / max(sum(row.values()) for row in COUNTS.values())
    plant(bodies, {kind: round(count * share) for kind, count in _DIRT.items()}, rng)
    bodies = [_paragraphs(body) if rng.random() < _NEWLINE_SHARE else body for body in bodies]
    return [Post(*parts) for parts in zip(titles, bodies, labels, strict=True)]


def _compose(
    book: PhraseBook, label: str, rng: random.Random, register: Register
) -> tuple[str, str]:
    def draft() -> str:
        return f"{_title(book, label, rng)}\n{_body(book, label, rng)}"

    title, body = compose(register, "SDCNL", draft, 24, 50).split("\n")
    return title, body


def _title(book: PhraseBook, label: str, rng: random.Random) -> str:
    return book.sentence("title" if rng.random() < 0.75 else f"title_{label}")


def _body(book: PhraseBook, label: str, rng: random.Random) -> str:
    cue = "suicidal" if label == "suicidal" else "not_suicidal"
    if rng.random() < UNCLEAR_SHARE:
        cue = "risk_unclear"
    banks = ["opening", "low_mood", cue]
    if rng.random() < 0.3:
        banks.insert(rng.randrange(1, 3), "risk_unclear")
    if rng.random() < 0.4:
        banks[0], banks[1] = banks[1], banks[0]
    if rng.random() < 0.2:
        banks.append("ending")
    return " ".join(book.sentence(bank) for bank in banks)


def _plant_rows(
    posts: list[Post], book: PhraseBook, register: Register, rng: random.Random
) -> list[Post]:
    """Add titles without a body, a repeat, a contradiction, a bare link and a long post."""
    other = {"suicidal": "depression", "depression": "suicidal"}
    posts = list(posts)
    planted = [
        *_title_only(book, ["suicidal", "suicidal", "suicidal", "depression"], register),
        replace(posts[20], label=other[posts[20].label]),
        posts[30],
        Post("Help", EMPTY_POST, "suicidal"),
        Post("My story in one page", "https://example.org/page/3", "depression"),
        _long_post(book, register, rng),
    ]
    for number, post in enumerate(planted):
        posts.insert(5 + 7 * number, post)
    return posts


def _title_only(book: PhraseBook, labels: list[str], register: Register) -> list[Post]:
    """Return posts whose body is the upstream placeholder."""
    titles = [
        compose(register, "SDCNL", partial(book.sentence, f"title_{label}"), 3) for label in labels
    ]
    return [Post(title, EMPTY_POST, label) for title, label in zip(titles, labels, strict=True)]


def _long_post(book: PhraseBook, register: Register, rng: random.Random) -> Post:
    def draft() -> str:
        sentences = [book.sentence("opening")]
        while len(" ".join(sentences).split()) < LONG_POST_WORDS:
            sentences += [book.sentence(bank) for bank in ("low_mood", "detail", "not_suicidal")]
        return " ".join(sentences)

    body = compose(register, "SDCNL", draft, most=LONG_POST_WORDS + 40)
    return Post(_title(book, "depression", rng), _paragraphs(body), "depression")


def _paragraphs(text: str) -> str:
    first, _, rest = text.partition(". ")
    return f"{first}.\n\n{rest}".replace("? ", "?\n")


def _row(number: int, post: Post, rng: random.Random) -> list[object]:
    author = f"user_{rng.randrange(60):04d}"
    title, body = _bare_words(post.title), _bare_words(post.body)
    # Upstream, some lengths are wrong; nothing may rely on them.
    length = len(post.body) + (3 if number % 40 == 17 else 0)
    return [
        number,
        post.title,
        post.body,
        author,
        rng.randrange(25),
        int(post.label == "suicidal"),
        f"https://example.org/r/{_BOARDS[post.label]}/comments/sample{number:03d}/",
        body,
        title,
        _bare_words(author),
        length,
        len(post.title),
        f"{title} {body}".strip(),
    ]


def _bare_words(text: str) -> str:
    words = re.findall(r"[a-z]+", text.lower())
    return " ".join(word for word in words if word not in _STOP_WORDS)
