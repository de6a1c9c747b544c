"""The story of the fine-tuning stage: obtain, audit, plan, train, draw, merge."""

import json
import logging
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import Fingerprint, digest, digest_code, digest_folder
from mental_slm.language_model.loading import load_tokenizer, use_threads
from mental_slm.language_model.options import ModelOptions
from mental_slm.language_model.source import describe_folder, obtain_model
from mental_slm.pipelines.fine_tuning.auditing import (
    BAR,
    describe_split,
    describe_stop,
    render_frames,
)
from mental_slm.pipelines.fine_tuning.planning import read_model_config
from mental_slm.pipelines.fine_tuning.tracking import record_training, tracking_uri
from mental_slm.references import AdapterRef, ModelRef
from mental_slm.storage import write_text
from mental_slm.training.batches import write_pairs
from mental_slm.training.checkpoints import require_writable
from mental_slm.training.config import WorkerConfig
from mental_slm.training.encoding import EncodedSplit, encode_split, first_by_id
from mental_slm.training.options import FineTuningOptions
from mental_slm.training.plan import TrainingPlan, render
from mental_slm.training.planning import describe_hardware, make_plan

logger = logging.getLogger(__name__)

#: What the results of this stage depend on besides their inputs and options.
CODE = ("mental_slm.training", "mental_slm.language_model", "mental_slm.pipelines.fine_tuning")


def obtain_base_model(model: ModelOptions, model_cache: Path) -> ModelRef:
    """Bring the base model to this machine, once.

    Args:
        model: Which model, and from where.
        model_cache: Folder of converted models, shared by all runs.

    Returns:
        A reference to its folder.
    """
    return obtain_model(model, model_cache)


def audit_tokens(
    pairs_train: list[dict[str, Any]],
    pairs_val: list[dict[str, Any]],
    base_model: ModelRef,
    options: FineTuningOptions,
) -> dict[str, Any]:
    """Look at the pairs as the model will see them, before any time is spent on training.

    Args:
        pairs_train: Pairs to learn from.
        pairs_val: Pairs to choose the best adapter by.
        base_model: Its tokenizer and chat template count.
        options: ``max_length`` counts.

    Returns:
        Per split: pairs, those shortened, left out or without a label, tokens, share of answer
        tokens, lengths, packed rows; the stop token; for each task what is read and what is learned, with the
        writers' words replaced by their number.

    Raises:
        ValueError: A pair has nothing to learn, or none fits a row.
    """
    train, validation = _encode(pairs_train, pairs_val, base_model, options)
    described = describe_split(train, options.max_length)
    logger.info(
        "the training pairs have %d tokens, %.0f %% of them in answers; for the plan's time: "
        "--params fine_tuning.plan.tokens=%d,fine_tuning.plan.answer_share=%.2f",
        described["tokens"],
        100 * described["answer_share"],
        described["tokens"],
        described["answer_share"],
    )
    return {
        "model": base_model.name,
        "max_length": options.max_length,
        "stop": describe_stop([train, validation], load_tokenizer(base_model.path)),
        "train": described,
        "val": describe_split(validation, options.max_length),
        "frames": render_frames(pairs_train, load_tokenizer(base_model.path)),
    }


def draw_token_lengths(token_audit: dict[str, Any]) -> Any:
    """Draw how long pairs and answers are, and the window they must fit.

    Args:
        token_audit: From :func:`audit_tokens`.

    Returns:
        A plotly figure.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for split, title in (("train", "training"), ("val", "validation")):
        for key, name in (("length", "pairs"), ("answer_length", "answers")):
            bars = token_audit[split][f"{key}_histogram"]
            figure.add_bar(
                x=[BAR * (i + 0.5) for i in range(len(bars))], y=bars, name=f"{title} {name}"
            )
    figure.add_vline(x=token_audit["max_length"], line_dash="dash", annotation_text="max_length")
    figure.update_layout(
        title="Lengths as the model reads them",
        xaxis_title=f"tokens, in bars of {BAR}",
        yaxis_title="pairs",
    )
    return figure


def plan_training(options: FineTuningOptions, model: ModelOptions) -> tuple[dict[str, Any], str]:
    """Predict memory and time, and choose how to train, before anything is loaded.

    Args:
        options: The training, and the hardware to plan for.
        model: Whose ``config.json`` is read; no weights are needed.

    Returns:
        The plan, and the same as Markdown.

    Raises:
        PlanImpossible: Nothing fits; names the smallest change that would.
    """
    name, config = read_model_config(model)
    plan = make_plan(name, config, options, describe_hardware(options))
    table = render(plan)
    for line in filter(None, table.splitlines()):
        logger.info("%s", line)
    return plan.model_dump(mode="json"), table


def train_adapter(
    pairs_train: list[dict[str, Any]],
    pairs_val: list[dict[str, Any]],
    base_model: ModelRef,
    training_plan: dict[str, Any],
    options: FineTuningOptions,
    model: ModelOptions,
    workspace: Path,
) -> tuple[AdapterRef, list[dict[str, Any]]]:
    """Train a QLoRA adapter and keep the one with the lowest validation loss.

    A killed training goes on at its last checkpoint; a finished one with the same pairs, options,
    base model and code is used again.

    Args:
        pairs_train: Pairs to learn from.
        pairs_val: The first of them (by id) are what the best adapter is chosen by.
        base_model: The frozen model.
        training_plan: Decides what the options leave to it (``auto``).
        options: Options of the training.
        model: ``threads``, and the hub name under which plain PEFT finds the base model.
        workspace: Keeps tokens, checkpoints and the result between runs.

    Returns:
        The adapter, and one entry per log or validation interval.
    """
    folder = workspace / "training"
    record_at = tracking_uri(options)
    few = first_by_id(pairs_val, options.validation_pairs)
    made_from = Fingerprint.of(
        "adapter",
        pairs=digest([pairs_train, few]),
        base=base_model.digest,
        options=options.asked(),  # not what the plan decides: it changes no result
        code=digest_code(*CODE),
    )
    if not made_from.matches(folder):
        made_from.unseal(folder)
        train, validation = _encode(pairs_train, few, base_model, options)
        plan = TrainingPlan.model_validate(training_plan)
        _run_worker(folder, train, validation, base_model, plan, options, model)
        made_from.seal(folder)
    lines = (folder / "training_log.jsonl").read_text("utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    adapter = AdapterRef(
        path=folder / "adapter",
        digest=digest_folder(folder / "adapter"),
        base_name=base_model.name,
        base_digest=base_model.digest,
        validation_loss=min(e["validation_loss"] for e in log if "validation_loss" in e),
    )
    if record_at:
        record_training(record_at, options, adapter, log)
    return adapter, log


def draw_loss_curve(training_log: list[dict[str, Any]]) -> Any:
    """Draw the course of the training over the optimiser steps.

    Args:
        training_log: From :func:`train_adapter`.

    Returns:
        A plotly figure: the two losses above, learning rate, gradient and pace below.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2,
        cols=3,
        specs=[[{"colspan": 3}, None, None], [{}, {}, {}]],
        subplot_titles=(
            "loss, nats per answer token",
            "learning rate",
            "gradient norm",
            "real tokens per second",
        ),
        row_heights=[0.65, 0.35],
    )
    for key, name, mode, row, column in (
        ("loss", "training", "lines", 1, 1),
        ("validation_loss", "validation", "lines+markers", 1, 1),
        ("learning_rate", "learning rate", "lines", 2, 1),
        ("grad_norm", "gradient norm", "lines", 2, 2),
        ("tokens_per_second", "tokens/s", "lines", 2, 3),
    ):
        entries = [entry for entry in training_log if key in entry]
        figure.add_scatter(
            x=[entry["step"] for entry in entries],
            y=[entry[key] for entry in entries],
            name=name,
            mode=mode,
            showlegend=row == 1,
            row=row,
            col=column,
        )
    figure.update_xaxes(title_text="optimiser step")
    figure.update_layout(title="Training")
    return figure


def merge_adapter(
    base_model: ModelRef,
    adapter: AdapterRef,
    pairs_val: list[dict[str, Any]],
    options: FineTuningOptions,
    model: ModelOptions,
    workspace: Path,
) -> tuple[ModelRef, dict[str, Any]]:
    """Merge the adapter into the unquantised base, and prove it on a fixed batch.

    Args:
        base_model: The model the adapter was trained on.
        adapter: The adapter.
        pairs_val: The first of them (by id) are the fixed batch.
        options: ``merge`` and ``max_length`` count.
        model: ``threads`` counts.
        workspace: Keeps the result between runs.

    Returns:
        The merged model and a report of the losses before and after.

    Raises:
        MergeLost: The losses before and after differ by more than the tolerance.
    """
    folder = workspace / "merging"
    made_from = Fingerprint.of(
        "merged model",
        base=base_model.digest,
        adapter=adapter.digest,
        pairs=digest(pairs_val),
        options=[options.merge.model_dump(mode="json"), options.max_length],
        code=digest_code(*CODE),
    )
    merged, reference, report = folder / "model", folder / "reference.json", folder / "report.json"
    if not made_from.matches(folder):
        from mental_slm.pipelines.fine_tuning.merging import merge

        made_from.unseal(folder)
        use_threads(model.threads)
        split = encode_split("val", pairs_val, load_tokenizer(base_model.path), options.max_length)
        in_order = [pair for _, pair in sorted(zip(split.ids, split.pairs, strict=True))]
        losses = merge(
            base_model, adapter, in_order[: options.merge.check_pairs], options.merge, merged
        )
        described = describe_folder(merged, f"{base_model.name}-tuned", "merged")
        write_text(reference, json.dumps(described.to_json(), indent=2) + "\n")
        write_text(report, json.dumps(losses, indent=2) + "\n")
        made_from.seal(folder)
    return (
        ModelRef.from_json(json.loads(reference.read_text("utf-8"))).at(merged),
        json.loads(report.read_text("utf-8")),
    )


def _encode(
    pairs_train: list[dict[str, Any]],
    pairs_val: list[dict[str, Any]],
    base_model: ModelRef,
    options: FineTuningOptions,
) -> tuple[EncodedSplit, EncodedSplit]:
    tokenizer = load_tokenizer(base_model.path)
    return (
        encode_split("train", pairs_train, tokenizer, options.max_length),
        encode_split("val", pairs_val, tokenizer, options.max_length),
    )


def _run_worker(
    folder: Path,
    train: EncodedSplit,
    validation: EncodedSplit,
    base_model: ModelRef,
    plan: TrainingPlan,
    options: FineTuningOptions,
    model: ModelOptions,
) -> None:
    """Write what the worker needs into its folder, and start it."""
    from mental_slm.training.launcher import launch

    require_writable(folder)
    from_hub = base_model.origin == "hub"
    processes = options.launcher.processes
    config = WorkerConfig(
        base_folder=base_model.path.resolve(),
        base_digest=base_model.digest,
        base_reference=model.name if from_hub else str(base_model.path.resolve()),
        base_revision=model.revision if from_hub else None,
        train_file=folder / "train.jsonl",
        validation_file=folder / "validation.jsonl",
        pair_ids_file=folder / "train_ids.txt",
        output_folder=folder,
        threads=model.threads,
        roof_tokens_per_second=_roof(plan, options),
        restart=options.restart,
        training=options.training(plan.settle(options.asked())),
    )
    write_pairs(config.train_file, train.pairs)
    write_pairs(config.validation_file, validation.pairs)
    write_text(folder / "train_ids.txt", "".join(f"{name}\n" for name in train.ids))
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    launch(folder / "config.json", processes)


def _roof(plan: TrainingPlan, options: FineTuningOptions) -> float | None:
    """Return the tokens per second that the hardware could do at most, if the plan knows."""
    gflop = sum(plan.gflop_per_token.values())
    if options.plan.card != "auto" or not gflop:  # planned for another card, or a toy
        return None
    devices = options.launcher.processes if plan.hardware.kind == "cuda" else 1
    return plan.hardware.peak_tflops * 1e3 / gflop * devices
