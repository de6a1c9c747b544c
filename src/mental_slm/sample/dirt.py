"""The dirt that real files hold, planted on purpose so that the cleaning has something to clean.

Every name, address and number here is fictional: ``example.org`` is reserved for documentation and
555-0100 to 555-0199 for made-up telephone numbers.
"""

import random
from collections.abc import Callable, Mapping, MutableSequence

Spoiler = Callable[[str], str]


def between_sentences(mark: str) -> Spoiler:
    """Return a spoiler that puts ``mark`` where the first sentence ends."""

    def spoil(text: str) -> str:
        first, stop, rest = text.partition(". ")
        return f"{first}.{mark}{rest}" if stop else f"{text}{mark}"

    return spoil


def added(sentence: str) -> Spoiler:
    """Return a spoiler that adds ``sentence`` at the end."""
    return lambda text: f"{text} {sentence}"


#: Damage to characters and spaces. The words survive it.
BLEMISHES: dict[str, Spoiler] = {
    "entity": added("Work &amp; sleep, that&#39;s my week."),
    "entity_quote": lambda text: f"&gt; {text}",
    "entity_zero_width": between_sentences(" &#x200B; "),
    "backslash": added(r"\*sigh\* \- anyway."),
    "literal_newline": between_sentences(r"\n"),
    "nbsp": between_sentences("\u00a0"),
    "zero_width": between_sentences(" \u200b"),
    "direction_mark": between_sentences(" \u200e"),
    "emoji": added("😔🌧️"),
    "double_space": lambda text: text.replace(". ", ".  "),
    "outer_space": lambda text: f" {text}  ",
    "accent": added("I write this in a café."),
    "ellipsis": added("And so on\u2026"),
    "quotation": added("I only hear \u201cnot now\u201d when I ask."),
}

#: Personal data, all of it fictional.
PERSONAL: dict[str, Spoiler] = {
    "user": added("My other account is u/sample_user_07."),
    "group": added("Somebody in r/samplegroup sent me here."),
    "url": added("I wrote more on https://example.org/thread/12?page=2 already."),
    "masked_url": added("The page was <url> as far as I know."),
    "email": added("Write to sample.person@example.org if you like."),
    "phone": added("My number is 555-0142."),
    "handle": added("I post pictures as @sample_handle."),
}

SPOILERS: dict[str, Spoiler] = BLEMISHES | PERSONAL


def plant(texts: MutableSequence[str], plan: Mapping[str, int], rng: random.Random) -> list[int]:
    """Spoil some of the texts, each with one kind of dirt at most.

    Args:
        texts: Changed in place.
        plan: How many texts get a kind of dirt, by the names of :data:`SPOILERS`.
        rng: Chooses the texts.

    Returns:
        Positions of the spoiled texts.

    Raises:
        ValueError: The plan asks for more texts than there are.
    """
    kinds = [kind for kind, count in plan.items() for _ in range(count)]
    positions = rng.sample(range(len(texts)), len(kinds))
    for position, kind in zip(positions, kinds, strict=True):
        texts[position] = SPOILERS[kind](texts[position])
    return positions


def typographic(text: str) -> str:
    """Return the text with a curly apostrophe for each straight one, as phones write it."""
    return text.replace("'", "\u2019")
