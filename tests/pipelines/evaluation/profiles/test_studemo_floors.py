"""The floors of StudEmo, from its real annotations, as published to two decimals.

They were measured on 1,000 held-out texts: the first of all text ids after Python's own shuffle with
seed 0. What depends on chance beyond that draw (the ratings of another text) is compared with twenty
pairings of the same texts.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mental_slm.pipelines.evaluation.profiles import floors, metrics
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS

pytestmark = [
    pytest.mark.mirror,
    pytest.mark.skipif(not os.environ.get("MENTAL_SLM_MIRROR"), reason="no mirror"),
]

FILE = (
    "CLARIN-PL/personalized-nlp/7777a47dbc4b29c755af1fa1d0fdb8788e0bf6e2/personalized_nlp/"
    "storage/emotion_nlp_perspectives/texts/annotation_data.csv"
)
TEXTS, SEED = 1000, 0

#: Mean cosine on raw scales, on 0..1, and of the eight emotions alone.
COSINES = {
    "constant_mean": {"cosine_raw": 0.60, "cosine_01": 0.743, "cosine_8": 0.587},
    "all_equal": {"cosine_raw": 0.488, "cosine_01": 0.632, "cosine_8": 0.565},
    "only_arousal": {"cosine_raw": 0.416, "cosine_01": 0.415},
    "sentiment_prototypes": {
        "cosine_raw": 0.792,
        "cosine_01": 0.823,
        "cosine_8": 0.720,
        "centred_cosine_01": 0.54,
    },
    "human": {
        "cosine_raw": 0.603,
        "cosine_01": 0.697,
        "cosine_8": 0.544,
        "centred_cosine_01": 0.39,
    },
}
#: The same for the ratings of another text, drawn at random.
SHUFFLED = {"cosine_raw": 0.376, "cosine_01": 0.555, "centred_cosine_01": 0.00}
#: By dimension: correlation of two raters, its root, and the mean absolute errors of a second
#: human, of the constant mean and of the constant median.
BY_DIMENSION = {
    "joy": (0.38, 0.62, 0.54, 0.71, 0.57),
    "trust": (0.48, 0.69, 0.54, 0.76, 0.61),
    "anticipation": (0.21, 0.46, 0.54, 0.56, 0.43),
    "surprise": (0.10, 0.32, 0.57, 0.57, 0.40),
    "fear": (0.17, 0.41, 0.30, 0.45, 0.29),
    "sadness": (0.26, 0.51, 0.49, 0.59, 0.46),
    "disgust": (0.36, 0.60, 0.58, 0.68, 0.59),
    "anger": (0.55, 0.74, 0.45, 0.76, 0.74),
    "valence": (0.70, 0.84, 0.75, 1.30, 1.30),
    "arousal": (0.37, 0.61, 0.80, 0.76, 0.76),
}


@pytest.fixture(scope="module")
def annotation() -> pd.DataFrame:
    return pd.read_csv(Path(os.environ["MENTAL_SLM_MIRROR"]) / FILE)


@pytest.fixture(scope="module")
def found(annotation) -> dict[str, dict[str, float]]:
    return floors.studemo_floors(annotation, TEXTS, SEED)


@pytest.mark.parametrize("name", COSINES)
def test_cosines_of_the_floors(found, name: str) -> None:
    for scale, published in COSINES[name].items():
        assert round(found[name][scale], 2) == pytest.approx(round(published, 2)), scale


def test_the_training_mean_says_nothing_once_centred(found) -> None:
    assert found["constant_mean"]["centred_cosine_01"] == 0


def test_ratings_of_another_text(annotation) -> None:
    gold, train = floors.hold_out(annotation, TEXTS, SEED)
    mean = metrics.rescale(train.mean(axis=0))
    drawn = {name: [] for name in SHUFFLED}
    for seed in range(20):
        other = floors.floor_predictions(gold, train, seed)["shuffled"]
        mine, theirs = metrics.rescale(other), metrics.rescale(gold)
        drawn["cosine_raw"].append(np.nanmean(metrics.cosine(other, gold)))
        drawn["cosine_01"].append(np.nanmean(metrics.cosine(mine, theirs)))
        drawn["centred_cosine_01"].append(np.nanmean(metrics.cosine(mine - mean, theirs - mean)))
    for name, published in SHUFFLED.items():
        assert abs(published - np.mean(drawn[name])) <= 0.02, (name, np.mean(drawn[name]))


@pytest.mark.parametrize("name", DIMENSIONS)
def test_agreement_by_dimension(annotation, name: str) -> None:
    r, ceiling, *_ = BY_DIMENSION[name]
    agreement = floors.rater_agreement(annotation)
    assert agreement.texts == 2281
    assert agreement.r[name] == pytest.approx(r, abs=0.0051)
    assert floors.STUDEMO_AGREEMENT[name] == r
    assert agreement.ceilings()[name] == pytest.approx(ceiling, abs=0.0101)  # root of the rounded r


@pytest.mark.parametrize("name", DIMENSIONS)
def test_errors_by_dimension(annotation, name: str) -> None:
    *_, human, mean, median = BY_DIMENSION[name]
    gold, train = floors.hold_out(annotation, TEXTS, SEED)
    constants = floors.floor_predictions(gold, train, SEED)

    def error(predicted, true) -> float:
        return float(
            metrics.mae(predicted, true, metrics.plain(len(true)))[0][DIMENSIONS.index(name)]
        )

    # 0.0051: half a unit of the last digit, either way of rounding a five
    assert error(*floors.rater_pairs(annotation)) == pytest.approx(human, abs=0.0051)
    assert error(constants["constant_mean"], gold) == pytest.approx(mean, abs=0.0051)
    assert error(constants["constant_median"], gold) == pytest.approx(median, abs=0.0051)
