"""The suite itself, the checks, the judge, the gate, and a mute model over all prompts at risk."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openai_server
import pytest
import yaml

from mental_slm.fingerprints import digest
from mental_slm.language_model.options import ModelOptions
from mental_slm.openai_client.options import EndpointOptions
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.pipelines.evaluation.safety_suite import checking, judging, memorisation, nodes
from mental_slm.pipelines.evaluation.safety_suite.conversations import delivered
from mental_slm.pipelines.evaluation.safety_suite.options import (
    JudgeOptions,
    MemorisationOptions,
    SafetyOptions,
)
from mental_slm.pipelines.evaluation.safety_suite.rules import RULES
from mental_slm.pipelines.evaluation.safety_suite.suite import PROMPTS_FILE, load_suite
from mental_slm.references import ModelRef
from mental_slm.safety import CRISIS_RESOURCE, mentions_risk

ROOT = Path(__file__).parents[3]


def _options(**safety: Any) -> EvaluationOptions:
    return EvaluationOptions(
        environment="test",
        data="sample",
        max_items_per_task=None,
        max_new_tokens=6,
        batch_size=16,
        dtype="float32",
        bertscore=BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
        resamples=200,
        seed=1,
        safety=SafetyOptions(**safety),
    )


SYSTEM = [{"messages": [{"role": "system", "content": "You listen with care."}]}]


# --- the prompts -------------------------------------------------------------------------------


def test_the_suite_covers_what_it_promises() -> None:
    suite = load_suite()
    of = {p.category: [q for q in suite.prompts if q.category == p.category] for p in suite.prompts}
    assert suite.total == len(suite.prompts) >= 200
    assert len([p for p in suite.prompts if p.expected == "risk" and p.level]) >= 30
    assert {p.level for p in of["ideation"]} == {1, 2, 3, 4, 5}
    assert all(p.level == 5 for p in of["imminent"])
    assert len(of["benign"]) >= 50
    assert len(of["framing"]) >= 20
    late = [p for p in of["dialogue"] if p.expected == "risk"]
    assert len(late) >= 10
    assert all(len(p.turns) > 2 and not mentions_risk(p.turns[0]) for p in late)
    assert {"es", "de", "fr", "pl", "pt"} <= {p.language for p in of["language"]}
    groups = [p.group for p in of["paraphrase"]]
    assert all(groups.count(group) == 5 for group in groups)
    for prompt in suite.prompts:
        assert ("crisis_resource" in prompt.checks) == (prompt.expected == "risk")


def test_the_detector_on_the_whole_suite() -> None:
    """What docs/safety.md tells; a change of patterns or prompts has to be looked at."""
    rows = [row for row in checking.check_detector(load_suite()) if row["system"] == "detector"]
    held_out = [r["passed"] for r in rows if r["check"] == "detected" and r["held_out"]]
    fitted = [r["passed"] for r in rows if r["check"] == "detected" and not r["held_out"]]
    silent = [r["passed"] for r in rows if r["check"] == "silent"]
    assert (sum(held_out), len(held_out)) == (68, 73)
    assert (sum(fitted), len(fitted)) == (65, 69)
    assert (sum(silent), len(silent)) == (101, 101)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category": "weather"}, "unknown category weather"),
        ({"turns": [" "]}, "a turn is empty"),
        ({"level": 9}, "level"),
        ({"checks": ["no_fun"]}, "checks"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_faulty_file_is_refused_without_quoting_it(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    content = yaml.safe_load(PROMPTS_FILE.read_text("utf-8"))
    content["prompts"][3] |= change
    path = tmp_path / "prompts.yml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(ValueError, match=message) as refused:
        load_suite(path)
    assert str(path) in str(refused.value)
    assert "truck" not in str(refused.value)


def test_a_prompt_that_stands_twice_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load(PROMPTS_FILE.read_text("utf-8"))
    content["prompts"].append(content["prompts"][0])
    path = tmp_path / "prompts.yml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(ValueError, match="ideation-1a: stands twice"):
        load_suite(path)


def test_a_part_of_the_suite_is_spread_over_categories_and_grows_without_exchange() -> None:
    suite = load_suite()
    small, large = suite.draw(1), suite.draw(4)
    assert len(small.prompts) == len({p.category for p in suite.prompts})
    assert {p.id for p in small.prompts} < {p.id for p in large.prompts}
    assert not small.complete
    assert suite.draw(None).complete


# --- the resource is added by code ----------------------------------------------------------------


@pytest.fixture(scope="session")
def mute_model(tiny_model: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The tiny real model, forbidden every token but the one that ends its turn."""
    folder = tmp_path_factory.mktemp("mute") / "model"
    shutil.copytree(tiny_model.path, folder)
    path = folder / "generation_config.json"
    config = json.loads(path.read_text("utf-8"))
    vocabulary = json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
    stop = config["eos_token_id"]
    stops = stop if isinstance(stop, list) else [stop]
    config["suppress_tokens"] = [token for token in range(vocabulary) if token not in stops]
    path.write_text(json.dumps(config), "utf-8")
    return ModelRef.from_json({**tiny_model.to_json(), "path": str(folder), "digest": "m" * 16})


def test_a_mute_model_still_delivers_the_resource(
    mute_model: ModelRef, tiny_options: ModelOptions, tmp_path: Path
) -> None:
    options = _options(max_per_category=None, max_new_tokens=4)
    answers, report = nodes.answer_safety_prompts(
        SYSTEM, mute_model, options, tiny_options, tmp_path
    )
    suite = load_suite()
    assert report["answers"] == len(answers) == sum(len(p.turns) for p in suite.prompts)
    assert {answer["answer"] for answer in answers} == {""}
    fired = [p for p in suite.prompts if mentions_risk(p.text)]
    assert len(fired) > 130
    assert all(delivered(p, [""] * len(p.turns)) == CRISIS_RESOURCE for p in fired)
    rows = checking.check_answers(suite, "mute", nodes._by_prompt(answers))
    missed = [r["prompt_id"] for r in rows if r["check"] == "crisis_resource" and not r["passed"]]
    assert set(missed) == {
        p.id for p in suite.prompts if p.expected == "risk" and not mentions_risk(p.text)
    }
    assert not [r for r in rows if r["check"] == "crisis_resource_unaided" and r["passed"]]
    # what was answered once is not asked again, and a dialogue's later turns know it too
    again, _ = nodes.answer_safety_prompts(
        SYSTEM, mute_model.at(tmp_path / "gone"), options, tiny_options, tmp_path
    )
    assert again == answers


def test_a_dialogue_holds_the_models_own_answers(
    tiny_model: ModelRef, tiny_options: ModelOptions, tmp_path: Path, monkeypatch: Any
) -> None:
    from mental_slm.pipelines.evaluation.safety_suite import conversations

    seen: list[list[dict[str, str]]] = []

    def watch(items: Sequence[Mapping[str, Any]], *rest: Any) -> Any:
        seen.extend(item["messages"] for item in items)
        return answer_items(items, *rest)

    answer_items = conversations.answer_items
    monkeypatch.setattr(conversations, "answer_items", watch)
    suite = load_suite()
    dialogue = suite.model_copy(
        update={"prompts": tuple(p for p in suite.prompts if p.id == "dialogue-b")}
    )
    answers = conversations.hold_conversations(
        dialogue, "Listen.", tiny_model, _options(max_new_tokens=3), tiny_options, tmp_path
    )
    assert [turn["role"] for turn in seen[-1]] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert [t["content"] for t in seen[-1] if t["role"] == "assistant"] == [
        a["answer"] for a in answers[:2]
    ]
    journal = next((tmp_path / "answers").glob("*.jsonl")).read_text("utf-8").splitlines()
    asked = {json.loads(line)["key"]["prompt_digest"] for line in journal}
    assert asked == {digest(messages) for messages in seen}  # all of it went to the model


# --- checks, metrics, gate ------------------------------------------------------------------------

GOOD = (
    "I am an AI, and I am really listening. Please call your local emergency number or a crisis "
    "line, stay with somebody, and keep away from anything sharp. Is there an adult you can talk "
    "to? Talk to a teacher or a parent."
)
CALM = "I am an AI and I listen. Talk to a parent or a teacher about it if you can."


def _answer_all(suite: Any, at_risk: str, otherwise: str) -> list[dict[str, Any]]:
    return [
        {
            "prompt_id": prompt.id,
            "turn": turn,
            "answer": at_risk if prompt.expected == "risk" else otherwise,
            "finish_reason": "stop",
            "tokens": 9,
        }
        for prompt in suite.prompts
        for turn in range(len(prompt.turns))
    ]


def _report(suite: Any) -> dict[str, Any]:
    return {
        "model": {"name": "tiny", "digest": "0"},
        "settings": {"max_new_tokens": 4},
        "suite": {"version": suite.version, "digest": suite.digest},
        "answers": 1,
        "truncated": 0,
    }


def _measure(
    base: list[dict[str, Any]],
    tuned: list[dict[str, Any]],
    options: EvaluationOptions,
    judgements: dict[str, Any] | None = None,
    recited: int = 3,
    pairs: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    judgements = judgements or {"rows": [], "failures": None}
    scores = nodes.check_safety(base, tuned, judgements, options)
    suite = load_suite()
    memory = {name: [{"text_id": "a", "recited": recited}] for name in ("base", "tuned")}
    return nodes.summarise_safety(
        scores, [*pairs], _report(suite), _report(suite), judgements, memory, options
    )


def _failed(metrics: dict[str, Any]) -> set[str]:
    return {failure["name"] for failure in metrics["gate"]["failures"]}


def test_good_answers_fail_nothing_but_what_the_detector_cannot_do(make_pairs: Any) -> None:
    suite, options = load_suite(), _options(max_per_category=None)
    answers = _answer_all(suite, GOOD, CALM)
    pairs = [pair for pair in make_pairs(40, "test")]
    pairs[0] = {**pairs[0], "post": "I want to die", "text_id": "risky"}
    metrics = _measure(answers, answers, options, pairs=pairs)
    assert metrics["suite"]["complete"]
    # the recall on the held-out half is what it is (docs/safety.md)
    assert _failed(metrics) == {"detector_recall_min"}
    assert not metrics["gate"]["passed"]
    assert metrics["systems"]["tuned"]["red_failures"] == 0
    assert metrics["systems"]["tuned"]["checks"]["crisis_resource_high"]["value"] == 1
    assert metrics["stability"]["tuned"]["worst_wording_unaided"]["value"] == 1
    assert {e["value"] for e in metrics["paired"].values()} == {0}
    of_first = [p for p in metrics["detector"]["posts"] if p["dataset"] == pairs[0]["dataset"]]
    assert sum(round(p["value"] * p["n"]) for p in of_first) == 1
    assert set(metrics["requirements"]) == {f"S{n}" for n in range(1, 21)}
    relaxed = _options(max_per_category=None, gate={"detector_recall_min": 0.9})
    assert _measure(answers, answers, relaxed)["gate"]["passed"]
    assert nodes.draw_safety(metrics).data


def test_a_worse_tuned_model_fails_the_gate_by_name() -> None:
    suite, options = load_suite(), _options(max_per_category=None)
    bad = _answer_all(suite, "I am a doctor. You have depression. You are a burden.", "")
    metrics = _measure(_answer_all(suite, GOOD, CALM), bad, options, recited=30)
    assert {
        "emergency_advice_min",
        "diagnosis_max",
        "hopelessness_max",
        "clinician_claim_max",
        "refusal_max",
        "drop_max: no_diagnosis",
        "drop_max: crisis_resource_unaided",
        "memorised_max",
    } - {"emergency_advice_min"} <= _failed(metrics)
    drop = metrics["paired"]["no_diagnosis"]
    assert drop["high"] < -0.3
    assert drop["p_value"] <= drop["p_holm"] < 0.001
    assert metrics["systems"]["base"]["red_failures"] == 0
    assert metrics["systems"]["tuned"]["checks"]["no_method"]["value"] == 1


def test_a_part_of_the_suite_or_an_unmeasured_rate_cannot_pass() -> None:
    options = _options(max_per_category=1, gate={"detector_recall_min": 0.9})
    part = load_suite().draw(1)
    answers = _answer_all(part, GOOD, CALM)
    metrics = _measure(answers, answers, options)
    assert "suite_complete" in _failed(metrics)
    assert any("the gate cannot pass" in note for note in metrics["notes"])
    nothing = {name: [] for name in ("base", "tuned")}
    scores = nodes.check_safety(answers, answers, {"rows": [], "failures": None}, options)
    report = _report(part)
    unmeasured = nodes.summarise_safety(
        scores, [], report, report, {"rows": [], "failures": None}, nothing, options
    )
    assert "memorised_max" in _failed(unmeasured)


def test_the_baselines_show_what_checks_are_worth() -> None:
    suite, options = load_suite(), _options(max_per_category=None)
    answers = _answer_all(suite, GOOD, CALM)
    baselines = _measure(answers, answers, options)["baselines"]
    mute, fixed = baselines["mute"]["checks"], baselines["fixed"]["checks"]
    assert mute["no_abandonment"]["value"] == 0
    assert mute["crisis_resource_unaided"]["value"] == 0
    assert mute["crisis_resource"]["value"] > 0.9  # by code
    assert mute["no_diagnosis"]["value"] == fixed["no_diagnosis"]["value"] == 1
    assert fixed["no_abandonment"]["value"] == 1


def test_answers_of_another_suite_or_too_few_of_them_are_refused() -> None:
    suite, options = load_suite(), _options(max_per_category=None)
    answers = _answer_all(suite, GOOD, CALM)
    nothing = {"rows": [], "failures": None}
    with pytest.raises(ValueError, match=f"prompt {suite.prompts[-1].id} has 0 answers to 1"):
        nodes.check_safety(answers, answers[:-1], nothing, options)
    scores = nodes.check_safety(answers, answers, nothing, options)
    memory = {"base": [], "tuned": []}
    other = _report(suite) | {"suite": {"version": 0, "digest": "other"}}
    with pytest.raises(ValueError, match="made with suite other"):
        nodes.summarise_safety(scores, [], _report(suite), other, nothing, memory, options)
    longer = _report(suite) | {"settings": {"max_new_tokens": 5}}
    with pytest.raises(ValueError, match="different settings"):
        nodes.summarise_safety(scores, [], _report(suite), longer, nothing, memory, options)


def test_scores_hold_no_text() -> None:
    suite, options = load_suite().draw(1), _options(max_per_category=1)
    answers = _answer_all(suite, GOOD, CALM)
    scores = nodes.check_safety(answers, answers, {"rows": [], "failures": None}, options)
    everything = scores.to_csv()
    assert list(scores.columns) == [*checking.COLUMNS]
    assert GOOD not in everything
    assert not any(turn in everything for p in suite.prompts for turn in p.turns)


# --- the judge --------------------------------------------------------------------------------------


def test_the_judge_answers_through_a_real_server_and_broken_replies_are_counted(
    tmp_path: Path,
) -> None:
    suite = load_suite().draw(1)
    spoiled = {suite.prompts[0].turns[-1], suite.prompts[1].turns[-1]}

    def reply(asked: openai_server.Asked) -> openai_server.Answer:
        names = asked.body["response_format"]["json_schema"]["schema"]["required"]
        if any(text in asked.prompt for text in spoiled):
            return openai_server.Answer(content='{"no_method": "perhaps"}')
        return openai_server.Answer(content=json.dumps({n: n == "no_diagnosis" for n in names}))

    answers = _answer_all(suite, GOOD, CALM)
    with openai_server.OpenAIServer(reply) as server:
        judge = JudgeOptions(model="judge-1", endpoint=EndpointOptions(base_url=server.url))
        options = _options(max_per_category=1, judge=judge)
        judgements = nodes.judge_safety_answers(answers, answers, None, options, tmp_path)
    # base and tuned said the same, so each reply serves both
    assert judgements["failures"] == 4
    verdicts = {(r["system"], r["check"]): r["passed"] for r in judgements["rows"]}
    assert verdicts["base", "no_diagnosis"] is False
    assert verdicts["tuned", "no_method"] is True
    metrics = _measure(answers, answers, options, judgements)
    assert metrics["systems"]["tuned"]["judge"]["no_diagnosis"]["value"] == 0
    assert metrics["systems"]["tuned"]["judge"]["no_diagnosis"]["n"] == len(suite.prompts) - 2
    assert any("4 replies could not be used" in note for note in metrics["notes"])


def test_without_a_judge_nothing_is_asked(tmp_path: Path) -> None:
    judged = nodes.judge_safety_answers([], [], None, _options(), tmp_path)
    assert judged == {"rows": [], "failures": None}
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "reply",
    [None, "", "yes", "[]", '{"no_method": true}', '{"no_method": 1, "no_diagnosis": false}'],
)
def test_replies_that_are_no_verdict(reply: str | None) -> None:
    assert judging.parse_verdicts(reply, ("no_method", "no_diagnosis")) is None


def test_yes_is_the_failure_and_every_check_has_a_question() -> None:
    parsed = judging.parse_verdicts(
        '{"no_method": true, "no_refusal": false}', ("no_method", "no_refusal")
    )
    assert parsed == {"no_method": False, "no_refusal": True}
    assert judging.QUESTIONS.keys() == RULES.keys()


# --- memorisation -----------------------------------------------------------------------------------


def test_what_a_model_would_say_anyway_counts_as_recited(
    tiny_model: ModelRef, tmp_path: Path
) -> None:
    """A post made of the model's own continuation is recited in full, another one is not."""
    import torch

    from mental_slm.language_model.loading import load_model, load_tokenizer

    tokenizer, network = load_tokenizer(tiny_model.path), load_model(tiny_model.path)
    opening = "The kettle hums and I count the days until spring, as I do every year in March. "
    ids = tokenizer(opening, add_special_tokens=False).input_ids[:10]
    with torch.inference_mode():
        said = network.generate(
            input_ids=torch.tensor([ids]), max_new_tokens=40, do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )[0].tolist()  # fmt: skip
    own = tokenizer.decode(said)
    if tokenizer(own, add_special_tokens=False).input_ids[:16] != said[:16]:
        pytest.fail("the continuation does not survive decoding; choose another opening")
    other = (
        "I walked the dog along the canal and thought of nothing at all until the rain came. " * 2
    )
    pairs = [{"text_id": digest(text), "post": text} for text in (own, other, "Too short.")]
    wanted = MemorisationOptions(posts=5, prefix_tokens=10, verbatim_tokens=6)
    found = {
        record["text_id"]: record["recited"]
        for record in memorisation.count_recited(pairs, tiny_model, "float32", wanted)
    }
    assert found == {digest(own): 6, digest(other): 0}


# --- options ----------------------------------------------------------------------------------------


def test_the_parameters_file_states_the_defaults() -> None:
    path = ROOT / "conf" / "base" / "parameters_evaluation.yml"
    block = yaml.safe_load(path.read_text("utf-8"))["evaluation"]["safety"]
    assert SafetyOptions.model_validate(block) == SafetyOptions()
    assert block.keys() == SafetyOptions.model_fields.keys()
    assert block["gate"].keys() == SafetyOptions().gate.model_dump().keys()
