"""The few numbers that end a run, read from the reports its stages wrote."""

from collections.abc import Callable
from typing import Any


def headlines(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Return one line or more for each report that has headlines.

    Args:
        reports: Dataset name to the content of its JSON file; others are passed over.
    """
    return [
        line
        for name, lines_of in _LINES.items()
        if name in reports
        for line in lines_of(reports[name])
    ]


def _ingestion(report: dict[str, Any]) -> list[str]:
    rows = report["rows"]["all"]
    return [
        f"corpus: {rows['kept']} of {rows['in']} posts kept "
        f"({rows['train']} train, {rows['val']} val, {rows['test']} test)"
    ]


def _augmentation(report: dict[str, Any]) -> list[str]:
    return ["pairs: " + ", ".join(f"{count} {split}" for split, count in report["pairs"].items())]


def _merge(report: dict[str, Any]) -> list[str]:
    return [
        f"loss per answer token on {report['pairs']} validation pairs: "
        f"base {report['base_loss']:.3f}, tuned {report['adapter_loss']:.3f}, "
        f"merged {report['merged_loss']:.3f}"
    ]


def _metrics(report: dict[str, Any]) -> list[str]:
    overall = {name: tasks["overall"] for name, tasks in report["systems"].items()}
    n = report["data"]["n"]
    lines = [
        f"{title}, n = {n}: "
        + ", ".join(f"{name} {_interval(facts[key])}" for name, facts in overall.items())
        for key, title in (("accuracy", "label accuracy"), ("macro_f1", "macro F1"))
    ]
    scored = {name: facts for name, facts in overall.items() if facts.get("bertscore_f1")}
    lines.append(
        f"BERTScore F1 ({report['bertscore']['encoder']}): "
        + ", ".join(
            f"{name} {facts['bertscore_f1']['value']:.3f} (floor {facts['bertscore_floor']:.3f})"
            for name, facts in scored.items()
        )
    )
    return lines


def _safety(report: dict[str, Any]) -> list[str]:
    gate = report["gate"]
    failed = ", ".join(failure["name"] for failure in gate["failures"])
    return [
        "safety: the release gate is " + ("passed" if gate["passed"] else f"not passed ({failed})")
    ]


def _parity(report: dict[str, Any]) -> list[str]:
    exports = {f"{name} ONNX": report[name] for name in ("fp32", "int8")} | report["runtimes"]
    torch = report["torch"]["decode_tokens_per_s"]
    return [
        f"{name}: {facts['size_bytes'] / 1e6:.0f} MB, KL {facts['kl']:.2g} nats per token, "
        f"same first choice {facts['top1_agreement']:.1%}"
        + (
            f", {facts['decode_tokens_per_s']:.0f} tokens/s (torch {torch:.0f})"
            if facts.get("decode_tokens_per_s")  # a GGUF is only read back here
            else ""
        )
        for name, facts in exports.items()
    ]


def _npu(report: dict[str, Any]) -> list[str]:
    return [
        f"{row['step']} against {row['against']}: cosine {row['cosine']:.4f}, "
        f"same first choice {row['top1_agreement']:.1%} of {row['tokens']} tokens"
        for row in report["rows"]
    ]


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


_LINES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "ingestion_counts": _ingestion,
    "augmentation_counts": _augmentation,
    "merge_report": _merge,
    "metrics": _metrics,
    "safety_metrics": _safety,
    "parity_report": _parity,
    "npu_parity": _npu,
}
