"""Two baselines that need no language model: what a headline has to beat.

The majority baseline always says the most frequent training label, and as a probability the share
of each training label; the TF-IDF baseline is a logistic regression on word counts, the usual floor
for these corpora, with every label weighing the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Probabilities = dict[str, float]


def predict_majority(
    train: Sequence[dict[str, Any]], items: Sequence[dict[str, Any]]
) -> list[Probabilities]:
    """Return the share of each training label, for every item the same."""
    counts = Counter(pair["label"] for pair in train)
    shares = {label: count / len(train) for label, count in sorted(counts.items())}
    return [shares] * len(items)


def predict_tfidf(
    train: Sequence[dict[str, Any]], items: Sequence[dict[str, Any]], seed: int
) -> list[Probabilities]:
    """Predict labels by logistic regression on TF-IDF of words and word pairs of the posts.

    Args:
        train: Training pairs of one task.
        items: Pairs of the same task.
        seed: Seed of the solver.

    Returns:
        The probability of each training label, per item. With a single label in ``train`` there is
        nothing to separate, and it is the answer to every item.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labels = [pair["label"] for pair in train]
    if len(set(labels)) == 1:
        return predict_majority(train, items)
    classifier = make_pipeline(
        # Words of one letter count too ("I"): they carry signal in first-person posts.
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        # Without weights it says the most frequent label of DR and DepSeverity nearly always: a
        # balanced accuracy of 0.51 and 0.26 on their validation posts, against 0.83 and 0.45.
        LogisticRegression(max_iter=1000, random_state=seed, class_weight="balanced"),
    )
    classifier.fit([pair["post"] for pair in train], labels)
    rows = classifier.predict_proba([pair["post"] for pair in items])
    names = [str(label) for label in classifier.classes_]
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


def most_probable(probabilities: Mapping[str, float]) -> str:
    """Return the label with the highest probability (ties: first in the alphabet)."""
    return min(probabilities, key=lambda label: (-probabilities[label], label))
