"""Puts made-up posts together from phrase banks, without repeating itself.

A bank is a list of phrases; ``{name}`` inside a phrase stands for a phrase of another bank. Phrases
are drawn like cards: a bank is shuffled, dealt to the end and shuffled again, so that every phrase
is used about equally often and neighbours differ.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

#: A post may share its first five words with at most two others of its dataset.
OPENING_WORDS = 5
OPENING_CAP = 3

#: Highest share of words two different posts may have in common (Jaccard of their word sets). It is
#: below the 0.9 at which ingestion calls two posts near duplicates, so masking cannot lift a pair.
CLOSEST = 0.8

_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[a-z0-9]+")
_ATTEMPTS = 5000


class PhraseBook:
    """Draws phrases from banks and fills their slots.

    Args:
        banks: Phrases by the name of the bank.
        rng: The only source of chance.
    """

    def __init__(self, banks: Mapping[str, Sequence[str]], rng: random.Random) -> None:
        self._banks = banks
        self._rng = rng
        self._decks: dict[str, list[str]] = {}

    def phrase(self, bank: str) -> str:
        """Return the next phrase of ``bank`` with every slot filled.

        Raises:
            KeyError: There is no such bank.
        """
        return _SLOT.sub(lambda slot: self.phrase(slot[1]), self._deal(bank))

    def sentence(self, bank: str) -> str:
        """Return the next phrase of ``bank`` with a capital first letter."""
        text = self.phrase(bank)
        return text[0].upper() + text[1:]

    def _deal(self, bank: str) -> str:
        deck = self._decks.setdefault(bank, [])
        if not deck:
            deck.extend(self._banks[bank])
            self._rng.shuffle(deck)
        return deck.pop()


class Register:
    """Remembers every post written so far and turns away the ones that are too much alike."""

    def __init__(self) -> None:
        self._posts: list[frozenset[str]] = []
        self._openings: Counter[tuple[str, str]] = Counter()

    def admit(self, dataset: str, text: str) -> bool:
        """Take ``text`` in, or return False if it resembles an earlier post too much."""
        words = frozenset(_WORD.findall(text.lower()))
        place = (dataset, opening(text))
        if self._openings[place] >= OPENING_CAP:
            return False
        if any(_overlap(words, other) >= CLOSEST for other in self._posts):
            return False
        self._openings[place] += 1
        self._posts.append(words)
        return True


def opening(text: str) -> str:
    """Return the first five words of a post, in lower case and without punctuation."""
    return " ".join(re.findall(r"[a-z0-9'\u2019]+", text.lower())[:OPENING_WORDS])


def compose(
    register: Register, dataset: str, write: Callable[[], str], fewest: int = 0, most: int = 46
) -> str:
    """Call ``write`` until it gives a post of the wanted length that the register admits.

    Args:
        register: What has been written so far.
        dataset: The dataset the post is for; the opening cap counts within it.
        write: Makes one candidate.
        fewest: Fewest words of the post.
        most: Most words of the post.

    Raises:
        RuntimeError: The phrase banks are exhausted.
    """
    for _ in range(_ATTEMPTS):
        text = write()
        if fewest <= len(text.split()) <= most and register.admit(dataset, text):
            return text
    raise RuntimeError(f"{dataset}: the phrase banks give no further post; add phrases to them")


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
