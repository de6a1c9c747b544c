"""How much each step on the way to the NPU changes what the model says.

Each row of the table compares one form of the model with the form before it, on the same held-out
texts; the gates stop the run at the first step that loses too much.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mental_slm.pipelines.deployment.npu.options import NpuParityOptions
from mental_slm.pipelines.deployment.npu.runner import Step
from mental_slm.pipelines.deployment.npu.static_decoder import Array
from mental_slm.pipelines.deployment.parity import ParityBroken, compare_logits
from mental_slm.pipelines.deployment.task_metric import Question, compare_answers, label_shares

COLUMNS = (
    ("step", "{}"),
    ("against", "{}"),
    ("tokens", "{}"),
    ("max_logit_difference", "{:.2g}"),
    ("cosine", "{:.5f}"),
    ("kl", "{:.2g}"),
    ("kl_share", "{:.2g}"),
    ("top1_agreement", "{:.3f}"),
    ("decided_top1_agreement", "{:.3f}"),
    ("perplexity", "{:.3f}"),
    ("perplexity_before", "{:.3f}"),
    ("task_items", "{}"),
    ("task_accuracy", "{:.2f}"),
    ("task_agreement", "{:.2f}"),
)


def compare_step(
    step: str,
    against: str,
    samples: Sequence[Sequence[Step]],
    before: Sequence[Array],
    after: Sequence[Array],
    questions: Sequence[Question] = (),
) -> dict[str, Any]:
    """Return one row of the table.

    Args:
        step: What the model has become, for example ``"QDQ a16w8"``.
        against: What it was before.
        samples: The texts.
        before: Logits ``[tokens, vocabulary]`` per text and then per question, before the step.
        after: The same after it.
        questions: Posts of which only the label is compared.

    Returns:
        The numbers of :func:`~mental_slm.pipelines.deployment.parity.compare_logits`, mean and
        smallest cosine of the logits of a token, the perplexity of the texts before and after, and
        the labels taken (:func:`~mental_slm.pipelines.deployment.task_metric.compare_answers`).
    """
    texts = len(samples)
    labels = [
        [label_shares(q, values[-1]) for q, values in zip(questions, logits[texts:], strict=True)]
        for logits in (before, after)
    ]
    before, after = before[:texts], after[:texts]
    cosines = np.concatenate([_cosines(b, a) for b, a in zip(before, after, strict=True)])
    return {
        "step": step,
        "against": against,
        **compare_logits(before, after),
        "cosine": float(cosines.mean()),
        "lowest_cosine": float(cosines.min()),
        "perplexity": _perplexity(samples, after),
        "perplexity_before": _perplexity(samples, before),
        **compare_answers(questions, *labels),
    }


def check_static(row: dict[str, Any], options: NpuParityOptions) -> list[dict[str, Any]]:
    """Return the gates of the static graphs."""
    largest = row["max_logit_difference"]
    limit = options.static_max_difference
    return [_gate("static_max_difference", largest, limit, largest <= limit)]


def check_quantised(row: dict[str, Any], options: NpuParityOptions) -> list[dict[str, Any]]:
    """Return the gates of the quantised graphs."""
    top1, labels = row["decided_top1_agreement"], row["decided_task_agreement"]
    fewest = options.quantised_min_task
    cosine, share = options.quantised_min_cosine, options.quantised_max_kl_share
    return [
        _gate("quantised_min_cosine", row["cosine"], cosine, row["cosine"] >= cosine),
        _gate("quantised_max_kl_share", row["kl_share"], share, row["kl_share"] <= share),
        _gate(
            "quantised_min_top1",
            top1,
            options.quantised_min_top1,
            top1 is None or top1 >= options.quantised_min_top1,
        ),
        _gate("quantised_min_task", labels, fewest, labels is None or labels >= fewest),
    ]


def check_emulated(row: dict[str, Any], options: NpuParityOptions) -> list[dict[str, Any]]:
    """Return the gates of the prepared container."""
    limit = options.emulated_min_cosine
    return [_gate("emulated_min_cosine", row["cosine"], limit, row["cosine"] >= limit)]


def stop_if_broken(
    rows: Sequence[dict[str, Any]], gates: Sequence[dict[str, Any]], kept: str
) -> None:
    """Stop the run where a gate is broken.

    Args:
        rows: The table so far.
        gates: What was asked of it. A number that is not finite passes none.
        kept: Where the refused artefact lies.

    Raises:
        ParityBroken: With the broken gates and the table.
    """
    broken = [
        f"{gate['gate']}: {gate['value']:.4g}, allowed {gate['limit']:.4g}"
        for gate in gates
        if not gate["passed"]
    ]
    if broken:
        raise ParityBroken(
            f"too much is lost on the way to the NPU: {'; '.join(broken)}. What was refused is "
            f"kept in {kept}. Calibrate on more rows, take another scheme or, knowingly, move the "
            f"gate (deployment.npu)\n{render_table(rows)}"
        )


def render_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| " + " | ".join(name for name, _ in COLUMNS) + " |",
        "| " + " | ".join("---" for _ in COLUMNS) + " |",
    ]
    for row in rows:
        cells = ["" if row[name] is None else form.format(row[name]) for name, form in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gate(gate: str, value: float | None, limit: float, passed: bool) -> dict[str, Any]:
    return {"gate": gate, "value": value, "limit": limit, "passed": bool(passed)}


def _cosines(before: Array, after: Array) -> Array:
    products = (before * after).sum(-1)
    lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    cosines: Array = products / lengths
    return cosines


def _perplexity(samples: Sequence[Sequence[Step]], logits: Sequence[Array]) -> float:
    losses: list[float] = []
    for steps, values in zip(samples, logits, strict=True):
        ids = [token for step in steps for token in step.token_ids]
        peak = values.max(-1)
        logs = peak + np.log(np.exp(values - peak[:, None]).sum(-1))
        rows = np.arange(len(ids) - 1)
        losses += (logs[:-1] - values[rows, ids[1:]]).tolist()
    return float(np.exp(np.mean(losses)))
