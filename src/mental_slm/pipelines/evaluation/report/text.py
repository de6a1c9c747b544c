"""The chapters on explanations: against their references, and beside a reference system."""

from collections.abc import Iterator, Mapping
from typing import Any

from mental_slm.pipelines.evaluation.report.headlines import (
    Headline,
    Number,
    headline_table,
    share,
    show,
)
from mental_slm.pipelines.evaluation.report.labels import OVERALL, title_of
from mental_slm.pipelines.evaluation.text_similarity import rescale

Block = Mapping[str, Any]

MODELS = ("tuned", "base")

#: Headings of the floors.
WRONG, GENERIC, COPY = "wrong reference", "generic answer", "copy of the post"


def write_text(metrics: Block) -> Iterator[str]:
    """Yield the paragraphs and tables of the chapter on explanations."""
    scorer = metrics["bertscore"]
    yield (
        "The explanation (the answer without its answer line) against the label-blind reference of "
        "its item. All texts of a task resemble each other, so a raw score is not the share of the "
        "meaning that was kept: quote the skill, `(score - floor) / (1 - floor)`, which is 0 for "
        "the wrong reference and 1 for identity. Floors: the same explanation against the reference "
        "of another post with the same label; one fixed kind answer; the post itself."
    )
    yield "[Figure: BERTScore by task with its floor](bertscore.json)"
    yield headline_table("measure, all tasks", _measures(metrics))
    yield "### BERTScore skill by dataset"
    yield headline_table("dataset", [_skill(metrics, task) for task in _tasks(metrics)])
    yield _label_agreement(metrics)
    yield (
        f"Encoder `{scorer['encoder']}` (`{scorer['encoder_digest']}`), layer {scorer['layers']}, "
        f"{scorer['dtype']}, bert-score {scorer['bert_score']}, transformers "
        f"{scorer['transformers']}; {scorer['without_reference']:,} answers without a reference and "
        f"{scorer['empty_explanations']:,} empty explanations (they score 0). Scores of other "
        "encoders or layers cannot be compared with these."
    )


def write_reference(reference: Block, metrics: Block) -> Iterator[str]:
    """Yield the chapter on the reference system that answered the same items."""
    system, counts = reference["system"], reference["n"]
    yield (
        f"`{system['model']}` at {system['provider']} answered the same items, personal data "
        f"masked; {counts['unanswered']:,} of {counts['items']:,} have no answer and count as wrong."
    )
    systems = metrics["systems"]
    rows = [
        Headline(
            where=f"reference_metrics: accuracy.{reading}",
            title=f"accuracy, {reading}",
            n=found.get("n"),
            measured=systems["tuned"][OVERALL]["accuracy"]
            if reading == "strict"
            else systems["tuned"][OVERALL]["lenient"]["accuracy"],
            beside={"reference system": found},
            baselines={
                "TF-IDF": systems["tfidf"][OVERALL]["accuracy"],
                "majority label": systems["majority"][OVERALL]["accuracy"],
            },
        )
        for reading, found in reference["accuracy"].items()
    ]
    text, tuned = reference["text"], systems["tuned"][OVERALL]
    rows += [
        Headline(
            where=f"reference_metrics: text.{measure}",
            title=title,
            n=text[measure].get("n"),
            measured=tuned["bertscore_f1"] if measure == "bertscore_f1" else tuned["text"][measure],
            beside={"reference system": text[measure]},
            baselines={WRONG: text.get(floor)},
        )
        for measure, title, floor in (
            ("bertscore_f1", "BERTScore F1, raw", "bertscore_shuffled_f1"),
            ("chrf", "chrF", "chrf_shuffled"),
            ("rouge_l", "ROUGE-L F1", "rouge_l_shuffled"),
        )
        if measure in text
    ]
    yield headline_table("measure, all tasks", rows)


def _tasks(metrics: Block) -> list[str]:
    return [*metrics["data"]["n_by_task"], OVERALL]


def _measures(metrics: Block) -> list[Headline]:
    tuned, base = (metrics["systems"][system][OVERALL] for system in MODELS)
    text = tuned["text"]
    unrelated = metrics["bertscore"]["baseline"]
    floors: dict[str, Number] = {
        WRONG: tuned["bertscore_floor"],
        GENERIC: text.get("bertscore_generic_f1"),
        COPY: text.get("bertscore_copy_f1"),
    }
    rows = [("bertscore_f1", "BERTScore F1, raw", _pair(tuned, base, "bertscore_f1"), floors)]
    if unrelated is not None:
        on_scale = {name: _rescaled(floor, unrelated) for name, floor in floors.items()}
        rows.append(
            (
                "text.bertscore_rescaled_f1",
                f"BERTScore F1, rescaled (unrelated sentences, {unrelated:.4f}, become 0)",
                _pair(text, base["text"], "bertscore_rescaled_f1"),
                on_scale,
            )
        )
    rows.append(
        ("bertscore_skill", "BERTScore skill", _pair(tuned, base, "bertscore_skill"), {WRONG: 0.0})
    )
    for name, title in (("chrf", "chrF"), ("rouge_l", "ROUGE-L F1")):
        floor = text.get(f"{name}_shuffled")
        rows.append((f"text.{name}", title, _pair(text, base["text"], name), {WRONG: floor}))
        skill = f"{name}_skill"
        both = _pair(text, base["text"], skill)
        rows.append((f"text.{skill}", f"{title} skill", both, {WRONG: 0.0}))
    return [
        Headline(
            where=f"metrics: systems.tuned.overall.{key}",
            title=title,
            n=_answers(metrics),
            measured=pair[0],
            beside={"base": pair[1]},
            baselines=beside,
        )
        for key, title, pair, beside in rows
    ]


def _pair(tuned: Block, base: Block, key: str) -> tuple[Number, Number]:
    return tuned.get(key), base.get(key)


def _rescaled(floor: Number, unrelated: float) -> Number:
    if floor is None:
        return None
    if not isinstance(floor, Mapping):
        return rescale(floor, unrelated)
    return {bound: rescale(floor[bound], unrelated) for bound in ("value", "low", "high")}


def _label_agreement(metrics: Block) -> str:
    found = {s: metrics["systems"][s][OVERALL]["text"].get("label_agreement") for s in MODELS}
    if found["tuned"] is None:
        return "No reference names an option, so answers and references cannot agree on one."
    said = ", ".join(f"{system} {show(number, share)}" for system, number in found.items())
    return f"Answer and reference name the same option, where the reference names one: {said}."


def _answers(metrics: Block) -> int:
    """Return the explanations of one model that have a reference; both models answer the same."""
    return int(metrics["bertscore"]["answers"]) // 2


def _skill(metrics: Block, task: str) -> Headline:
    systems = metrics["systems"]
    return Headline(
        where=f"metrics: systems.tuned.{task}.bertscore_skill",
        title=title_of(task),
        n=systems["tuned"][task].get("n"),
        measured=systems["tuned"][task]["bertscore_skill"],
        beside={"base": systems["base"][task]["bertscore_skill"]},
        baselines={WRONG: 0.0},
    )
