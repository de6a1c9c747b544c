"""What is reached without reading a text, and what a second human reaches.

A model that is worth its price beats the constants; one that sees more than like and dislike beats
the sentiment prototypes, which know the sign of the true valence and nothing else.
"""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mental_slm.pipelines.evaluation.profiles import metrics
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS, Array, Constants
from mental_slm.records import Table

VALENCE, AROUSAL = DIMENSIONS.index("valence"), DIMENSIONS.index("arousal")

#: Floors that stand beside every result, with the words that reports use.
FLOORS = {
    "constant_mean": "training mean for every text",
    "constant_median": "training median for every text",
    "all_equal": "1 on every dimension",
    "shuffled": "ratings of another text",
    "sentiment_prototypes": "oracle: training mean of the texts with the same sign of valence",
}

#: A reliability from fewer texts with two raters would be noise.
MIN_TWO_RATER_TEXTS = 30

#: Agreement of two raters on StudEmo (7,463 ratings; 2,281 texts with two), Pearson's r with both
#: orders of the raters, which equals Krippendorff's alpha for intervals to two decimals.
STUDEMO_AGREEMENT = {
    "joy": 0.38, "trust": 0.48, "anticipation": 0.21, "surprise": 0.10, "fear": 0.17,
    "sadness": 0.26, "disgust": 0.36, "anger": 0.55, "valence": 0.70, "arousal": 0.37,
}  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """How far raters of one text agree.

    Attributes:
        texts: Number of texts with exactly two raters; 0 where the numbers are StudEmo's own.
        r: Correlation of two raters by dimension, the reliability of a single one.
    """

    texts: int
    r: dict[str, float]

    def ceilings(self, raters: int = 1) -> dict[str, float]:
        """Return the highest correlation with the mean of ``raters`` raters a model can reach.

        It is the root of their reliability, which is k r / (1 + (k - 1) r) for k raters (Spearman
        and Brown 1910).
        """
        reliable = {name: max(0.0, r) for name, r in self.r.items()}
        return {
            name: float(np.sqrt(raters * r / (1 + (raters - 1) * r)))
            for name, r in reliable.items()
        }


def rater_agreement(annotation: Table) -> Agreement:
    """Measure agreement on the texts with two raters, or cite StudEmo's where there are too few.

    Args:
        annotation: ``text_id``, ``annotator_id`` and the ten dimensions.
    """
    first, second = rater_pairs(annotation)
    if len(first) < MIN_TWO_RATER_TEXTS:
        return Agreement(0, STUDEMO_AGREEMENT)
    both, swapped = np.concatenate([first, second]), np.concatenate([second, first])
    r = {
        name: _correlation(both[:, column], swapped[:, column])
        for column, name in enumerate(DIMENSIONS)
    }
    return Agreement(len(first), r)


def rater_pairs(annotation: Table) -> tuple[Array, Array]:
    """Return the profiles of both raters of every text with exactly two (texts, dimensions)."""
    raters = annotation.groupby("text_id")["annotator_id"].transform("size")
    two = annotation[raters == 2].sort_values(["text_id", "annotator_id"])
    values = two[list(DIMENSIONS)].to_numpy(dtype=np.float64)
    return values[0::2], values[1::2]


def floor_predictions(gold: Array, train: Array, seed: int) -> dict[str, Array]:
    """Return what every floor of :data:`FLOORS` predicts, each (texts, dimensions).

    Args:
        gold: True profiles of the texts.
        train: Training profiles.
        seed: Of the cycle through the texts that gives each the ratings of another.
    """
    constants = Constants.of(train)
    shape = gold.shape
    return {
        "constant_mean": np.broadcast_to(constants.mean, shape),
        "constant_median": np.broadcast_to(constants.median, shape),
        "all_equal": np.ones(shape),
        "shuffled": gold[_cycle(len(gold), seed)],
        "sentiment_prototypes": _prototypes(gold, train),
    }


def studemo_floors(annotation: Table, texts: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the mean cosine of the floors on held-out texts, and of a second human.

    Args:
        annotation: All single ratings.
        texts: How many texts are held out; the others are the training texts.
        seed: Of the choice.

    Returns:
        By floor: ``cosine_raw``, ``cosine_01``, ``cosine_8`` (the eight emotions alone) and
        ``centred_cosine_01``. ``human`` compares the raters of all texts with two; it and the
        others leave out what has no direction (ratings of zeros).
    """
    gold, train = hold_out(annotation, texts, seed)
    only_arousal = np.zeros(gold.shape)
    only_arousal[:, AROUSAL] = 1
    # "1 on arousal and nothing else" is that on either scale, and so is "1 everywhere"
    same_on_both = {"all_equal": np.ones(gold.shape), "only_arousal": only_arousal}
    floors = floor_predictions(gold, train, seed)
    constants = Constants.of(train)
    found = {
        name: _cosines(predicted, metrics.rescale(predicted), gold, constants)
        for name, predicted in floors.items()
    }
    for name, predicted in same_on_both.items():
        found[name] = _cosines(predicted, predicted, gold, constants)
    first, second = rater_pairs(annotation)
    found["human"] = _cosines(
        first, metrics.rescale(first), second, Constants.of(np.concatenate([gold, train])), True
    )
    return found


def hold_out(annotation: Table, texts: int, seed: int) -> tuple[Array, Array]:
    """Return the mean profiles of some texts, chosen by seed, and of all others."""
    profiles = annotation.groupby("text_id")[list(DIMENSIONS)].mean().to_numpy(dtype=np.float64)
    order = list(range(len(profiles)))  # by text id
    # Python's own shuffle: with seed 0 and 1,000 texts this is the draw of the published floors
    random.Random(seed).shuffle(order)
    return profiles[order[:texts]], profiles[order[texts:]]


def _cosines(
    predicted: Array, predicted_01: Array, gold: Array, constants: Constants, human: bool = False
) -> dict[str, float]:
    mean = metrics.rescale(constants.mean)
    gold_01 = metrics.rescale(gold)
    pairs = {
        "cosine_raw": (predicted, gold),
        "cosine_01": (predicted_01, gold_01),
        "cosine_8": (predicted[:, :VALENCE], gold[:, :VALENCE]),
        "centred_cosine_01": (predicted_01 - mean, gold_01 - mean),
    }
    values = {}
    for name, (mine, theirs) in pairs.items():
        # two humans are equals: what has no direction is left out on either side
        kept = np.any(mine != 0, axis=1) if human else np.full(len(mine), True)
        values[name] = float(np.nanmean(metrics.cosine(mine[kept], theirs[kept])))
    return values


def _prototypes(gold: Array, train: Array) -> Array:
    """Return for every text the training mean of the texts whose valence has the same sign."""
    predicted = np.broadcast_to(train.mean(axis=0), gold.shape).copy()
    for sign in (-1, 0, 1):
        of_sign = train[np.sign(train[:, VALENCE]) == sign]
        if len(of_sign):
            predicted[np.sign(gold[:, VALENCE]) == sign] = of_sign.mean(axis=0)
    return predicted


def _cycle(n: int, seed: int) -> NDArray[np.intp]:
    """Return for every place another one, by a seeded cycle through all of them."""
    order = np.random.default_rng(seed).permutation(n)
    other = np.empty(n, dtype=np.intp)
    other[order] = np.roll(order, 1)
    return other


def _correlation(first: Array, second: Array) -> float:
    if np.ptp(first) == 0:
        return 0.0  # ratings that never differ tell no text from another
    return float(np.corrcoef(first, second)[0, 1])
