"""Finding near copies: all pairs of texts whose word sets are similar, without comparing all pairs.

Exact, not sampled. Two sets of sizes a and b with a Jaccard similarity of at least t differ in at
most d = (1 - t) / (1 + t) * (a + b) elements. Deal every word into one of d + 1 parts by a hash:
d differences cannot touch all of them, so the two sets agree in at least one whole part. Texts that
share no part are never compared; a part holds several words, so few others do. The scheme is that
of Arasu, Ganti and Kaushik, "Efficient exact set-similarity joins" (VLDB 2006), without its second
level, which pays only for thresholds far below the ones used here.

Since d depends on the sizes, texts are grouped into levels of similar size, so wide that similar
sets lie in one level or in neighbouring ones; every text is filed under its own level and the next.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Texts with fewer different words say too little to be called near copies.
MIN_WORDS = 5

#: Group of a text that belongs to several groups; it is compared with every other text.
MIXED = 255

#: Texts and pairs handled at a time; they bound the memory beside the word sets themselves.
_TEXTS = 50_000
_PAIRS = 200_000

#: Keeps 9 / 0.9 at 10, whatever binary fractions make of it.
_ROUNDING = 1e-9

Counts = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class WordSets:
    """The word sets of texts, one after the other.

    Attributes:
        words: Numbers of words, ascending within each text, none twice.
        starts: Where each text begins in ``words``; one entry more than there are texts.
    """

    words: NDArray[np.int32]
    starts: Counts

    @property
    def sizes(self) -> Counts:
        """Number of different words of each text."""
        return np.diff(self.starts)

    def gather(self, texts: Counts) -> tuple[NDArray[np.int32], Counts]:
        """Return the words of some texts, and for each word the place of its text in ``texts``."""
        sizes = self.sizes[texts]
        owner = np.repeat(np.arange(len(texts)), sizes)
        before = np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.words[self.starts[texts][owner] + np.arange(len(owner)) - before], owner


def find_near_pairs(
    texts: "pd.Series[str]", groups: NDArray[np.uint8], threshold: float
) -> pd.DataFrame:
    """List the pairs of texts of different groups whose word sets are similar.

    Args:
        texts: Texts; those with fewer than :data:`MIN_WORDS` different words are left out.
        groups: Group of each text. Pairs within one group are not looked for, unless the group is
            :data:`MIXED`.
        threshold: Jaccard similarity from which a pair is listed, over 0 up to 1.

    Returns:
        One row per pair: ``left`` and ``right`` (positions in ``texts``, left < right) and
        ``similarity``.
    """
    sets = split_words(texts)
    found = [_similar(sets, pairs, threshold) for pairs in _candidates(sets, groups, threshold)]
    table = pd.concat([_similar(sets, np.zeros(0, np.int64), threshold), *found])
    # neighbouring levels may both have found a pair
    return table.drop_duplicates(["left", "right"]).sort_values(
        ["left", "right"], ignore_index=True
    )


def split_words(texts: "pd.Series[str]") -> WordSets:
    """Number the words of all texts; case, apostrophes and punctuation do not count.

    "don't" and "dont" are one word, since one source lost its apostrophes.
    """
    numbers: dict[str, int] = {}
    words, sizes = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
    for first in range(0, len(texts), _TEXTS):
        chunk = pa.array(texts.iloc[first : first + _TEXTS], type=pa.large_string())
        plain = pc.replace_substring_regex(pc.utf8_lower(chunk), "['\u2019]", "")
        lists = pc.split_pattern_regex(plain, r"[^\p{L}\p{N}]+")
        encoded = lists.flatten().dictionary_encode()
        number = np.array(
            # nothing lies before a leading full stop; that is no word
            [
                numbers.setdefault(word, len(numbers)) if word else -1
                for word in encoded.dictionary.to_pylist()
            ]
        )
        word = number[encoded.indices.to_numpy()]
        text = np.repeat(np.arange(len(chunk)), np.diff(lists.offsets.to_numpy()))
        distinct = _distinct((text * len(numbers) + word)[word >= 0])
        words.append((distinct % len(numbers)).astype(np.int32))
        sizes.append(np.bincount(distinct // max(len(numbers), 1), minlength=len(chunk)))
    return WordSets(np.concatenate(words), np.cumsum(np.concatenate(sizes)))


def _candidates(sets: WordSets, groups: NDArray[np.uint8], threshold: float) -> Iterator[Counts]:
    """Yield, level by level, the pairs of texts that share a part, as left * texts + right."""
    sizes = sets.sizes
    level = np.searchsorted(
        _level_starts(int(sizes.max(initial=0)), threshold), sizes, side="right"
    )
    for current in range(1, int(level.max(initial=0)) + 2):
        members = np.flatnonzero(((level == current) | (level == current - 1)) & (level > 0))
        if len(members) > 1:
            differences = (1 - threshold) / (1 + threshold) * 2 * int(sizes[members].max())
            parts = math.floor(differences + _ROUNDING) + 1
            yield _sharing(_signatures(sets, members, parts), members, groups)


def _level_starts(largest: int, threshold: float) -> Counts:
    """Return the smallest size of each level: the first that is too large for the level before."""
    starts = [MIN_WORDS]
    while starts[-1] <= largest:
        starts.append(math.floor(starts[-1] / threshold + _ROUNDING) + 1)
    return np.array(starts)


def _signatures(sets: WordSets, members: Counts, parts: int) -> Hashes:
    """Hash the words of every part of every text: shape (members, parts)."""
    seal = _mix(np.arange(parts, dtype=np.uint64))  # equal words in another part are no match
    signatures = np.empty((len(members), parts), np.uint64)
    for first in range(0, len(members), _TEXTS):
        chunk = members[first : first + _TEXTS]
        words, owner = sets.gather(chunk)
        hashed = _mix(words.astype(np.uint64))
        place = owner * parts + (hashed % np.uint64(parts)).astype(np.int64)
        sums = np.zeros(len(chunk) * parts, np.uint64)
        np.add.at(sums, place, _mix(hashed))  # a sum, because the order must not matter
        signatures[first : first + _TEXTS] = _mix(sums.reshape(-1, parts) + seal)
    return signatures


def _sharing(signatures: Hashes, members: Counts, groups: NDArray[np.uint8]) -> Counts:
    """Return the pairs of members of different groups with an equal signature."""
    flat = signatures.ravel()
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    shared = ~(first & np.concatenate([first[1:], [True]]))
    run = np.cumsum(first)[shared]
    text = members[order[shared] // signatures.shape[1]]
    files = pd.DataFrame({"run": run, "text": text, "group": groups[text]})
    # a run of n texts gives up to n * n pairs; runs are paired up a bounded number at a time
    block = np.cumsum(np.bincount(run) ** 2) // _PAIRS
    pairs = [_pair_up(rows, len(groups)) for _, rows in files.groupby(block[run])]
    return _distinct(np.concatenate([np.zeros(0, np.int64), *pairs]))


def _pair_up(files: pd.DataFrame, texts: int) -> Counts:
    """Return the pairs of texts of different groups within each run, as left * texts + right."""
    pairs = [np.zeros(0, np.int64)]
    for one, other in combinations_with_replacement(sorted(files["group"].unique()), 2):
        if one != other or one == MIXED:
            joined = files[files["group"] == one].merge(files[files["group"] == other], on="run")
            low = np.minimum(joined["text_x"], joined["text_y"]).to_numpy()
            high = np.maximum(joined["text_x"], joined["text_y"]).to_numpy()
            pairs.append((low * texts + high)[low < high])
    return _distinct(np.concatenate(pairs))


def _similar(sets: WordSets, pairs: Counts, threshold: float) -> pd.DataFrame:
    """Keep the pairs (left * texts + right) that are similar indeed."""
    left, right = np.divmod(pairs, max(len(sets.sizes), 1))
    base = int(sets.words.max(initial=0)) + 1
    similarity = np.empty(len(pairs))
    for first in range(0, len(pairs), _PAIRS):
        chunk = slice(first, first + _PAIRS)
        left_words, left_owner = sets.gather(left[chunk])
        right_words, right_owner = sets.gather(right[chunk])
        owner = np.concatenate([left_owner, right_owner])
        union = _distinct(owner * base + np.concatenate([left_words, right_words])) // base
        united = np.bincount(union, minlength=len(left[chunk]))
        total = sets.sizes[left[chunk]] + sets.sizes[right[chunk]]
        similarity[chunk] = (total - united) / united
    table = pd.DataFrame({"left": left, "right": right, "similarity": similarity})
    return table[similarity >= threshold]


def _distinct(numbers: Counts) -> Counts:
    """Sort numbers and drop repeated ones; several times faster here than numpy's ``unique``."""
    ordered = np.sort(numbers)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]]


def _mix(numbers: Hashes) -> Hashes:
    """Scramble 64-bit numbers (the finaliser of SplitMix64; Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
