"""The story of the fine-tuning stage: obtain, audit, train, draw, merge."""

import json
import logging
from pathlib import Path
from typing import Any

from mental_slm.fingerprints import Fingerprint, digest, digest_code, digest_folder
from mental_slm.language_model.loading import load_tokenizer, use_threads
from mental_slm.language_model.options import ModelOptions
from mental_slm.language_model.source import describe_folder, obtain_model
from mental_slm.pipelines.fine_tuning.encoding import EncodedSplit, describe_split, encode_split
from mental_slm.pipelines.fine_tuning.options import FineTuningOptions
from mental_slm.references import AdapterRef, ModelRef
from mental_slm.storage import write_text
from mental_slm.training.batches import write_pairs
from mental_slm.training.config import WorkerConfig

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
        Per split: pairs, those too long, tokens, share of answer tokens, lengths, packed rows.

    Raises:
        ValueError: A pair has nothing to learn, or none fits a row.
    """
    train, validation = _encode(pairs_train, pairs_val, base_model, options)
    return {
        "model": base_model.name,
        "max_length": options.max_length,
        "train": describe_split(train, options.max_length),
        "val": describe_split(validation, options.max_length),
    }


def train_adapter(
    pairs_train: list[dict[str, Any]],
    pairs_val: list[dict[str, Any]],
    base_model: ModelRef,
    options: FineTuningOptions,
    model: ModelOptions,
    workspace: Path,
) -> tuple[AdapterRef, list[dict[str, Any]]]:
    """Train a QLoRA adapter and keep the one with the lowest validation loss.

    A killed training goes on at its last checkpoint; a finished one with the same pairs, options,
    base model and code is used again.

    Args:
        pairs_train: Pairs to learn from.
        pairs_val: Pairs to choose the best adapter by.
        base_model: The frozen model.
        options: Options of the training.
        model: ``threads``, and the hub name under which plain PEFT finds the base model.
        workspace: Keeps tokens, checkpoints and the result between runs.

    Returns:
        The adapter, and one entry per log or validation interval.
    """
    folder = workspace / "training"
    made_from = Fingerprint.of(
        "adapter",
        pairs=digest([pairs_train, pairs_val]),
        base=base_model.digest,
        options=options.training().model_dump(mode="json"),
        code=digest_code(*CODE),
    )
    if not made_from.matches(folder):
        made_from.unseal(folder)
        train, validation = _encode(pairs_train, pairs_val, base_model, options)
        _run_worker(folder, train, validation, base_model, options, model)
        made_from.seal(folder)
    log = json.loads((folder / "training_log.json").read_text("utf-8"))
    adapter = AdapterRef(
        path=folder / "adapter",
        digest=digest_folder(folder / "adapter"),
        base_name=base_model.name,
        base_digest=base_model.digest,
        validation_loss=min(e["validation_loss"] for e in log if "validation_loss" in e),
    )
    return adapter, log


def draw_loss_curve(training_log: list[dict[str, Any]]) -> Any:
    """Draw training and validation loss over the optimiser steps.

    Args:
        training_log: From :func:`train_adapter`.

    Returns:
        A plotly figure.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for key, name, mode in (
        ("loss", "training", "lines"),
        ("validation_loss", "validation", "lines+markers"),
    ):
        entries = [entry for entry in training_log if key in entry]
        figure.add_scatter(
            x=[entry["step"] for entry in entries],
            y=[entry[key] for entry in entries],
            name=name,
            mode=mode,
        )
    figure.update_layout(
        title="Loss per answer token",
        xaxis_title="optimiser step",
        yaxis_title="nats per answer token",
    )
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
    options: FineTuningOptions,
    model: ModelOptions,
) -> None:
    """Write what the worker needs into its folder, and run it in this process."""
    from mental_slm.training.worker import main

    from_hub = base_model.origin == "hub"
    config = WorkerConfig(
        base_folder=base_model.path.resolve(),
        base_digest=base_model.digest,
        base_reference=model.name if from_hub else str(base_model.path.resolve()),
        base_revision=model.revision if from_hub else None,
        train_file=folder / "train.jsonl",
        validation_file=folder / "validation.jsonl",
        output_folder=folder,
        threads=model.threads,
        training=options.training(),
    )
    write_pairs(config.train_file, train.pairs)
    write_pairs(config.validation_file, validation.pairs)
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    main(folder / "config.json")
