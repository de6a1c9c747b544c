"""What is judged, what needs no judge, and how replies are read."""

import json
from typing import Any

import pytest
import yaml
from judging import ROOT, judge, make_generations, make_items, make_options
from pydantic import ValidationError

from mental_slm.pipelines.evaluation.judge.anchors import read_anchors
from mental_slm.pipelines.evaluation.judge.options import JudgeOptions
from mental_slm.pipelines.evaluation.judge.parsing import parse_scores, read_reply
from mental_slm.pipelines.evaluation.judge.rules import find_rule
from mental_slm.pipelines.evaluation.judge.samples import Sample, choose_items, make_samples
from mental_slm.prompts import CRITERIA, PromptError, Prompts
from mental_slm.tasks import PROFILE_TASK

FULL = dict.fromkeys(CRITERIA, 3)
PROMPT = (
    "Post:\nThe kettle hums and I count the days until spring comes to the yard again.\n\n"
    "Is the post consistent with depression?\nOptions: signs of depression; no signs of depression"
)


def _samples(rows: list[dict[str, Any]], prompts: Prompts, **changes: Any) -> list[Sample]:
    tuned = changes.pop("tuned", make_generations(rows, "warm"))
    generations = {"base": make_generations(rows, "plain"), "tuned": tuned}
    return make_samples(rows, generations, prompts, JudgeOptions(**changes), seed=1)


# --- options and wording -----------------------------------------------------------------------


def test_the_parameter_file_states_the_defaults() -> None:
    file = ROOT / "conf" / "base" / "parameters_evaluation.yml"
    block = yaml.safe_load(file.read_text("utf-8"))["evaluation"]["judge"]
    assert JudgeOptions.model_validate(block) == JudgeOptions()
    assert set(block) == set(JudgeOptions.model_fields)


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="an endpoint needs a model name"):
        make_options(judges=[{"name": "one", "kind": "endpoint"}])
    with pytest.raises(ValidationError, match="in_process takes none"):
        make_options(judges=[{"name": "one", "kind": "in_process", "model": "gpt-4o"}])
    with pytest.raises(ValidationError, match="each by a name of its own"):
        make_options(judges=[{"name": "one", "kind": "in_process"}] * 2)
    with pytest.raises(ValidationError, match="name at least one judge"):
        make_options(judges=[])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["criteria"].pop("safety"), r"judge\.yml: criteria: keys must be accuracy"),
        (lambda c: c["criteria"]["safety"]["anchors"].pop(3), r"needs words for 0, 1, 3, 5"),
        (lambda c: c.update(question="$post $question"), r"judge\.yml: question: must hold"),
        (lambda c: c.update(repair="$fault $system"), r"judge\.yml: repair: must hold"),
    ],
)
def test_a_rubric_that_cannot_work_is_refused(tmp_path, change, message) -> None:
    for file in (ROOT / "conf" / "base" / "prompts").glob("*.yml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = yaml.safe_load((tmp_path / "judge.yml").read_text("utf-8"))
    change(content)
    (tmp_path / "judge.yml").write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(PromptError, match=message):
        Prompts.read(tmp_path)


def test_the_anchors_cover_the_scale_and_no_constant_judge_passes() -> None:
    anchors = read_anchors()
    assert len(anchors) == 10
    bands = [band for anchor in anchors.values() for band in anchor.bands.values()]
    assert all(0 <= low <= high <= 5 for low, high in bands)
    assert {name for anchor in anchors.values() for name in anchor.bands} == set(CRITERIA)
    for constant in range(6):
        assert sum(low <= constant <= high for low, high in bands) < 0.6 * len(bands)


# --- samples -----------------------------------------------------------------------------------


def test_models_attacks_reference_and_anchors_are_judged(prompts: Prompts) -> None:
    items = make_items(3)
    items[2]["response"] = ""
    samples = _samples(items, prompts, items=None, repeated_share=0)
    by_item = {
        item["pair_id"]: {s.system: s for s in samples if s.item_id == item["pair_id"]}
        for item in items
    }
    first = by_item[items[0]["pair_id"]]
    assert set(first) == {"base", "tuned", "template", "padded", "reference"}
    assert "reference" not in by_item[items[2]["pair_id"]]
    assert first["padded"].answer.startswith(first["tuned"].answer)
    assert first["padded"].words > 2 * first["tuned"].words
    assert len({by[("template")].answer for by in by_item.values()}) == 1
    assert sum(s.system == "anchor" for s in samples) == 10


def test_the_choice_is_stable_spread_over_tasks_and_grows(prompts: Prompts) -> None:
    items = make_items(20)
    few, more = choose_items(items, 5), choose_items(items[::-1], 9)
    assert more[:5] == few
    assert len({item["task"] for item in few}) == 5
    profile = items[0] | {"task": PROFILE_TASK, "pair_id": "profile"}
    samples = _samples([profile, *items[1:]], prompts, items=None)
    assert "profile" not in {sample.item_id for sample in samples}


def test_a_tenth_of_the_answers_is_judged_twice(prompts: Prompts) -> None:
    samples = _samples(make_items(20), prompts, items=None)
    again = [sample for sample in samples if sample.repeat == 1]
    assert len(again) == 10
    firsts = {(s.item_id, s.system): s for s in samples if s.repeat == 0}
    assert all(firsts[s.item_id, s.system].answer == s.answer for s in again)


def test_long_posts_and_answers_are_cut_and_counted(tmp_path) -> None:
    items = make_items(1)
    items[0]["post"] = "Rain on the tin roof again. " * 500
    tuned = [{"pair_id": items[0]["pair_id"], "answer": "word " * 10_000}]
    generations = {"base": make_generations(items, "plain"), "tuned": tuned}
    prompts = Prompts.read(ROOT / "conf" / "base" / "prompts")
    samples = make_samples(items, generations, prompts, JudgeOptions(), seed=1)
    tuned_sample = next(s for s in samples if s.system == "tuned")
    assert tuned_sample.cut and tuned_sample.words == 10_000
    assert len(tuned_sample.answer.split()) == 301 and tuned_sample.answer.endswith(" [...]")
    assert len(tuned_sample.post.split()) == 401


def test_a_missing_answer_is_named(prompts: Prompts) -> None:
    items = make_items(2)
    with pytest.raises(ValueError, match=f"of tuned: no answer to item {items[0]['pair_id']}"):
        _samples(items, prompts, items=None, tuned=make_generations(items, "warm")[1:])


# --- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("", "empty"),
        (" \n*** \n", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model I cannot discuss this topic.", "refusal"),
        ("I am unable to assist with this request.\nAnswer: stressed", "refusal"),
        ("I can't imagine how hard that must be. Talk to a friend.", None),
        ("I'm sorry you are going through this. Could you call somebody?", None),
        (PROMPT, "copy"),
        ("The kettle hums and I count the days until spring comes to the yard again.", "copy"),
        ("signs of depression\nAnswer: signs of depression", None),
        ('You say "I count the days until spring", so you are waiting. Rest may help you.', None),
    ],
)
def test_answers_that_need_no_judge(answer: str, rule: str | None) -> None:
    assert find_rule(answer, PROMPT) == rule


def test_ruled_answers_score_0_with_their_reason_and_are_not_asked(tmp_path, tiny_model) -> None:
    items = make_items(1)
    tuned = [{"pair_id": items[0]["pair_id"], "answer": ""}]
    options = make_options(repeated_share=1)
    result = judge(tmp_path, items, options, tuned=tuned, model=tiny_model)
    row = next(row for row in result["replies"] if row["system"] == "tuned")
    assert row["rule"] == "empty" and row["attempts"] == 0 and row["custom_id"] is None
    assert row["scores"] == dict.fromkeys(sorted(CRITERIA), 0)
    tuned_block = result["metrics"]["systems"]["tuned"]["empathy"]
    assert tuned_block["value"] == 0 and tuned_block["by_rule"] == 1
    assert result["metrics"]["data"]["ruled"] == {"empty": 1}
    assert result["metrics"]["data"]["repeats"] == 4  # what no judge sees is not repeated


# --- replies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scores", "faults"),
    [
        (json.dumps(FULL), FULL, {}),
        (f"Sure!\n```json\n{json.dumps(FULL)}\n```\nAnything else?", FULL, {}),
        (json.dumps({name.title(): 3.0 for name in CRITERIA}), FULL, {}),
        ("{not this} " + json.dumps(FULL), FULL, {}),
        ("", {}, dict.fromkeys(CRITERIA, "empty_reply")),
        ("A warm answer, four of five.", {}, dict.fromkeys(CRITERIA, "no_json")),
        ('{"accuracy": 3, "empathy": ', {}, dict.fromkeys(CRITERIA, "no_json")),
        ("[3, 3, 3, 3, 3, 3]", {}, dict.fromkeys(CRITERIA, "no_json")),
        ('{"a": ' * 100_000, {}, dict.fromkeys(CRITERIA, "no_json")),
        ("{}", {}, dict.fromkeys(CRITERIA, "missing_criterion")),
        *(
            (
                json.dumps(FULL | {"safety": wrong}),
                {name: 3 for name in CRITERIA if name != "safety"},
                {"safety": "off_scale"},
            )
            for wrong in (7, -1, 3.5, "4", None, True, float("nan"), float("inf"), [3], 10**400)
        ),
    ],
)
def test_every_criterion_of_a_reply_has_a_score_or_a_fault(text, scores, faults) -> None:
    assert parse_scores(text, CRITERIA) == (scores, faults)


def test_refusals_and_cut_replies_are_told_apart() -> None:
    def entry(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
        choice = {"index": 0, "finish_reason": finish_reason, "message": message}
        return {"response": {"status_code": 200, "body": {"choices": [choice]}}}

    def fault(**changes: Any) -> str | None:
        return read_reply(entry(**changes), CRITERIA).worst_fault

    assert fault(content=None, refusal="No.") == "refusal"
    assert fault(content="I can't assist with grading this.") == "refusal"
    assert fault(content='{"accuracy"', finish_reason="length") == "cut_short"
    assert fault(content=None) == "empty_reply"
    assert fault(content=json.dumps(FULL), finish_reason="length") is None
