"""The declared headlines: what the tuned model is tested on, and nothing else.

The family is fixed before any number is seen. Each member is a paired test on the same items; the
p-values are adjusted for all of them (Holm 1979), and a sentence that says "better" needs that and
a difference above the minimum detectable effect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mental_slm import statistics as stats
from mental_slm.label_metrics import MEASURES, ORDINAL_MEASURES
from mental_slm.pipelines.evaluation.blocks import OVERALL, Block
from mental_slm.pipelines.evaluation.labels.options import RISK_TASK
from mental_slm.pipelines.evaluation.labels.risk import RiskScores
from mental_slm.statistics import Array, Comparison
from mental_slm.tasks import TASKS

#: A floor closer to 1 than this leaves no room for a skill.
INDISTINCT = 1e-4

RECALL = "recall_at_fixed_false_positive_rate"
SKILL = "bertscore_skill"

#: Columns of BERTScore and of its floor.
BERTSCORE = ("bertscore_f1", "bertscore_shuffled_f1")


@dataclass(frozen=True)
class Headline:
    """One declared test of the tuned model.

    Attributes:
        measure: What is compared.
        task: On whose items; or ``overall``.
        against: The system it is compared with.
    """

    measure: str
    task: str
    against: str = "base"

    @property
    def name(self) -> str:
        """Identifier, such as ``stress.weighted_f1_over_base``."""
        return f"{self.task}.{self.measure}_over_{self.against}"

    @property
    def title(self) -> str:
        """What a sentence calls it."""
        task = "All tasks" if self.task == OVERALL else TASKS[self.task].title
        return f"{task}, {TITLES[self.measure]}"


#: The family over which p-values are adjusted. Labels are those read strictly from the answers.
HEADLINES: tuple[Headline, ...] = (
    *(Headline("weighted_f1", task) for task in TASKS),
    *(Headline("weighted_f1", task, against="tfidf") for task in TASKS),
    *(Headline("quadratic_kappa", name) for name, task in TASKS.items() if task.ordinal),
    Headline(RECALL, RISK_TASK),
    Headline(SKILL, OVERALL),
)

TITLES = {
    "weighted_f1": "weighted F1",
    "quadratic_kappa": "quadratic kappa",
    RECALL: "recall at a fixed rate of false alarms",
    SKILL: "BERTScore skill",
}

Measure = Callable[[Array, Array], Array]


def judge_headlines(blocks: dict[str, Block], risk: RiskScores | None) -> dict[str, Any]:
    """Test every headline that these items allow.

    Returns:
        The declared family, the tests with difference, p-values, minimum detectable effect and
        sentence, and the headlines that could not be tested.
    """
    found = {headline: _compare(headline, blocks, risk) for headline in HEADLINES}
    compared = {headline: one for headline, one in found.items() if one is not None}
    adjusted = stats.holm([comparison.p_value for comparison in compared.values()])
    return {
        "family": [headline.name for headline in HEADLINES],
        "significance": stats.SIGNIFICANCE,
        "power": stats.POWER,
        "tests": {
            headline.name: _report(headline, comparison, p_holm)
            for (headline, comparison), p_holm in zip(compared.items(), adjusted, strict=True)
        },
        "untested": [headline.name for headline, one in found.items() if one is None],
    }


def _report(headline: Headline, comparison: Comparison, p_holm: float) -> dict[str, Any]:
    difference, detectable = comparison.difference, comparison.detectable
    return {
        **difference.to_json(),
        "p": round(comparison.p_value, 6),
        "p_holm": round(p_holm, 6),
        "detectable": round(detectable, 6),
        "verdict": stats.judge_difference(difference.value, p_holm, detectable),
        "sentence": stats.phrase_claim(
            ("tuned", headline.against), headline.title, difference, p_holm, detectable
        ),
    }


def _compare(
    headline: Headline, blocks: dict[str, Block], risk: RiskScores | None
) -> Comparison | None:
    if headline.task not in blocks:
        return None
    block = blocks[headline.task]
    if headline.measure == RECALL:
        return compare_block(block, risk.recall) if risk is not None else None
    if headline.measure == SKILL:
        return compare_block(
            block, lambda a, b: text_skill(block, {"tuned": a, "base": b}, *BERTSCORE)
        )
    measure = (MEASURES | ORDINAL_MEASURES)[headline.measure]
    other = headline.against
    return compare_block(
        block, lambda a, b: measure(block.counts("predicted", {"tuned": a, other: b})[0])
    )


def compare_block(block: Block, measure: Measure) -> Comparison | None:
    """Compare two systems on a block by any measure of their weights."""
    return stats.compare_systems(measure, block.weights[1:], block.swaps)


def text_skill(block: Block, weights: dict[str, Array], column: str, floor_column: str) -> Array:
    """Return how far a text measure lies between the wrong reference (0) and identity (1).

    Not a number where a task has a single item, or where references cannot be told apart.

    Args:
        block: The items.
        weights: Per system, shape (rows, n).
        column: The measure against the item's own reference.
        floor_column: The same against the reference of another item.
    """
    score, floor = (block.pooled(name, weights) for name in (column, floor_column))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(floor < 1 - INDISTINCT, (score - floor) / (1 - floor), np.nan)
