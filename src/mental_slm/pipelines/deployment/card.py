"""The model card, written from what was measured."""

from typing import Any

from mental_slm.references import AdapterRef, DLCRef, ModelRef
from mental_slm.safety import CRISIS_RESOURCE, INTENDED_USE

COLUMNS = (
    ("precision", "{}"),
    ("engine", "{}"),
    ("size_bytes", "{:,}"),
    ("max_logit_difference", "{:.2g}"),
    ("kl", "{:.2g}"),
    ("kl_share", "{:.2g}"),
    ("decided_top1_agreement", "{:.1%}"),
    ("response_nll", "{:.4f}"),
    ("prompt_tokens_per_s", "{:.0f}"),
    ("decode_tokens_per_s", "{:.1f}"),
)


def render_card(
    model: ModelRef,
    adapter: AdapterRef,
    audit: dict[str, Any],
    merging: dict[str, Any],
    parity: dict[str, Any],
    dlc: DLCRef,
    data: str,
) -> str:
    """Return the card as Markdown.

    Args:
        model: The merged model.
        adapter: What was trained.
        audit: Token audit of the training pairs.
        merging: Losses before and after merging.
        parity: The parity report.
        dlc: The container for the phone's NPU, or why there is none.
        data: Data edition.
    """
    train = audit["train"]
    return "\n".join(
        [
            f"# {model.name}",
            "",
            f"{INTENDED_USE}",
            "",
            "## What it is",
            "",
            "A small language model that reads a post about mental health, names what speaks for a "
            "label, offers support and ends with the label. It is the base model "
            f"**{adapter.base_name}** with a LoRA adapter merged in, exported to ONNX with "
            "weight-only INT8. The base model's licence applies to it.",
            "",
            f"- family: `{model.family}`, {model.parameters:,} parameters",
            f"- digest of the merged model: `{model.digest}`",
            "",
            "## Training",
            "",
            f"- data edition: `{data}`{_edition_note(data)}",
            f"- instruction pairs: {train['kept']:,} of {train['pairs']:,}, "
            f"{train['tokens']:,} tokens, {train['answer_share']:.0%} of them answers",
            f"- best validation loss: {adapter.validation_loss:.4f} nats per answer token",
            f"- loss on {merging['pairs']} validation pairs: {merging['base_loss']:.4f} before, "
            f"{merging['merged_loss']:.4f} after training and merging",
            "",
            "## Fidelity of the exported models",
            "",
            f"On {parity['samples']} held-out pairs ({parity['int8']['tokens']} tokens), against the "
            f"merged model in torch; {parity['threads']} CPU thread(s). Speeds are of one run on the "
            "machine that built this, not of a phone.",
            "",
            _table([parity["torch"], parity["fp32"], parity["int8"]]),
            "",
            "`kl`: mean divergence of the next-token distributions in nats; `kl_share`: the same as "
            "a share of what the model knows beyond a uniform guess; `decided_top1_agreement`: same "
            "first choice where the original leads by a probability of 0.1.",
            "",
            f"NPU container (DLC, {dlc.soc}): {_dlc_line(dlc)}",
            "",
            "## Limits",
            "",
            "- English only. Labels follow public research sets of social-media posts and do not "
            "make a clinical finding.",
            "- Answers can be wrong, unkind or made up. Quality is stated by the evaluation report "
            "of the same run, not by this card.",
            "- Some chip vendors' licences prohibit or advise against emotion recognition at work "
            "and in education; check yours.",
            "- An application must add the crisis resource by code, as the bundle's `run.py` does:",
            "",
            f"> {CRISIS_RESOURCE}",
            "",
        ]
    )


def _edition_note(data: str) -> str:
    return " (synthetic: made up for trying the pipeline out)" if data == "sample" else ""


def _dlc_line(dlc: DLCRef) -> str:
    made = "made and compiled; it lies beside the bundle."
    return f"not made: {dlc.skipped_because}" if dlc.skipped_because else made


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| " + " | ".join(name for name, _ in COLUMNS) + " |",
        "| " + " | ".join("---" for _ in COLUMNS) + " |",
    ]
    for row in rows:
        cells = ["" if row.get(name) is None else form.format(row[name]) for name, form in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
