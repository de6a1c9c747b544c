"""Recall of suicidal posts at a rate of false alarms fixed on validation posts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mental_slm import statistics as stats
from mental_slm.pipelines.evaluation.blocks import SYSTEMS, Block
from mental_slm.pipelines.evaluation.labels.options import RISK_LABEL, RISK_TASK
from mental_slm.pipelines.evaluation.labels.threshold import area_under_curve, choose_threshold
from mental_slm.statistics import Array


@dataclass(frozen=True, eq=False)
class RiskScores:
    """Probabilities of suicidal thoughts, per system, with the threshold of each.

    Attributes:
        rate: Allowed share of false alarms.
        block: The test items.
        positive: Which of them are suicidal.
        scores: Per system, of the test items in the order of the block.
        thresholds: Per system, from the validation items.
        negatives: Number of validation posts without risk, which the thresholds rest on.
    """

    rate: float
    block: Block
    positive: NDArray[np.bool_]
    scores: dict[str, Array]
    thresholds: dict[str, float]
    negatives: int

    def flagged(self, system: str) -> NDArray[np.bool_]:
        """Return which test items a system flags."""
        return np.asarray(self.scores[system] >= self.thresholds[system])

    def recall(self, first: Array, second: Array) -> Array:
        """Return recall over items of the tuned (first) and the base model (second weights)."""
        weights = {"tuned": first[:, self.positive], "base": second[:, self.positive]}
        found = sum(rows @ self.flagged(s)[self.positive] for s, rows in weights.items())
        total = sum(rows.sum(axis=1) for rows in weights.values())
        with np.errstate(invalid="ignore"):
            return np.asarray(found / total)


def read_risk(
    probabilities: pd.DataFrame, blocks: dict[str, Block], rate: float
) -> tuple[RiskScores | None, str]:
    """Choose the thresholds and hold the scores against them.

    Returns:
        The scores, or None and the reason why there are none.
    """
    risk = probabilities[
        (probabilities["task"] == RISK_TASK) & (probabilities["option"] == RISK_LABEL)
    ]
    validation = risk[(risk["split"] == "val") & (risk["label"] != RISK_LABEL)]
    if RISK_TASK not in blocks:
        return None, f"no test item of task {RISK_TASK}"
    if validation.empty:
        return None, f"no validation pair of task {RISK_TASK} without risk to set a threshold on"
    block = blocks[RISK_TASK]
    labels = block.tables["base"]["label"].to_numpy()
    ids = block.tables["base"]["pair_id"].tolist()
    test = risk[risk["split"] == "test"]
    scores, thresholds = {}, {}
    for system in SYSTEMS:
        negatives = validation.loc[validation["system"] == system, "probability"]
        thresholds[system] = choose_threshold(negatives.to_numpy(dtype=float), rate)
        of_system = test[test["system"] == system].set_index("pair_id")["probability"]
        scores[system] = of_system.loc[ids].to_numpy(dtype=float)
    per_system = len(validation) // len(SYSTEMS)
    return RiskScores(rate, block, labels == RISK_LABEL, scores, thresholds, per_system), ""


def summarise_risk(risk: RiskScores) -> dict[str, Any]:
    """Return recall, false-positive rate and area under the curve of every system.

    A block without a suicidal post has no recall, one without others no false-positive rate.
    """
    return {
        "task": RISK_TASK,
        "positive": RISK_LABEL,
        "allowed_false_positive_rate": risk.rate,
        "validation_negatives": risk.negatives,
        "baselines": {"chance": risk.rate},
        "systems": {system: _summarise_system(system, risk) for system in SYSTEMS},
    }


def _summarise_system(system: str, risk: RiskScores) -> dict[str, Any]:
    flagged = risk.flagged(system)
    areas = area_under_curve(risk.scores[system], risk.positive, risk.block.weights)
    area = None
    if not np.isnan(areas[0]):
        area = stats.estimate(float(areas[0]), areas[1:][~np.isnan(areas[1:])]).to_json()
    return {
        "threshold": risk.thresholds[system],
        "recall": _share(flagged[risk.positive]),
        "false_positive_rate": _share(flagged[~risk.positive]),
        "area_under_curve": area,
    }


def _share(flagged: NDArray[np.bool_]) -> dict[str, float] | None:
    n = len(flagged)
    return {**stats.wilson(int(flagged.sum()), n).to_json(), "n": n} if n else None
