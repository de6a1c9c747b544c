"""Depression_Reddit (DR) as MentalLLaMA publishes it: post, question and a teacher's words."""

import random
from dataclasses import dataclass
from functools import partial

from mental_slm.sample.composer import PhraseBook, Register, compose
from mental_slm.sample.dirt import plant, typographic
from mental_slm.sample.formats import csv_bytes
from mental_slm.sample.phrases import BANKS

#: Posts by file and label; upstream has four times as many yes as no.
COUNTS = {
    "train": {"yes": 34, "no": 24},
    "valid": {"yes": 9, "no": 7},
    "test": {"yes": 14, "no": 10},
}
UNCLEAR_SHARE = 0.07
LONG_POST_WORDS = 500

_DIRT = {
    "entity": 2, "entity_zero_width": 1, "backslash": 1, "zero_width": 1, "direction_mark": 1,
    "emoji": 2, "quotation": 2, "user": 1, "group": 2, "url": 2, "email": 2, "phone": 1,
    "handle": 1,
}  # fmt: skip
_CURLY_SHARE = 0.4
_QUESTION = "Question: Does the poster suffer from depression?"
_OTHER_LANGUAGE = (
    "Desde hace semanas nada me alegra y mi hermana se preocupa. Duermo mal, apenas salgo de casa "
    "y todo parece gris. Antes cocinaba los domingos para toda la familia, ahora ni siquiera abro "
    "la ventana."
)

_EXPLANATIONS = {
    "yes": [
        "The post speaks of a low mood that lasts, and of less interest in daily things.",
        "Words about emptiness, tiredness and guilt point to depression.",
        "The poster describes exhaustion and withdrawal, which are signs of depression.",
        "Sleep, appetite and self-worth are affected, so depression is plausible.",
    ],
    "no": [
        "The post deals with an everyday matter and names no sign of depression.",
        "The tone is practical, and the poster takes part in daily life.",
        "Some annoyance is expressed, but neither a low mood nor a loss of interest.",
        "The poster makes plans and enjoys things, which speaks against depression.",
    ],
}


@dataclass(frozen=True)
class Post:
    """One post and its label, ``yes`` or ``no``."""

    text: str
    label: str


def fabricate_depression_reddit(rng: random.Random, register: Register) -> dict[str, bytes]:
    """Write the training, validation and test file of DR.

    Args:
        rng: The source of chance.
        register: Everything written so far.

    Returns:
        Content by path below the sample folder.
    """
    book = PhraseBook(BANKS, rng)
    train, valid, test = (_write_posts(book, counts, rng, register) for counts in COUNTS.values())
    valid.insert(5, train[7])  # upstream, one post is in both files
    train.insert(11, Post("Hello?", "no"))
    train.insert(23, Post(_OTHER_LANGUAGE, "yes"))
    train.insert(40, Post(_long_post(book, register), "yes"))
    return {
        "dr/reddit_train.csv": _training_file(train, rng),
        "dr/reddit_valid.csv": _training_file(valid, rng),
        "dr/DR.csv": _test_file(test, rng),
    }


def _write_posts(
    book: PhraseBook, counts: dict[str, int], rng: random.Random, register: Register
) -> list[Post]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    rng.shuffle(labels)
    texts = [compose(register, "DR", partial(_draft, book, label, rng), 20) for label in labels]
    texts = [typographic(text) if rng.random() < _CURLY_SHARE else text for text in texts]
    share = len(texts) / max(sum(row.values()) for row in COUNTS.values())
    plant(texts, {kind: round(count * share) for kind, count in _DIRT.items()}, rng)
    return [Post(text, label) for text, label in zip(texts, labels, strict=True)]


def _draft(book: PhraseBook, label: str, rng: random.Random) -> str:
    cue = "signs" if label == "yes" else "wellness"
    banks = [cue, "signs_unclear" if rng.random() < 0.45 else cue]
    if rng.random() < UNCLEAR_SHARE:
        banks = ["signs_unclear", "signs_unclear"]
    rng.shuffle(banks)
    if rng.random() < 0.4:
        banks.append(rng.choice(["detail", "ending"]))
    banks.insert(0 if rng.random() < 0.8 else 1, "opening")
    return " ".join(book.sentence(bank) for bank in banks)


def _long_post(book: PhraseBook, register: Register) -> str:
    def draft() -> str:
        sentences = [book.sentence("opening")]
        while len(" ".join(sentences).split()) < LONG_POST_WORDS:
            sentences += [book.sentence(bank) for bank in ("signs", "detail", "opening")]
        return " ".join(sentences)

    return compose(register, "DR", draft, most=LONG_POST_WORDS + 60)


def _training_file(posts: list[Post], rng: random.Random) -> bytes:
    rows = [
        (f"Post: {post.text}", f" {_QUESTION} ", _response(post.label, number, rng))
        for number, post in enumerate(posts)
    ]
    return csv_bytes(["post", "question", "response"], rows)


def _test_file(posts: list[Post], rng: random.Random) -> bytes:
    rows = [
        (f"Post: {post.text} {_QUESTION} ", _response(post.label, number, rng))
        for number, post in enumerate(posts)
    ]
    return csv_bytes(["query", "gpt-3.5-turbo"], rows)


def _response(label: str, number: int, rng: random.Random) -> str:
    """Return made-up teacher text; upstream, some answers begin with a space or go on in lines."""
    lead = " " if number % 11 == 5 else ""
    stop = "," if number % 31 == 17 else "."
    gap = "\n\n" if number % 13 == 4 else " "
    return f"{lead}{label}{stop} Reasoning:{gap}{rng.choice(_EXPLANATIONS[label])}"
