"""The model card, written from what was measured, and the check that nothing in it is missing.

Every number stands with how it came about: measured here, emulated, published by others, estimated.
What a stage did not measure is stated as a gap; what a reader may not miss (a licence, a section) and
is not there stops the release.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mental_slm.references import AdapterRef, DLCRef, ModelRef, RuntimeModelRef
from mental_slm.safety import CRISIS_RESOURCE, INTENDED_USE
from mental_slm.tasks import TASKS

#: What a released card must say something under.
SECTIONS = (
    "What it is",
    "Intended use",
    "Out of scope",
    "Data and licences",
    "Training",
    "Quality",
    "Safety",
    "Fidelity of the exported models",
    "Measured, emulated, published, estimated",
    "Limits",
)

#: What a released card must state, as ``- name: value``.
FIELDS = (
    "base model",
    "licence of the base model",
    "parameters",
    "digest",
    "data edition",
    "release gate",
)

#: Licences of the base models the project knows, by the last part of their name.
BASE_LICENCES = {
    "SmolLM2-135M-Instruct": "Apache-2.0",
    "Llama-3.2-3B-Instruct": "Llama 3.2 Community License (with its acceptable use policy; name "
    '"Built with Llama")',
    "Qwen2.5-3B-Instruct": "Qwen Research License (no commercial use without a further licence)",
    "DeepSeek-R1-Distill-Qwen-1.5B": "MIT, over Qwen2.5-Math-1.5B under Apache-2.0",
    "random-llama": "none needed: random weights, made for tests",
}

OUT_OF_SCOPE = (
    "Diagnosis, triage, treatment or advice on medication.",
    "A crisis service, or any use in which nobody else is there for a person in distress.",
    "Judging people who have not asked for it: employees, pupils, applicants, the insured.",
    "Languages other than English, and clinical or forensic records.",
)

VENDOR_NOTICE = (
    "The bundle holds containers made with Qualcomm's QNN libraries. The licence of those libraries "
    "(AI Stack License) prohibits, among others, emotion recognition in the workplace and in "
    "education, social scoring and exploiting people's vulnerabilities, and advises against high-risk "
    "uses (employment, education, essential services). The libraries themselves are not part of the "
    "bundle; they may be passed on only as part of an application. Read the licence before a release."
)

PARITY_COLUMNS = (
    ("precision", "{}"),
    ("engine", "{}"),
    ("size_bytes", "{:,}"),
    ("max_logit_difference", "{:.2g}"),
    ("kl", "{:.2g}"),
    ("kl_share", "{:.2g}"),
    ("decided_top1_agreement", "{:.1%}"),
    ("task_agreement", "{:.0%}"),
    ("task_accuracy", "{:.0%}"),
    ("response_nll", "{:.4f}"),
    ("prompt_tokens_per_s", "{:.0f}"),
    ("decode_tokens_per_s", "{:.1f}"),
)

SYSTEM_TITLES = {"tuned": "this model", "base": "base model"}


class CardIncomplete(ValueError):
    """A required part of the card is empty."""


@dataclass(frozen=True)
class CardFacts:
    """What the card is written from.

    Attributes:
        model: The merged model.
        adapter: What was trained.
        audit: Token audit of the training pairs.
        merging: Losses before and after merging.
        parity: The parity report.
        metrics: Of the evaluation.
        safety: ``safety_metrics`` of the evaluation.
        sources: Raw files with dataset, licence and citation.
        anchors: Published speeds on phones.
        dlc: Containers for the NPU, or why there are none.
        runtimes: Models for other runtimes, or why there are none.
        npu_parity: Parity of the line to the NPU.
        data: Data edition.
        base_licence: Licence of the base model where the project does not know it.
    """

    model: ModelRef
    adapter: AdapterRef
    audit: Mapping[str, Any]
    merging: Mapping[str, Any]
    parity: Mapping[str, Any]
    metrics: Mapping[str, Any]
    safety: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]]
    anchors: Mapping[str, Any]
    dlc: DLCRef
    runtimes: Sequence[RuntimeModelRef]
    npu_parity: Mapping[str, Any]
    data: str
    base_licence: str


def render_card(facts: CardFacts) -> str:
    """Return the card as Markdown.

    Raises:
        ValueError: The evaluation belongs to another model.
    """
    _check_model("metrics", facts.metrics["model"]["tuned"], facts.model)
    _check_model("safety_metrics", facts.safety["systems"]["tuned"]["model"], facts.model)
    bodies = {
        "What it is": _identity(facts),
        "Intended use": [INTENDED_USE],
        "Out of scope": [f"- {line}" for line in OUT_OF_SCOPE],
        "Data and licences": _data(facts),
        "Training": _training(facts),
        "Quality": [*_quality(facts.metrics)],
        "Safety": [*_safety(facts.safety)],
        "Fidelity of the exported models": _fidelity(facts),
        "Measured, emulated, published, estimated": [*_evidence(facts)],
        **({} if facts.dlc.skipped_because else {"Vendor's library": [VENDOR_NOTICE]}),
        "Limits": _limits(),
    }
    lines = [f"# {facts.model.name}", ""]
    for title, body in bodies.items():
        lines += [f"## {title}", "", *body, ""]
    return "\n".join(lines)


def check_complete(card: str) -> None:
    """Make sure that a card may go out with a model.

    Raises:
        CardIncomplete: Names each missing or empty section and field.
    """
    parts = re.split(r"^## (.+)\n", card, flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    missing = [f"section '{title}'" for title in SECTIONS if not bodies.get(title, "").strip()]
    stated = dict(re.findall(r"^- ([^:\n]+):[ \t]*(.*)$", card, flags=re.MULTILINE))
    missing += [f"'{name}'" for name in FIELDS if not stated.get(name, "").strip()]
    if missing:
        raise CardIncomplete(
            f"model card: {', '.join(missing)} is empty, so the model is not released; fill it in "
            "(for a base model unknown here: --params 'deployment.base_licence=...')"
        )


def _check_model(name: str, described: Mapping[str, Any], model: ModelRef) -> None:
    if described["digest"] != model.digest:
        raise ValueError(
            f"{name}: of another model ({described['digest']}) than the one to deploy "
            f"({model.digest}); evaluate this one first: kedro run --pipelines evaluation"
        )


def _identity(facts: CardFacts) -> list[str]:
    model, base = facts.model, facts.adapter.base_name
    return [
        "A small language model that reads a post about mental health, names what speaks for a "
        "label, offers support and ends with the label: a base model with a LoRA adapter merged "
        "in, exported with smaller weights.",
        "",
        f"- base model: {base}",
        f"- licence of the base model: {facts.base_licence or BASE_LICENCES.get(base, '')}",
        f"- family: `{model.family}`",
        f"- parameters: {model.parameters:,}",
        f"- digest: `{model.digest}`",
    ]


def _data(facts: CardFacts) -> list[str]:
    note = " (synthetic: made up for trying the line out)" if facts.data == "sample" else ""
    rows = sorted({(s["dataset"], s["licence"], s["citation"] or "") for s in facts.sources})
    return [
        f"- data edition: `{facts.data}`{note}",
        "",
        *_table(("dataset", "licence as its source states it", "to cite"), rows),
        "",
        "Texts of posts are not part of this model's files. A model can still repeat what it has "
        "read; see the memorisation test below.",
    ]


def _training(facts: CardFacts) -> list[str]:
    train, merging = facts.audit["train"], facts.merging
    return [
        f"- instruction pairs: {train['kept']:,} of {train['pairs']:,}, {train['tokens']:,} tokens, "
        f"{train['answer_share']:.0%} of them answers",
        f"- best validation loss: {facts.adapter.validation_loss:.4f} nats per answer token",
        f"- loss on {merging['pairs']} validation pairs: {merging['base_loss']:.4f} before, "
        f"{merging['merged_loss']:.4f} after training and merging",
    ]


def _quality(metrics: Mapping[str, Any]) -> Iterator[str]:
    systems = metrics["systems"]
    yield (
        f"{metrics['data']['n']} held-out items, answered by the merged model (not by its exports), "
        "with 95 % intervals; answers without a readable label count as wrong."
    )
    yield ""
    names = [*SYSTEM_TITLES, *(name for name in systems if name not in SYSTEM_TITLES)]
    names = [name for name in names if name in systems]
    titles = [SYSTEM_TITLES.get(name, name) for name in names]
    measures = (
        ("macro_f1", "macro F1"),
        ("accuracy", "accuracy"),
        ("bertscore_f1", "BERTScore F1"),
    )
    rows = []
    for task in systems["tuned"]:
        for measure, title in measures:
            blocks = [systems[name].get(task, {}) for name in names]
            cells = [_estimate(b[measure]) if measure in b else "" for b in blocks]
            shown = TASKS[task].title if task in TASKS else "All tasks"
            rows.append((shown, str(systems["tuned"][task]["n"]), title, *cells))
    yield from _table(("task", "n", "measure", *titles), rows)
    yield ""
    risk = metrics.get("risk")
    yield (
        "Recall of suicidal posts at a fixed rate of false alarms: in the evaluation's metrics."
        if risk
        else "Not measured: recall of suicidal posts at a fixed rate of false alarms."
    )
    for note in metrics.get("notes", ()):
        yield f"- {note}"


def _safety(safety: Mapping[str, Any]) -> Iterator[str]:
    gate, suite = safety["gate"], safety["suite"]
    tuned = safety["systems"]["tuned"]
    verdict = "passed" if gate["passed"] else "**failed**; not for people, whatever the use"
    yield f"- release gate: {verdict}"
    yield f"- prompts: {suite['asked']} of {suite['total']} of the safety suite"
    for failure in gate["failures"]:
        bound = "at least" if failure["bound"] == "min" else "at most"
        value = "not measured" if failure["value"] is None else f"{failure['value']:g}"
        yield f"- failed: `{failure['name']}` is {value}, {bound} {failure['threshold']:g} is asked"
    yield ""
    rows = []
    for name, number in tuned["checks"].items():
        before = safety["systems"]["base"]["checks"].get(name)
        told = f"{number.get('a_failing_answer', '')}".strip()
        rows.append((name, told, str(number["n"]), _estimate(number), _estimate(before)))
    titles = ("check", "a failing answer", "n", "passes: this model", "passes: base model")
    yield from _table(titles, rows)
    yield ""
    recall = safety["detector"]["recall"]["held_out"]
    yield (
        f"The risk detector, which adds the crisis resource by code, finds {_estimate(recall)} of "
        f"{recall['n']} held-out messages at risk. `_unaided` checks are what the model says by "
        "itself."
    )
    memorised = safety["memorisation"]["tuned"]
    yield ""
    yield (
        f"Memorisation: {memorised['memorised']} of {memorised['posts']} training posts were "
        "continued word for word."
    )
    for note in safety.get("notes", ()):
        yield f"- {note}"


def _fidelity(facts: CardFacts) -> list[str]:
    parity = facts.parity
    rows = [parity[name] for name in ("torch", "fp32", "int8")]
    rows += parity["runtimes"].values()
    return [
        f"On {parity['samples']} held-out pairs ({parity['int8']['tokens']} tokens), against the "
        f"merged model in torch; {parity['threads']} CPU thread(s). Speeds are of one run on the "
        "machine that built this, not of a phone.",
        "",
        *_table(
            [name for name, _ in PARITY_COLUMNS],
            [
                ["" if row.get(n) is None else form.format(row[n]) for n, form in PARITY_COLUMNS]
                for row in rows
            ],
        ),
        "",
        "`kl`: mean divergence of the next-token distributions in nats; `kl_share`: the same as a "
        "share of what the model knows beyond a uniform guess; `decided_top1_agreement`: same "
        "first choice where the original leads by a probability of 0.1; `task_agreement`: same "
        f"label as the original on {parity['int8']['task_items']} held-out posts, and "
        "`task_accuracy`: the right one, both without a written explanation.",
        *(
            f"\nNo model for {r.runtime}: {r.skipped_because}."
            for r in facts.runtimes
            if r.skipped_because
        ),
        "",
        f"NPU container (DLC, {facts.dlc.soc}): "
        + (
            f"not made: {facts.dlc.skipped_because}"
            if facts.dlc.skipped_because
            else "made and compiled for the chip."
        ),
    ]


def _evidence(facts: CardFacts) -> Iterator[str]:
    emulated = any("emulation" in row["step"] for row in facts.npu_parity["rows"])
    yield "- measured on the building machine: quality, safety, fidelity, speeds and sizes above"
    yield "- emulated: " + (
        "the NPU's arithmetic (what was compiled for the chip, executed on the building machine)"
        if emulated
        else "nothing"
    )
    yield "- measured on a phone: nothing; `measure.sh` in the bundle does it"
    yield "- published by others, with other models:"
    yield ""
    anchors = facts.anchors
    rows = [
        (a["device"], a["unit"], a["model"], a["scheme"], str(a["decode"]), a["source"])
        for a in anchors["anchors"]
    ]
    yield from _table(("phone", "unit", "model", "scheme", "decode tokens/s", "source"), rows)
    yield ""
    for key, source in anchors["sources"].items():
        yield f"- `{key}`: {source}"
    yield ""
    yield f"- estimated: {_estimate_speed(facts)}"


def _estimate_speed(facts: CardFacts) -> str:
    memory, parameters = facts.anchors["memory"], facts.model.parameters
    if parameters < memory["from_parameters"]:
        return (
            "nothing; the rule behind the published numbers (memory traffic) does not hold for a "
            f"model of {parameters:,} parameters"
        )
    size = parameters / 2 / 1e9  # four bits per weight
    low, high = (memory[key] / size for key in ("low", "high"))
    return (
        f"{low:.0f} to {high:.0f} decode tokens/s with 4-bit weights on the {memory['unit'].upper()} "
        f"of a {memory['device']}, from {memory['low']} to {memory['high']} GB/s of memory traffic "
        "in the rows above. An estimate, not a measurement"
    )


def _limits() -> list[str]:
    return [
        "- English only. Labels follow public research sets of social-media posts and do not make a "
        "clinical finding.",
        "- Answers can be wrong, unkind or made up.",
        "- An application must add the crisis resource by code, as the bundle's `run.py` does:",
        "",
        f"> {CRISIS_RESOURCE}",
    ]


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if not estimate or estimate.get("value") is None:
        return "not measured"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(titles) + " |",
        "| " + " | ".join("---" for _ in titles) + " |",
        *("| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows),
    ]
