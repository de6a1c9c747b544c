"""One row per model, decoding and text: what was predicted, and how near it came."""

from typing import Any

import numpy as np
import pandas as pd

from mental_slm.emotions import is_default_profile, profile_form, read_profile
from mental_slm.language_model.slot_scoring import FilledForm
from mental_slm.pipelines.evaluation.profiles import metrics
from mental_slm.pipelines.evaluation.profiles.metrics import DIMENSIONS, Constants

#: How a prediction was come by. The two last are read off the same slot probabilities.
DECODINGS = ("free", "constrained", "slots_argmax", "slots_expected")

#: Columns of the coverage of written answers; null for slots, which cannot be incomplete.
COVERAGE = ("is_json", "holds_json", "is_complete", "in_range", "is_default", "is_finished")

GOLD = "gold_"

#: Scores of a single text, with the training mean in the place of an invalid answer.
TEXT_SCORES = ("mae_01", "centred_cosine_01", "cosine_01", "cosine_raw")

COLUMNS = (
    "system",
    "decoding",
    "pair_id",
    "text_id",
    "raters",
    *COVERAGE,
    "tokens",
    *DIMENSIONS,
    *(GOLD + name for name in DIMENSIONS),
    *TEXT_SCORES,
)


def score_profiles(
    items: list[dict[str, Any]],
    answers: dict[str, list[dict[str, Any]]],
    raters: dict[str, int],
    constants: Constants,
) -> pd.DataFrame:
    """Read and score all answers.

    Args:
        items: Test pairs; their label is the mean rating as JSON.
        answers: Result of :func:`.asking.ask_for_profiles` by system.
        raters: Number of raters by record id.
        constants: Training mean, which stands in for an invalid answer.

    Returns:
        Columns :data:`COLUMNS`; the ten predictions of an invalid answer are missing.

    Raises:
        ValueError: An item has no answer or an answer has no item.
    """
    rows = []
    for system, of_system in answers.items():
        by_id = {answer["pair_id"]: answer for answer in of_system}
        differing = sorted(by_id.keys() ^ {item["pair_id"] for item in items})
        if differing:
            raise ValueError(
                f"profiles of {system}: {len(differing)} ids differ from the selected texts, first "
                f"{differing[0]}; run `kedro run --pipelines evaluation` from the start"
            )
        for item in items:
            fixed = {
                "system": system,
                "pair_id": item["pair_id"],
                "text_id": item["text_id"],
                "raters": raters.get(item["record_id"]),
                **{GOLD + name: value for name, value in gold_profile(item).items()},
            }
            rows += [fixed | row for row in _predictions(by_id[item["pair_id"]])]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(_types())
    return _with_text_scores(table, constants).sort_values(
        ["system", "decoding", "pair_id"], ignore_index=True
    )


def no_scores() -> pd.DataFrame:
    """Return the table with all its columns and no row."""
    return pd.DataFrame(columns=list(COLUMNS)).astype(_types())


def gold_profile(pair: dict[str, Any]) -> dict[str, float]:
    """Return the mean ratings that a pair carries as its label.

    Raises:
        ValueError: The label is no profile; names the pair.
    """
    values = read_profile(pair["label"]).values
    if values is None:
        raise ValueError(
            f"pair {pair['pair_id']}: its label is no emotion profile within range; run the "
            "augmentation pipeline again"
        )
    return values


def predictions(table: pd.DataFrame, constants: Constants) -> metrics.Array:
    """Return the predictions of a table, invalid ones replaced by the training mean."""
    values = table[list(DIMENSIONS)].to_numpy(dtype=np.float64)
    return np.where(np.isnan(values), constants.mean, values)


def gold(table: pd.DataFrame) -> metrics.Array:
    """Return the mean ratings of a table (texts, dimensions)."""
    return table[[GOLD + name for name in DIMENSIONS]].to_numpy(dtype=np.float64)


def _predictions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per decoding."""
    rows: list[dict[str, Any]] = []
    for way in ("free", "constrained"):
        reading = read_profile(answer[way]["answer"])
        values = reading.values
        rows.append(
            {
                "decoding": way,
                "is_json": reading.is_json,
                "holds_json": reading.holds_json,
                "is_complete": reading.is_complete,
                "in_range": values is not None,
                "is_default": values is not None and is_default_profile(values),
                "is_finished": answer[way]["finish_reason"] == "stop",
                "tokens": answer[way]["tokens"],
                **(values or {}),
            }
        )
    _, choices = profile_form()
    form = FilledForm("", tuple(tuple(slot) for slot in answer["slots"]))
    likeliest, expected = {}, {}
    for name, slot, best, shares in zip(
        DIMENSIONS, choices, form.chosen, form.probabilities, strict=True
    ):
        likeliest[name] = float(slot[best])
        expected[name] = sum(float(v) * share for v, share in zip(slot, shares, strict=True))
    return [
        *rows,
        {"decoding": "slots_argmax", **likeliest},
        {"decoding": "slots_expected", **expected},
    ]


def _with_text_scores(table: pd.DataFrame, constants: Constants) -> pd.DataFrame:
    predicted, rated = predictions(table, constants), gold(table)
    mine, theirs = metrics.rescale(predicted), metrics.rescale(rated)
    scores = {
        "mae_01": np.abs(mine - theirs).mean(axis=1),
        "centred_cosine_01": metrics.centred_cosine(predicted, rated, constants),
        "cosine_01": metrics.cosine(mine, theirs),
        "cosine_raw": metrics.cosine(predicted, rated),
    }
    return table.assign(**scores)


def _types() -> dict[str, str]:
    texts = ("system", "decoding", "pair_id", "text_id")
    numbers = (*DIMENSIONS, *(GOLD + name for name in DIMENSIONS), *TEXT_SCORES)
    return {
        **dict.fromkeys(texts, "string"),
        "raters": "Int64",
        **dict.fromkeys(COVERAGE, "boolean"),
        "tokens": "Int64",
        **dict.fromkeys(numbers, "float64"),
    }
