"""Asking one by one, over real HTTP: every fault, and what is kept of it."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from email.utils import formatdate
from pathlib import Path

import pytest
from asking_process import make_request
from openai_server import Answer, Asked, Cut, Hang, OpenAIServer, Raw, error
from pydantic import SecretStr

from mental_slm.openai_client import (
    EndpointError,
    EndpointOptions,
    JournalError,
    Price,
    Summary,
    ask,
    completion,
    read_answers,
    read_failures,
)
from mental_slm.openai_client.connection import connect

ASKING = Path(__file__).parents[1] / "asking_process.py"
PRICES = {
    "gpt-4o-mini": Price(
        input_per_million=1000.0, output_per_million=2000.0, as_of=date(2025, 1, 19)
    )
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "responses.jsonl"


def make_requests(number: int) -> list[dict]:
    return [make_request(n) for n in range(number)]


def endpoint(server: OpenAIServer, **changes) -> EndpointOptions:
    return EndpointOptions(
        **{"base_url": server.url, "concurrency": 4, "backoff_s": 0.01, **changes}
    )


def number_of(asked: Asked) -> int:
    return int(asked.prompt.split()[1])


def once(number: int, reply):
    """A server's behaviour: this reply, the first time that prompt `number` comes."""
    return lambda asked: reply if number_of(asked) == number and asked.times == 1 else None


def always(number: int, reply):
    return lambda asked: reply if number_of(asked) == number else None


def contents(journal: Path) -> dict[str, str]:
    return {
        entry["custom_id"]: completion(entry)["choices"][0]["message"]["content"]
        for entry in read_answers(journal)
    }


def child(journal: Path, server: OpenAIServer, number: int, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ASKING), str(journal), server.url, str(number), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# -- without faults --------------------------------------------------------------------------------


def test_every_answer_is_joined_to_its_own_request(journal: Path) -> None:
    def echo(asked: Asked) -> Answer:
        time.sleep(0.002 * (number_of(asked) % 3))  # answers come in another order than asked
        return Answer(content=f"to {number_of(asked)}")

    with OpenAIServer(echo) as server:
        summary = ask(iter(make_requests(40)), journal, endpoint(server))
    assert contents(journal) == {f"id-{n:05d}": f"to {n}" for n in range(40)}
    assert (summary.asked, summary.answered_now, summary.missing) == (40, 40, 0)
    assert summary.completion_tokens == 40 * 20


def test_the_server_gets_the_body_as_it_was_given(journal: Path) -> None:
    request = make_request(0)
    request["body"]["response_format"] = {"type": "json_object"}
    with OpenAIServer() as server:
        ask([request], journal, endpoint(server))
    assert server.asked[0].body == request["body"]


def test_entries_have_the_batch_format(journal: Path) -> None:
    with OpenAIServer() as server:
        ask(make_requests(1), journal, endpoint(server))
    (entry,) = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    assert entry.keys() == {"id", "custom_id", "response", "error"}
    assert entry["response"].keys() == {"status_code", "request_id", "body"}
    assert entry["response"]["request_id"] == "req_made_up"
    assert entry["response"]["body"]["object"] == "chat.completion"
    assert entry["error"] is None


def test_a_rerun_asks_only_for_what_is_missing(journal: Path) -> None:
    with OpenAIServer() as server:
        ask(make_requests(5), journal, endpoint(server))
        before = journal.read_bytes()
        summary = ask(make_requests(8), journal, endpoint(server))
    assert server.counts()["asked"] == 8
    assert (summary.asked, summary.answered_before, summary.answered_now) == (8, 5, 3)
    assert journal.read_bytes().startswith(before)


def test_concurrency_is_used_and_bounded(journal: Path) -> None:
    with OpenAIServer(latency=0.05) as server:
        ask(make_requests(30), journal, endpoint(server, concurrency=6))
    assert server.most_open == 6


def test_requests_are_drawn_as_they_are_needed(journal: Path) -> None:
    drawn, ahead = [], []

    def draw():
        for n in range(60):
            drawn.append(n)
            yield make_request(n)

    def watch(_: Asked) -> None:
        ahead.append(len(drawn) - sum(server.answered.values()))

    with OpenAIServer(watch, latency=0.002) as server:
        ask(draw(), journal, endpoint(server, concurrency=4))
    assert max(ahead) <= 2 * 4


def test_equal_requests_are_asked_once(journal: Path) -> None:
    with OpenAIServer() as server:
        summary = ask(
            [make_request(1), make_request(2), make_request(1)], journal, endpoint(server)
        )
    assert server.counts()["asked"] == 2
    assert (summary.asked, summary.repeated) == (2, 1)


def test_one_id_for_two_requests_is_refused(journal: Path) -> None:
    other = {**make_request(2), "custom_id": make_request(1)["custom_id"]}
    with OpenAIServer() as server, pytest.raises(ValueError, match="id-00001 stands for two"):
        ask([make_request(1), other], journal, endpoint(server))


def test_answers_survive_a_malformed_request_further_down(journal: Path) -> None:
    with OpenAIServer(latency=0.05) as server, pytest.raises(ValueError, match="id-x: body.model"):
        ask([*make_requests(3), {"custom_id": "id-x", "body": {}}], journal, endpoint(server))
    assert len(contents(journal)) == 3


def test_half_a_surrogate_pair_is_named(journal: Path) -> None:
    request = make_request(0)
    request["body"]["messages"][0]["content"] = "\ud83d"
    with OpenAIServer() as server, pytest.raises(ValueError, match="id-00000: .*UTF-8"):
        ask([request], journal, endpoint(server))
    assert server.counts()["asked"] == 0


def test_half_a_surrogate_pair_in_an_answer_is_kept(journal: Path) -> None:
    with OpenAIServer(lambda _: Answer(content="\ud83d and \u2028 text")) as server:
        ask(make_requests(2), journal, endpoint(server))
    assert set(contents(journal).values()) == {"\ud83d and \u2028 text"}


# -- faults that pass ------------------------------------------------------------------------------


def test_429_waits_as_long_as_retry_after_says(journal: Path) -> None:
    with OpenAIServer(once(3, error(429, "rate_limit_exceeded", retry_after="0.6"))) as server:
        summary = ask(make_requests(6), journal, endpoint(server))
    first, second = [asked.at for asked in server.asked if number_of(asked) == 3]
    assert second - first >= 0.6
    assert summary.missing == 0
    assert summary.retried == {"429": 1}


def test_429_holds_the_other_workers_back_too(journal: Path) -> None:
    with OpenAIServer(once(3, error(429, retry_after="1.0")), latency=0.02) as server:
        ask(make_requests(240), journal, endpoint(server))
    refused = next(asked.at for asked in server.asked if number_of(asked) == 3)
    meanwhile = [asked for asked in server.asked if 0.3 < asked.at - refused < 0.95]
    assert not meanwhile


def test_retry_after_may_be_a_date(journal: Path) -> None:
    def refuse_once(asked: Asked) -> Raw | None:
        later = formatdate(time.time() + 2, usegmt=True)  # dates have whole seconds
        return error(429, retry_after=later) if asked.times == 1 else None

    with OpenAIServer(refuse_once) as server:
        ask(make_requests(1), journal, endpoint(server))
    first, second = (asked.at for asked in server.asked)
    assert second - first >= 0.9


def test_too_long_a_wait_ends_the_run(journal: Path) -> None:
    with OpenAIServer(always(2, error(429, retry_after="3600"))) as server:
        with pytest.raises(EndpointError, match="3600 s, longer than max_wait_s") as caught:
            ask(make_requests(50), journal, endpoint(server))
    assert server.counts()["asked"] < 15
    assert f"answers are in {journal}" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (error(500), "500"),
        (error(503), "503"),
        (Cut(), "connection"),
        (Raw(b'{"choices": [{"mess'), "malformed_json"),
        (Raw(b"<html>Bad gateway</html>"), "malformed_json"),
        (Raw(b'{"object": "chat.completion", "choices": []}'), "empty_choices"),
        (Raw(b'{"object": "chat.completion"}'), "empty_choices"),
        (Raw(b"[]"), "empty_choices"),
    ],
    ids=[
        "500s",
        "503s",
        "connection_reset_mid_body",
        "malformed_json",
        "html",
        "empty_choices",
        "no_choices",
        "a_list",
    ],
)
def test_a_passing_fault_is_tried_again(journal: Path, reply, fault: str) -> None:
    with OpenAIServer(once(2, reply)) as server:
        summary = ask(make_requests(5), journal, endpoint(server))
    assert server.counts()["asked"] == 6
    assert len(contents(journal)) == 5
    assert summary.retried == {fault: 1}
    assert not summary.failed


def test_time_outs_are_tried_again(journal: Path) -> None:
    # a limit far above what an answer takes, so that a stalled machine makes no second time-out
    with OpenAIServer(once(2, Hang(30))) as server:
        summary = ask(make_requests(4), journal, endpoint(server, timeout_s=5))
    assert summary.retried == {"timeout": 1}
    assert summary.missing == 0


def test_a_fault_that_does_not_pass_is_recorded_and_asked_again_later(journal: Path) -> None:
    with OpenAIServer(always(1, error(500))) as server:
        summary = ask(make_requests(4), journal, endpoint(server, max_retries=2))
        assert server.counts()["asked"] == 3 + 3
        assert (summary.failed, summary.missing) == ({"500": 1}, 1)
        assert read_failures(journal) == {"id-00001": "500"}
        server._behave = None
        again = ask(make_requests(4), journal, endpoint(server))
    assert (again.answered_before, again.answered_now) == (3, 1)
    assert server.counts()["asked"] == 6 + 1
    assert read_failures(journal) == {}


def test_a_server_that_only_fails_is_given_up(journal: Path) -> None:
    with OpenAIServer(lambda _: error(500)) as server:
        with pytest.raises(EndpointError, match="5 requests in a row failed"):
            ask(make_requests(200), journal, endpoint(server, max_retries=1, give_up_after=5))
    assert server.counts()["asked"] <= 2 * (5 + 4)


def test_a_server_that_refuses_everything_is_given_up(journal: Path) -> None:
    with OpenAIServer(lambda _: error(400, "unsupported_parameter")) as server:
        with pytest.raises(EndpointError, match="requests in a row failed for good.*400"):
            ask(make_requests(200), journal, endpoint(server, give_up_after=5))
    assert server.counts()["asked"] <= 5 + 4


def test_no_server_is_a_sentence(journal: Path) -> None:
    with OpenAIServer() as server:
        gone = endpoint(server, max_retries=1, give_up_after=1)
    with pytest.raises(EndpointError, match="failed for good \\(last fault: connection\\)"):
        ask(make_requests(3), journal, gone)


# -- verdicts --------------------------------------------------------------------------------------


def test_400_is_recorded_and_the_rest_goes_on(journal: Path) -> None:
    with OpenAIServer(always(2, error(400, "context_length_exceeded"))) as server:
        summary = ask(make_requests(6), journal, endpoint(server))
    assert server.counts()["asked"] == 6
    assert summary.failed == {"400": 1}
    assert len(contents(journal)) == 5
    lines = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    (refused,) = [line for line in lines if line["custom_id"] == "id-00002"]
    assert refused["response"]["status_code"] == 400
    assert refused["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert refused["error"]["code"] == "context_length_exceeded"


def test_wrong_key_is_one_request_and_one_sentence(journal: Path, caplog) -> None:
    with OpenAIServer(api_key="right") as server, caplog.at_level(logging.DEBUG):
        with pytest.raises(EndpointError, match="refuses the API key \\(401, invalid_api_key") as e:
            ask(
                make_requests(500),
                journal,
                endpoint(server, concurrency=64),
                api_key=SecretStr("sk-wrong"),
            )
    assert server.counts()["asked"] == 1
    assert "sk-wrong" not in str(e.value) + caplog.text


def test_the_key_is_sent(journal: Path) -> None:
    with OpenAIServer(api_key="right") as server:
        summary = ask(make_requests(2), journal, endpoint(server), api_key=SecretStr("right"))
    assert summary.missing == 0


def test_a_key_that_is_withdrawn_keeps_the_answers_under_way(journal: Path) -> None:
    def withdraw(asked: Asked) -> Raw | None:
        if number_of(asked) == 10:
            return error(401, "invalid_api_key")
        time.sleep(0.02)
        return None

    with OpenAIServer(withdraw, latency=0.02) as server, pytest.raises(EndpointError, match="401"):
        ask(make_requests(100), journal, endpoint(server))
    assert len(contents(journal)) == sum(server.answered.values())


def test_no_credit_is_not_waited_for(journal: Path) -> None:
    with OpenAIServer(lambda _: error(429, "insufficient_quota")) as server:
        with pytest.raises(EndpointError, match="insufficient_quota.*credit"):
            ask(make_requests(50), journal, endpoint(server))
    assert server.counts()["asked"] == 1


def test_unknown_model_or_address_is_a_sentence(journal: Path) -> None:
    with OpenAIServer(lambda _: error(404, "model_not_found")) as server:
        with pytest.raises(EndpointError, match="Check base_url and model"):
            ask(make_requests(50), journal, endpoint(server))
    assert server.counts()["asked"] == 1


def test_posts_do_not_follow_a_redirect(journal: Path) -> None:
    with OpenAIServer() as elsewhere:
        away = Raw(b"", 307, {"location": f"{elsewhere.url}/chat/completions"})
        with OpenAIServer(lambda _: away) as server:
            with pytest.raises(EndpointError, match="redirects elsewhere"):
                ask(make_requests(5), journal, endpoint(server))
        assert elsewhere.counts()["asked"] == 0


def test_no_key_for_openai_is_a_sentence_before_any_call(journal: Path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    with pytest.raises(EndpointError, match="no API key is set"):
        ask(make_requests(1), journal, EndpointOptions())


def test_the_environment_does_not_decide_where_posts_go(journal: Path, monkeypatch) -> None:
    with OpenAIServer() as elsewhere, OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.url)
        ask(make_requests(2), journal, endpoint(server))
    assert (elsewhere.counts()["asked"], server.counts()["asked"]) == (0, 2)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    client = connect(EndpointOptions(), SecretStr("sk-made-up"))
    assert str(client.base_url) == "https://api.openai.com/v1/"


def test_refusals_and_length_finishes_are_answers(journal: Path) -> None:
    replies = {
        0: Answer(content=None, refusal="I cannot help with that."),
        1: Answer(finish_reason="length"),
        2: Answer(content=None, finish_reason="content_filter"),
    }
    with OpenAIServer(lambda asked: replies.get(number_of(asked))) as server:
        summary = ask(make_requests(4), journal, endpoint(server))
    assert server.counts()["asked"] == summary.answered_now == 4
    choices = {
        entry["custom_id"]: completion(entry)["choices"][0] for entry in read_answers(journal)
    }
    assert choices["id-00000"]["message"]["refusal"] == "I cannot help with that."
    assert choices["id-00001"]["finish_reason"] == "length"
    assert choices["id-00002"]["finish_reason"] == "content_filter"


def test_a_wrong_model_echo_is_kept_counted_and_told(journal: Path, caplog) -> None:
    with OpenAIServer(always(1, Answer(model="gpt-4o-2024-08-06"))) as server:
        summary = ask(make_requests(3), journal, endpoint(server))
    assert summary.models == {"gpt-4o-mini-2024-07-18": 2, "gpt-4o-2024-08-06": 1}
    assert summary.other_model == 1
    assert "1 answers came from another model" in caplog.text
    assert len(contents(journal)) == 3


# -- money -----------------------------------------------------------------------------------------


def billed_usd(server: OpenAIServer) -> float:
    prompt, answer = server.billed
    price = PRICES["gpt-4o-mini"]
    return (prompt * price.input_per_million + answer * price.output_per_million) / 1e6


def test_a_budget_that_runs_out_is_never_passed(journal: Path, caplog) -> None:
    # every answer is as long as it may be, so only reserving beforehand keeps the limit
    with OpenAIServer(lambda _: Answer(completion_tokens=100), latency=0.01) as server:
        summary = ask(make_requests(60), journal, endpoint(server), prices=PRICES, budget_usd=5.0)
        assert billed_usd(server) <= 5.0
        assert billed_usd(server) > 5.0 - 0.6  # and it is used up to the last request
        assert summary.cost_usd == pytest.approx(billed_usd(server))
        assert summary.stopped_by == "budget"
        assert summary.missing == 60 - summary.answered_now > 0
        assert "The budget of 5.0 $ allows no further request" in caplog.text

        again = ask(make_requests(60), journal, endpoint(server), prices=PRICES, budget_usd=5.0)
        assert (again.answered_now, again.stopped_by) == (0, "budget")
        assert again.cost_before_usd == pytest.approx(summary.cost_usd)

        rest = ask(make_requests(60), journal, endpoint(server), prices=PRICES, budget_usd=50.0)
    assert (rest.missing, rest.stopped_by) == (0, None)
    assert server.counts()["asked"] == 60


def test_lost_tries_count_against_the_budget(journal: Path) -> None:
    with OpenAIServer(lambda _: Cut(Answer(completion_tokens=100))) as server:
        summary = ask(make_requests(50), journal, endpoint(server), prices=PRICES, budget_usd=3.0)
    assert billed_usd(server) <= 3.0
    assert summary.stopped_by == "budget"
    assert billed_usd(server) <= summary.lost_usd <= 3.0
    assert not summary.cost_usd


def test_refused_tries_are_free(journal: Path) -> None:
    with OpenAIServer(lambda asked: error(500) if asked.times < 4 else None) as server:
        summary = ask(make_requests(5), journal, endpoint(server), prices=PRICES, budget_usd=1.0)
    assert (summary.missing, summary.lost_usd) == (0, 0.0)


def test_a_budget_needs_a_price(journal: Path) -> None:
    with OpenAIServer() as server, pytest.raises(ValueError, match="no price for model 'gpt-4o-mi"):
        ask(make_requests(3), journal, endpoint(server), budget_usd=1.0)
    assert server.counts()["asked"] == 0


def test_a_budget_needs_max_tokens(journal: Path) -> None:
    request = make_request(0)
    del request["body"]["max_tokens"]
    with OpenAIServer() as server, pytest.raises(ValueError, match="max_tokens is missing"):
        ask([request], journal, endpoint(server), prices=PRICES, budget_usd=1.0)
    assert server.counts()["asked"] == 0


# -- ends in the middle ----------------------------------------------------------------------------


def test_kill_9_in_the_middle_loses_and_repeats_nothing(journal: Path) -> None:
    victim: list[subprocess.Popen] = []
    started = threading.Event()

    def kill(asked: Asked) -> None:
        started.wait(10)
        if number_of(asked) == 50 and asked.times == 1:
            victim[0].kill()

    with OpenAIServer(kill, latency=0.01) as server:
        victim.append(child(journal, server, 120))
        started.set()
        victim[0].communicate(timeout=60)
        assert victim[0].returncode == -signal.SIGKILL
        time.sleep(0.2)  # what the process sent before it died has arrived by now
        before = server.counts()
        lines = journal.read_bytes().splitlines(keepends=True)
        kept = [json.loads(line)["custom_id"] for line in lines if line.endswith(b"\n")]
        summary = ask(make_requests(120), journal, endpoint(server, concurrency=8))
        after = server.counts()
    logging.info("server before the rerun %s, after %s, journal %d", before, after, len(kept))
    assert before["asked"] < 120
    # all but the answers that were on their way when the process died were in the journal
    assert len(kept) >= before["asked"] - 2 * 8
    assert summary.answered_before >= len(kept)
    assert summary.missing == 0
    # nothing that had arrived is asked again; at most `concurrency` requests were under way
    assert after["asked"] == before["asked"] + 120 - summary.answered_before
    assert after["asked"] - 120 <= 8
    again = {f"id-{number_of(asked):05d}" for asked in server.asked if asked.times > 1}
    assert not again & set(kept)
    assert len(contents(journal)) == 120


def test_ctrl_c_keeps_answers_under_way(journal: Path) -> None:
    process: list[subprocess.Popen] = []
    started = threading.Event()

    def interrupt(asked: Asked) -> None:
        started.wait(10)
        if number_of(asked) == 30:
            process[0].send_signal(signal.SIGINT)

    with OpenAIServer(interrupt, latency=0.1) as server:
        process.append(child(journal, server, 500))
        started.set()
        output, log = process[0].communicate(timeout=60)
    assert process[0].returncode == 0, log
    summary = json.loads(output)
    assert summary["stopped_by"] == "interrupt"
    assert summary["answered_now"] == server.counts()["asked"] == len(contents(journal)) < 100
    assert summary["missing"] == 500 - summary["answered_now"]
    assert "run the same again to go on" in log
    assert "prompt" not in log and "kind answer" not in log


def test_ctrl_c_does_not_wait_for_ever(journal: Path) -> None:
    process: list[subprocess.Popen] = []
    started = threading.Event()

    def hang(asked: Asked) -> Hang | None:
        started.wait(10)
        if number_of(asked) == 20:
            process[0].send_signal(signal.SIGINT)
        return Hang(60) if number_of(asked) > 10 else None

    with OpenAIServer(hang) as server:
        process.append(child(journal, server, 500, "--grace", "0.3", "--concurrency", "12"))
        started.set()
        output, log = process[0].communicate(timeout=30)
    assert process[0].returncode == 0, log
    assert json.loads(output)["answered_now"] == len(contents(journal)) == 11


def test_a_full_disk_names_the_file_and_loses_nothing(journal: Path) -> None:
    with OpenAIServer() as server:
        full = child(journal, server, 200, "--largest-file", "20000")
        _, log = full.communicate(timeout=60)
        assert full.returncode == 1
        assert f"JournalError: {journal}: cannot write another response (File too large)" in log
        asked = server.counts()["asked"]
        whole = journal.read_bytes()
        assert whole.endswith(b"\n") and 19000 < len(whole) <= 20000
        kept = len(contents(journal))
        assert f"The {kept} answers in it are safe" in log
        summary = ask(make_requests(200), journal, endpoint(server))
    assert journal.read_bytes().startswith(whole)
    assert (summary.answered_before, summary.missing) == (kept, 0)
    assert asked - kept <= 8
    assert server.counts()["asked"] == asked + 200 - kept


def test_two_processes_do_not_share_a_journal(journal: Path) -> None:
    def ask_too(_: Asked) -> None:
        if not seen:
            seen.append("")
            process = child(journal, server, 10)
            seen[0] = process.communicate(timeout=60)[1]

    seen: list[str] = []
    with OpenAIServer(ask_too) as server:
        ask(make_requests(1), journal, endpoint(server, timeout_s=60))
    assert "another process is writing it" in seen[0]
    assert server.counts()["asked"] == 1


def test_it_works_where_a_loop_runs_already(journal: Path) -> None:
    import asyncio

    async def notebook() -> Summary:
        return ask(make_requests(3), journal, endpoint(server))

    with OpenAIServer() as server:
        assert asyncio.run(notebook()).missing == 0


def test_answers_are_brought_to_the_disk_beside_the_asking(journal: Path, monkeypatch) -> None:
    synced, fsync = [], os.fsync

    def note(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), os.stat(journal)):
            synced.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with OpenAIServer(latency=0.02) as server:
        ask(make_requests(40), journal, endpoint(server))
    assert synced[-1] == journal.stat().st_size
    assert len(set(synced)) >= 5  # not only at the end


# -- what is told ----------------------------------------------------------------------------------


def test_no_text_and_no_line_per_request_in_the_log(journal: Path, caplog, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_LOG", "debug")
    echo = {1: error(422, "prompt 1"), 2: Raw(b"prompt 2 is not json")}
    with OpenAIServer(lambda asked: echo.get(number_of(asked))) as server:
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("openai").setLevel(logging.DEBUG)
            ask(make_requests(20), journal, endpoint(server, max_retries=1))
    assert "prompt" not in caplog.text
    assert "kind answer" not in caplog.text
    assert "HTTP Request" not in caplog.text
    assert "1 x 422" in caplog.text and "1 x malformed_json" in caplog.text
    assert logging.getLogger("openai").level == logging.DEBUG  # as it was


def test_progress_tells_rate_cost_and_time_left(journal: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr("mental_slm.openai_client.progress.SECONDS_BETWEEN_LINES", 0.0)
    with OpenAIServer() as server, caplog.at_level(logging.INFO):
        ask(make_requests(3), journal, endpoint(server), prices=PRICES)
    lines = [record.message for record in caplog.records if "a second" in record.message]
    assert len(lines) == 3
    assert lines[0].startswith("1 of 3 answered, 0 failed, ")
    assert "s left" in lines[0] and " $, " in lines[0]


def test_a_terminal_shows_a_bar(journal: Path, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with OpenAIServer() as server:
        ask(make_requests(3), journal, endpoint(server), prices=PRICES)
    assert "3/3" in sys.stderr.getvalue() and " $" in sys.stderr.getvalue()


def test_the_summary_is_json(journal: Path) -> None:
    with OpenAIServer(always(1, error(400))) as server:
        summary = ask(make_requests(3), journal, endpoint(server), prices=PRICES)
    told = json.loads(json.dumps(summary.to_json()))
    assert told["failed"] == {"400": 1}
    assert told["missing"] == 1
    assert told["cost_usd"] == pytest.approx(billed_usd(server))


def test_foreign_entries_stay_and_are_told(journal: Path, caplog) -> None:
    with OpenAIServer() as server:
        ask(make_requests(5), journal, endpoint(server))
        summary = ask(make_requests(2), journal, endpoint(server))
    assert (summary.asked, summary.foreign) == (2, 3)
    assert "3 responses that nobody asks for now" in caplog.text
    assert len(contents(journal)) == 5


def test_wrong_addresses_are_refused() -> None:
    for url, why in [
        ("localhost:8000", "full address"),
        ("http://user:secret@localhost/v1", "leave user and password out"),
        ("http://localhost/v1/chat/completions", "ends at /v1"),
    ]:
        with pytest.raises(ValueError, match=why):
            EndpointOptions(base_url=url)


def test_an_unwritable_journal_is_named_before_any_call(tmp_path: Path) -> None:
    folder = tmp_path / "responses.jsonl"
    folder.mkdir()
    with OpenAIServer() as server, pytest.raises(JournalError, match="responses.jsonl"):
        ask(make_requests(1), folder, endpoint(server))
    assert server.counts()["asked"] == 0
