"""The table of scores: one row per judge, answer, criterion and repeat. It holds no text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mental_slm.prompts import CRITERIA

#: Columns of ``judge_scores``. ``score`` is null where the judge gave none; ``failure`` says why.
#: ``rule`` names the rule by which an answer scored 0 without a judge. ``pair_id`` of an anchor is
#: its name.
COLUMNS = (
    "judge",
    "pair_id",
    "text_id",
    "task",
    "system",
    "repeat",
    "criterion",
    "score",
    "failure",
    "rule",
    "attempts",
    "words",
)

#: What identifies an answer, whoever judges it.
ANSWER = ["pair_id", "text_id", "system"]
OVERALL = "overall"


def tabulate(replies: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make the table of scores from the rows of ``judge_replies``.

    Raises:
        ValueError: A row has neither score nor failure for a criterion; names judge and item.
    """
    rows = []
    for reply in replies:
        for criterion in CRITERIA:
            score = reply["scores"].get(criterion)
            failure = reply["failures"].get(criterion)
            if (score is None) == (failure is None):
                raise ValueError(
                    f"judge_replies: judge {reply['judge']}, item {reply['item_id']}: {criterion} "
                    "needs a score or a failure; run `kedro run --pipelines evaluation "
                    "--from-nodes evaluation.plan_judging` again"
                )
            known = {
                name: reply[name]
                for name in COLUMNS
                if name not in ("pair_id", "criterion", "score", "failure")
            }
            rows.append(
                known
                | {
                    "pair_id": reply["item_id"],
                    "criterion": criterion,
                    "score": score,
                    "failure": failure,
                }
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    texts = ("judge", "pair_id", "text_id", "task", "system", "criterion", "failure", "rule")
    table = table.astype(
        {
            **dict.fromkeys(texts, "string"),
            **dict.fromkeys(("repeat", "attempts", "words"), "int64"),
            "score": "float64",
        }
    )
    keys = ["judge", "system", "pair_id", "repeat", "criterion"]
    return table.sort_values(keys, ignore_index=True)


def panel_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the panel's scores: the median over the judges that scored.

    Returns:
        One row per answer (first judgement of each), columns :data:`ANSWER`, ``rule``, ``words``,
        the criteria and ``overall`` (their mean; NaN where a criterion has no score).
    """
    first = scores[scores["repeat"] == 0]
    wide = first.pivot_table(
        index=ANSWER, columns="criterion", values="score", aggfunc="median", dropna=False
    )
    facts = first.drop_duplicates(ANSWER).set_index(ANSWER)[["rule", "words"]]
    panel = facts.join(wide.reindex(columns=list(CRITERIA)))
    panel[OVERALL] = panel[list(CRITERIA)].mean(axis=1, skipna=False)
    return panel.reset_index().sort_values(["system", "pair_id"], ignore_index=True)


def ratings_of(
    scores: pd.DataFrame, criterion: str
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], list[str]]:
    """Return what all judges gave to the answers of real items that no rule decided.

    Returns:
        Scores of one criterion, shape (judges, answers), NaN where there is none; and the post of
        every answer.
    """
    rows = scores[
        (scores["criterion"] == criterion) & (scores["repeat"] == 0) & scores["rule"].isna()
    ]
    wide = rows.pivot(index=ANSWER, columns="judge", values="score")
    posts = [str(text_id) for text_id in wide.index.get_level_values("text_id")]
    return wide.to_numpy(dtype=np.float64).T, posts
