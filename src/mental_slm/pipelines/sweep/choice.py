"""What a study tells: the best settings, and the report."""

from collections.abc import Sequence
from typing import Any

from mental_slm.pipelines.sweep.options import SweepOptions


def choose(trials: Any, around: str) -> dict[str, Any]:
    """Return the best finished trial and how to fine-tune with its settings.

    Args:
        trials: A row per trial, see :meth:`mental_slm.pipelines.sweep.search.Search.describe`.
        around: Name of the recipe that was searched around.

    Returns:
        See :func:`mental_slm.pipelines.sweep.nodes.choose_settings`.
    """
    complete = trials[trials["state"] == "complete"].sort_values(["validation_loss", "trial"])
    best = complete.iloc[0]
    recipes = complete[complete["recipe"] != ""].drop_duplicates("recipe")
    return {
        "trial": int(best["trial"]),
        "validation_loss": float(best["validation_loss"]),
        "settings": {
            "recipe": best["recipe"],
            "learning_rate": float(best["learning_rate"]),
            "r": int(best["r"]),
            "alpha": int(best["alpha"]),
        },
        "params": f"--params {','.join(_params(best, around))}",
        "recipes": {row["recipe"]: float(row["validation_loss"]) for _, row in recipes.iterrows()},
        "trials": len(trials),
        "pruned": int((trials["state"] == "pruned").sum()),
    }


def _params(best: Any, around: str) -> list[str]:
    """Return ``--params`` entries; 17 digits are what it takes to say a float exactly."""
    if not best["searched"] and best["recipe"] != around:
        return [f"fine_tuning.recipe={best['recipe']}"]
    return [
        *([] if around == "default" else [f"fine_tuning.recipe={around}"]),
        f"fine_tuning.learning_rate={float(best['learning_rate'])!r}",
        f"fine_tuning.lora.r={best['r']}",
        f"fine_tuning.lora.alpha={best['alpha']}",
    ]


def write_report(trials: Any, best: dict[str, Any], options: SweepOptions) -> str:
    """Return the report as Markdown."""
    budget = (
        f"{options.max_steps} steps" if options.max_steps else f"about {options.tokens:,} tokens"
    )
    lines = [
        "# Sweep",
        "",
        f"{best['trials']} trials of {budget} each, {best['pruned']} of them pruned; losses on "
        f"{options.validation_pairs} validation pairs at most, in nats per answer token.",
        "",
        f"**Best: trial {best['trial']}, {best['validation_loss']:.4f}.** Fine-tune with it:",
        "",
        f"    kedro run --pipelines fine_tuning {best['params']}",
        "",
        *_compare(best),
        *_table(trials),
        "",
        "One seed per trial: differences of the size that another seed makes mean nothing. A short "
        "trial favours high rates; where the best rate lies at a bound of `sweep.learning_rate`, "
        "widen it, and lower it a little for a training that is much longer than a trial.",
    ]
    return "\n".join(lines) + "\n"


def _compare(best: dict[str, Any]) -> list[str]:
    lines = [
        f"- recipe `{name}`: {loss:.4f}, {loss - best['validation_loss']:+.4f} to the best"
        for name, loss in best["recipes"].items()
    ]
    return [*lines, ""] if lines else []


def _table(trials: Any) -> list[str]:
    head = ("trial", "loss", "learning rate", "r", "alpha", "targets", "steps", "seconds", "")
    rows: list[Sequence[str]] = [
        (
            f"{row['trial']}{' (' + row['recipe'] + ')' if row['recipe'] else ''}",
            f"{row['validation_loss']:.4f}",
            f"{row['learning_rate']:.2e}",
            str(row["r"]),
            str(row["alpha"]),
            row["targets"],
            str(row["steps"]),
            f"{row['seconds']:.0f}",
            f"pruned: {row['reason']}" if row["state"] == "pruned" else "",
        )
        for _, row in trials.sort_values("validation_loss").iterrows()
    ]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
