"""The search for near copies finds what comparing all pairs finds, at any threshold and block size."""

import random
import re

import numpy as np
import pandas as pd
import pytest

from mental_slm.pipelines.ingestion import near_duplicates
from mental_slm.pipelines.ingestion.near_duplicates import MIN_WORDS, MIXED, find_near_pairs


def words_of(text):
    return set(re.findall(r"[^\W_]+", text.lower().replace("'", "").replace("\u2019", "")))


def compare_all(texts, groups, threshold):
    words = [words_of(text) for text in texts]
    return {
        (left, right): len(words[left] & words[right]) / len(words[left] | words[right])
        for right in range(len(texts))
        for left in range(right)
        if min(len(words[left]), len(words[right])) >= MIN_WORDS
        and (groups[left] != groups[right] or groups[left] == MIXED)
        and len(words[left] & words[right]) >= threshold * len(words[left] | words[right])
    }


def found(texts, groups, threshold):
    table = find_near_pairs(pd.Series(texts, dtype="str"), np.array(groups, np.uint8), threshold)
    return {(row.left, row.right): row.similarity for row in table.itertuples()}


def make_texts(seed, count=70):
    """Texts of 3 to 30 words out of few, and copies of them with some words changed."""
    rng = random.Random(seed)
    texts = [
        " ".join(f"w{rng.randrange(60)}" for _ in range(rng.randrange(3, 30))) for _ in range(count)
    ]
    for _ in range(count):
        words = rng.choice(texts[:count]).split()
        for _ in range(rng.randrange(4)):
            words[rng.randrange(len(words))] = f"w{rng.randrange(60)}"
        texts.append(" ".join(words))
    return texts, [rng.choice([0, 1, 2, MIXED]) for _ in texts]


@pytest.mark.parametrize("threshold", [0.51, 0.7, 0.8, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_comparing_all_pairs_finds(threshold, seed, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_TEXTS", 17)  # many blocks, so that their borders count
    monkeypatch.setattr(near_duplicates, "_PAIRS", 5)
    texts, groups = make_texts(seed)
    expected = compare_all(texts, groups, threshold)
    assert len(expected) > 5
    assert found(texts, groups, threshold) == pytest.approx(expected)


def test_sizes_on_the_border_are_compared():
    """9 of 10 words is exactly 0.9, which binary fractions must not spoil."""
    ten = " ".join(f"w{n}" for n in range(10))
    nine = " ".join(f"w{n}" for n in range(9))
    assert found([ten, nine], [0, 1], 0.9) == {(0, 1): 0.9}


def test_case_apostrophes_and_punctuation_do_not_count():
    first, second = "Don\u2019t STOP me now, please!", "please... dont stop me -- now"
    assert found([first, second], [0, 2], 1.0) == {(0, 1): 1.0}


def test_other_scripts_are_words_too():
    text = "\u043e\u0434\u0438\u043d \u0434\u0432\u0430 \u0442\u0440\u0438 \u0447\u0435\u0442\u044b\u0440\u0435 \u043f\u044f\u0442\u044c"
    assert found([text, text.upper()], [0, 1], 0.9) == {(0, 1): 1.0}


def test_pairs_within_one_group_are_not_looked_for():
    text = "one two three four five six"
    assert found([text, text, text], [0, 0, MIXED], 0.9) == {(0, 2): 1.0, (1, 2): 1.0}


@pytest.mark.parametrize("texts", [[], [""], ["", "one two"], ["one two three four five"]])
def test_nothing_to_compare(texts):
    assert found(texts, [0] * len(texts), 0.9) == {}
