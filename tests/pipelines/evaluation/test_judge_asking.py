"""Judges behind an address, over real HTTP: what they read, what is asked again, what is counted."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import krippendorff
import pytest
from judging import (
    at,
    criteria_of,
    failures_of,
    graded,
    judge,
    make_generations,
    make_items,
    make_options,
    text_of,
    with_faults,
)
from openai_server import Answer, Asked, Cut, OpenAIServer, error
from pydantic import SecretStr, ValidationError

from mental_slm.pipelines.evaluation.judge.samples import ANCHOR, SYSTEMS
from mental_slm.prompts import CRITERIA

SILENT = {"max_retries": 0, "give_up_after": 2}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_judge_reads_the_rubric_and_one_answer_and_no_name(tmp_path, prompts, caplog):
    caplog.set_level("DEBUG")
    items = make_items(8)
    with OpenAIServer(graded) as server:
        result = judge(tmp_path, items, make_options(judges=[at(server.url)], items=None))
        asked = list(server.asked)
    samples = result["samples"]
    assert len(asked) == len(samples) == 8 * 5 + 10 + 4  # anchors, and a tenth judged twice
    for each in asked:
        assert each.body["temperature"] == 0
        assert each.body["response_format"]["json_schema"]["strict"] is True
        order = criteria_of(each)
        assert sorted(order) == sorted(CRITERIA)
        system = each.body["messages"][0]["content"]
        places = [system.index(prompts.judge.criteria[name].question) for name in order]
        assert places == sorted(places)  # read and scored in one order
        assert all(anchor in system for anchor in prompts.judge.criteria["safety"].anchors.values())
        wire = json.dumps(each.body)
        assert not [word for word in ("tuned", "padded", "reference") if word in wire]
        assert not [item["pair_id"] for item in items if item["pair_id"] in wire]
    assert failures_of(result) == {}
    kept = json.dumps(result["summary"]) + json.dumps(result["metrics"])
    assert "kettle" not in caplog.text + kept + result["scores"].to_csv()
    assert "A warm word" not in caplog.text + kept


def test_nothing_is_asked_twice_and_equal_runs_give_equal_results(tmp_path):
    options = {"items": None}
    items = make_items(6)
    with OpenAIServer(graded) as server:
        first = judge(tmp_path, items, make_options(judges=[at(server.url)], **options))
        number = len(server.asked)
        again = judge(tmp_path, items[::-1], make_options(judges=[at(server.url)], **options))
        assert len(server.asked) == number
    assert again["summary"][0]["replies_now"] == 0
    assert first["scores"].equals(again["scores"])
    first["metrics"]["judges"][0] = again["metrics"]["judges"][0]  # this run's tokens and seconds
    assert first["metrics"] == again["metrics"]


def test_what_a_swapped_adapter_says_is_judged_anew_and_nothing_else(tmp_path):
    items = make_items(4)
    with OpenAIServer(graded) as server:
        options = make_options(judges=[at(server.url)], items=None, repeated_share=0)
        judge(tmp_path, items, options)
        server.asked.clear()
        after = judge(tmp_path, items, options, tuned=make_generations(items, "swapped"))
        asked = [text_of(each) for each in server.asked]
    assert len(asked) == 8 and all("A swapped word" in text for text in asked)  # tuned and padded
    rows = [row for row in after["replies"] if row["system"] == "tuned"]
    told = {text for text in asked if "brighter days" not in text}
    assert len(told) == len(rows) == 4


def test_another_wording_of_the_rubric_asks_anew(tmp_path, prompts):
    items = make_items(2)
    criterion = prompts.judge.criteria["clarity"].model_copy(update={"question": "Is it clear?"})
    criteria = prompts.judge.criteria | {"clarity": criterion}
    other = prompts.model_copy(
        update={"judge": prompts.judge.model_copy(update={"criteria": criteria})}
    )
    assert other.judge_version != prompts.judge_version
    assert other.student_version == prompts.student_version
    with OpenAIServer(graded) as server:
        options = make_options(judges=[at(server.url)], items=None)
        judge(tmp_path, items, options)
        number = len(server.asked)
        judge(tmp_path, items, options, prompts=other)
        assert len(server.asked) == 2 * number


def test_a_faulty_judge_is_retried_asked_again_and_counted(tmp_path, caplog):
    """Transport faults pass, unusable replies are asked again, what stays unusable is a failure."""

    def once(fault: Any) -> Any:
        return lambda asked: fault if asked.times == 1 else graded(asked)

    def broken_at_first(asked: Asked) -> Any:
        told = asked.body["messages"]
        if len(told) == 2:
            return Answer('{"accuracy": 4, "empathy')
        assert told[2]["role"] == "assistant" and "no valid JSON" in told[3]["content"]
        return graded(asked)

    def without_one(asked: Asked) -> Answer:
        scores = json.loads(graded(asked).content or "")
        del scores["safety"]
        return Answer(f"Here you are:\n```json\n{json.dumps(scores)}\n```")

    faults = {
        "Evening 0:": once(error(429, "rate_limit_exceeded", retry_after="0.01")),
        "Evening 1:": once(error(500)),
        "Evening 2:": once(Cut()),
        "Evening 3:": broken_at_first,
        "Evening 4:": lambda asked: graded(asked, empathy=7),
        "Evening 5:": without_one,
        "Evening 6:": lambda asked: Answer("I'm sorry, but I can't grade this."),
        "Evening 7:": lambda asked: Answer(None, refusal="No."),
        "Evening 8:": lambda asked: error(400, "context_length_exceeded"),
        "Evening 9:": lambda asked: Answer('{"accuracy": NaN', finish_reason="length"),
    }
    items = make_items(11)
    with OpenAIServer(with_faults(faults)) as server:
        options = make_options(
            judges=[at(server.url, endpoint={"concurrency": 1})],
            items=None,
            repeated_share=0,
            reasks=2,
        )
        result = judge(tmp_path, items, options)
        arrived = len(server.asked)
    summary = result["summary"][0]
    assert summary["retried"] == {"429": 5, "500": 5, "connection": 5}
    # five answers to each post; those that never mend are asked twice more
    assert summary["reasked"] == {
        "cut_short": 10, "missing_criterion": 10, "no_json": 5, "off_scale": 10, "refusal": 20,
    }  # fmt: skip
    assert failures_of(result) == {
        "400": 5 * 6, "cut_short": 5 * 6, "missing_criterion": 5, "off_scale": 5, "refusal": 10 * 6,
    }  # fmt: skip
    assert summary["without_reply"] == 5 and summary["stopped_by"] is None
    assert summary["replies"] == 11 * 5 + 10 - 5 + sum(summary["reasked"].values())
    # 15 transport faults; 400 is asked once in each of the three rounds
    assert arrived == summary["replies"] + 15 + 3 * 5
    tuned = result["metrics"]["systems"]["tuned"]
    assert {name: block["n"] + block["failures"] for name, block in tuned.items()} == dict.fromkeys(
        CRITERIA, 11
    ) | {"overall": tuned["overall"]["n"] + tuned["overall"]["failures"]}
    assert tuned["safety"]["failures"] == 5 and tuned["empathy"]["failures"] == 5
    assert tuned["clarity"]["failures"] == 4 and tuned["overall"]["n"] == 5
    assert result["metrics"]["judges"][0]["failures"]["empathy"] == {
        "400": 5, "cut_short": 5, "off_scale": 5, "refusal": 10,
    }  # fmt: skip
    assert any("no usable score 130 times" in note for note in result["metrics"]["notes"])
    assert "Evening" not in caplog.text and "sorry" not in caplog.text


def test_a_judge_that_is_offline_is_counted_and_the_others_go_on(tmp_path, caplog):
    items = make_items(4)
    gone = at(f"http://127.0.0.1:{free_port()}/v1", name="gone", endpoint=SILENT)
    with OpenAIServer(graded) as server:
        options = make_options(judges=[gone, at(server.url, name="here")], items=None)
        result = judge(tmp_path, items, options)
    absent, present = result["summary"]
    assert absent["stopped_by"] == "server" and absent["replies"] == 0
    assert absent["without_reply"] == present["replies"] == len(result["samples"])
    codes = failures_of(result)
    assert set(codes) == {"connection", "not_asked"}
    assert sum(codes.values()) == len(result["samples"]) * len(CRITERIA)
    assert result["metrics"]["systems"]["tuned"]["empathy"]["n"] == 4  # from the one that is here
    assert any("gone was stopped early (server)" in n for n in result["metrics"]["notes"])
    assert "Judge gone: http://127.0.0.1" in caplog.text and "fault: connection" in caplog.text
    with OpenAIServer(graded) as server:  # it comes back: only its replies are asked for
        back = at(server.url, name="gone")
        result = judge(tmp_path, items, make_options(judges=[back], items=None))
        assert len(server.asked) == len(result["samples"])
    assert failures_of(result) == {}


def test_no_judge_at_all_leaves_metrics_that_say_so(tmp_path):
    gone = at(f"http://127.0.0.1:{free_port()}/v1", endpoint=SILENT)
    metrics = judge(tmp_path, make_items(2), make_options(judges=[gone]))["metrics"]
    assert metrics["headlines"]["safety"]["value"] is None
    assert metrics["headlines"]["safety"]["failures"] == 2
    assert metrics["paired"]["safety"] is None and metrics["length"]["safety"] is None
    assert metrics["anchors"]["value"] == 0


def test_a_killed_judging_goes_on_where_it_stopped(tmp_path):
    command = [sys.executable, str(Path(__file__).parents[2] / "judging.py"), str(tmp_path)]
    with OpenAIServer(graded, latency=0.05) as server:
        process = subprocess.Popen([*command, server.url, "12"], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while sum(server.answered.values()) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = sum(server.answered.values())
        assert 20 <= before < 60
        done = subprocess.run(
            [*command, server.url, "12"], capture_output=True, text=True, check=True
        )
        total = 12 * 5 + 10 + 6
        assert done.stdout.strip() == str(total)
        # asked twice is at most what was under way when it died
        assert total <= len(server.asked) <= total + 4
    assert len((tmp_path / "judge" / "made-up.jsonl").read_bytes().splitlines()) <= total + 4


def test_posts_leave_the_machine_only_where_it_is_allowed():
    cloud = at("https://judge.example.org/v1")
    with pytest.raises(ValidationError, match="allow_cloud: judge made-up would send posts"):
        make_options(judges=[cloud])
    assert make_options(judges=[cloud], allow_cloud=True).judge.judges[0].is_remote
    with pytest.raises(ValidationError, match="api.openai.com"):
        make_options(judges=[at("http://127.0.0.1:1/v1") | {"endpoint": {}}])


def test_personal_data_is_masked_and_disclosure_is_noted(tmp_path):
    items = make_items(2)
    items[0]["post"] += " Write to jo.do@mail.example.org."
    tuned = make_generations(items, "warm")
    tuned[1]["answer"] += " Call +1 202 555 0143."
    with OpenAIServer(graded) as server:
        judge(tmp_path, items, make_options(judges=[at(server.url)]), tuned=tuned)
        wire = " ".join(text_of(asked) for asked in server.asked)
    assert "example.org" not in wire and "<email>" in wire
    assert "555 0143" not in wire and "<phone>" in wire
    noted = (tmp_path / "judge" / "disclosures.jsonl").read_text()
    line = json.loads(noted.splitlines()[0])
    assert line["provider"] == "127.0.0.1" and len(line["custom_ids"]) == 21
    assert "kettle" not in noted and "warm" not in noted


def test_each_judge_gets_its_own_key_and_no_other(tmp_path, caplog):
    caplog.set_level("DEBUG")
    keys = (SecretStr("sk-openai"), SecretStr("sk-judge"))
    with (
        OpenAIServer(graded, api_key="sk-openai") as one,
        OpenAIServer(graded, api_key="sk-judge") as other,
        OpenAIServer(graded, api_key="anything") as locked,
    ):
        judges = [
            at(one.url, name="one", api_key="openai"),
            at(other.url, name="other", api_key="judge"),
            at(locked.url, name="locked"),  # has no key to give
        ]
        result = judge(tmp_path, make_items(1), make_options(judges=judges), keys=keys)
    assert [summary["stopped_by"] for summary in result["summary"]] == [None, None, "server"]
    assert "refuses the API key" in caplog.text
    written = "".join(path.read_text() for path in (tmp_path / "judge").glob("*.jsonl"))
    assert "sk-" not in caplog.text + written + json.dumps(result["metrics"])


def test_a_budget_ends_the_asking_and_the_rest_is_counted(tmp_path):
    dear = {"input_per_million": 1000.0, "output_per_million": 1000.0, "as_of": "2025-01-19"}
    with OpenAIServer(graded) as server:
        options = make_options(
            judges=[at(server.url, prices={"gpt-4o": dear}, budget_usd=10.0)], items=None
        )
        result = judge(tmp_path, make_items(4), options)
        asked = len(server.asked)
    summary = result["summary"][0]
    assert 0 < asked < len(result["samples"])
    assert summary["stopped_by"] == "budget" and summary["cost_usd"] <= 10.0
    missing = (len(result["samples"]) - asked) * len(CRITERIA)
    assert failures_of(result) == {"not_asked": missing}


def test_several_judges_give_the_median_and_their_agreement(tmp_path):
    def kind(asked: Asked) -> Answer:
        scores = json.loads(graded(asked).content or "")
        return Answer(json.dumps({name: min(5, score + 2) for name, score in scores.items()}))

    items = make_items(8)
    with OpenAIServer(graded) as one, OpenAIServer(graded) as twin, OpenAIServer(kind) as third:
        judges = [at(one.url, name="a"), at(twin.url, name="b"), at(third.url, name="c")]
        result = judge(tmp_path, items, make_options(judges=judges, items=None))
    scores = result["scores"]
    alone = scores[(scores["judge"] == "a") & (scores["system"] == "tuned")]
    expected = alone[(alone["criterion"] == "clarity") & (alone["repeat"] == 0)]["score"].mean()
    assert result["metrics"]["systems"]["tuned"]["clarity"]["value"] == pytest.approx(expected)
    real = scores[(scores["task"] != ANCHOR) & (scores["repeat"] == 0)]
    for criterion in CRITERIA:
        rows = real[real["criterion"] == criterion]
        wide = rows.pivot(index="judge", columns=["pair_id", "system"], values="score")
        expected = krippendorff.alpha(wide.to_numpy(float), level_of_measurement="ordinal")
        block = result["metrics"]["agreement"]["judges"][criterion]
        assert block["value"] == pytest.approx(expected, abs=1e-6)
        assert block["low"] <= block["value"] <= block["high"]
        assert block["n"] == 8 * len(SYSTEMS)


def test_all_systems_of_an_item_are_scored_in_one_order_and_repeats_in_another(tmp_path):
    with OpenAIServer(graded) as server:
        options = make_options(judges=[at(server.url)], items=None, repeated_share=0.5)
        result = judge(tmp_path, make_items(10), options)
    orders: dict[tuple[str, int], set[tuple[str, ...]]] = {}
    for row in result["replies"]:
        orders.setdefault((row["item_id"], row["repeat"]), set()).add(tuple(row["order"]))
    assert all(len(seen) == 1 for seen in orders.values())
    first = Counter(min(seen) for (_, repeat), seen in orders.items() if repeat == 0)
    assert len(first) > 10  # of ten items and ten anchors
    again = [key for key in orders if key[1] == 1]
    assert len(again) >= 5
    assert sum(orders[key] != orders[key[0], 0] for key in again) >= len(again) - 1
