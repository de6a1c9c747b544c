"""The Batch API over real HTTP: files cut, handed in once, awaited, joined by id, resumed."""

import json
import logging
import random
import signal
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path

import pytest
from asking_process import make_request
from openai_server import (
    Cut,
    Fate,
    OpenAIServer,
    Raw,
    batch_line,
    completed,
    error,
    expired_line,
    refused_line,
)
from pydantic import SecretStr

from mental_slm.openai_client import (
    BatchOptions,
    EndpointError,
    EndpointOptions,
    Price,
    Summary,
    ask,
    ask_in_batches,
    forget,
    read_answers,
    read_failures,
)

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


def run(server: OpenAIServer, journal: Path, requests: list[dict], **changes) -> Summary:
    money = {name: changes.pop(name) for name in ("prices", "budget_usd") if name in changes}
    key = changes.pop("api_key", None)
    options = BatchOptions(
        **{"requests_per_file": 10, "poll_s": 0.02, "max_poll_s": 0.1, **changes}
    )
    endpoint = EndpointOptions(base_url=server.url, backoff_s=0.01, max_retries=3)
    return ask_in_batches(requests, journal, endpoint, options, api_key=key, **money)


def state_file(journal: Path) -> Path:
    return journal.with_name("responses.jsonl.batches.json")


def answered_ids(journal: Path) -> list[str]:
    return sorted(entry["custom_id"] for entry in read_answers(journal))


def ids(*numbers: int) -> list[str]:
    return [f"id-{n:05d}" for n in numbers]


def submitted(server: OpenAIServer) -> list[list[str]]:
    return [
        [request["custom_id"] for request in server.requests_of(batch)] for batch in server.batches
    ]


# -- without faults --------------------------------------------------------------------------------


def test_files_are_cut_at_the_number_of_requests(journal: Path) -> None:
    with OpenAIServer() as server:
        summary = run(server, journal, make_requests(25))
        assert [len(part) for part in submitted(server)] == [10, 10, 5]
        assert server.requests_of("batch_1")[0] == make_request(0)
    assert answered_ids(journal) == ids(*range(25))
    assert (summary.asked, summary.answered_now, summary.missing) == (25, 25, 0)
    assert not state_file(journal).exists()


def test_files_are_cut_at_their_size(journal: Path) -> None:
    with OpenAIServer() as server:
        run(server, journal, make_requests(20), requests_per_file=100, bytes_per_file=1500)
        sizes = [
            file["bytes"] for file in server.files.values() if "mental-slm" in file["filename"]
        ]
    assert len(sizes) > 2 and max(sizes) <= 1500
    assert answered_ids(journal) == ids(*range(20))


def test_a_request_larger_than_a_file_is_named(journal: Path) -> None:
    with OpenAIServer() as server, pytest.raises(ValueError, match="id-00000: is larger"):
        run(server, journal, make_requests(1), bytes_per_file=50)


def test_a_batch_has_one_model(journal: Path) -> None:
    requests = make_requests(6)
    for request in requests[::2]:
        request["body"]["model"] = "gpt-4o"
    with OpenAIServer() as server:
        run(server, journal, requests)
        models = [
            {request["body"]["model"] for request in server.requests_of(batch)}
            for batch in server.batches
        ]
    assert models == [{"gpt-4o"}, {"gpt-4o-mini"}]


def test_chat_and_batches_share_one_journal(journal: Path) -> None:
    with OpenAIServer() as server:
        ask(make_requests(4), journal, EndpointOptions(base_url=server.url))
        summary = run(server, journal, make_requests(6))
        assert submitted(server) == [ids(4, 5)]
    assert (summary.answered_before, summary.answered_now) == (4, 2)


def test_output_entries_are_kept_as_they_came(journal: Path) -> None:
    with OpenAIServer() as server:
        run(server, journal, make_requests(3))
        output = server.batches["batch_1"]["output_file_id"]
        sent = [json.loads(line) for line in server.files[output]["content"].splitlines()]
    assert [json.loads(line) for line in journal.read_text("utf-8").splitlines()] == sent


# -- joining ---------------------------------------------------------------------------------------


def test_reordered_custom_ids_do_not_change_the_join(tmp_path: Path) -> None:
    joined = []
    for seed in (1, 2):
        random.seed(seed)

        def shuffled(_: int, requests: list[dict]) -> Fate:
            lines = [batch_line(one, content=f"to {one['custom_id']}") for one in requests]
            random.shuffle(lines)
            return Fate("completed", lines)

        journal = tmp_path / f"{seed}.jsonl"
        with OpenAIServer(fate=shuffled) as server:
            run(server, journal, make_requests(25))
        joined.append(
            {
                entry["custom_id"]: entry["response"]["body"]["choices"][0]["message"]["content"]
                for entry in read_answers(journal)
            }
        )
    assert joined[0] == joined[1] == {name: f"to {name}" for name in ids(*range(25))}


def test_duplicated_custom_ids_keep_the_first_answer(journal: Path) -> None:
    def twice(_: int, requests: list[dict]) -> Fate:
        return Fate(
            "completed",
            [batch_line(one, content="first") for one in requests]
            + [batch_line(one, content="second") for one in requests[:2]],
        )

    with OpenAIServer(fate=twice) as server:
        summary = run(server, journal, make_requests(5))
    assert summary.duplicates == 2
    assert {
        entry["response"]["body"]["choices"][0]["message"]["content"]
        for entry in read_answers(journal)
    } == {"first"}


def test_foreign_custom_ids_are_counted_and_left_out(journal: Path) -> None:
    def with_stranger(_: int, requests: list[dict]) -> Fate:
        return Fate("completed", [batch_line(one) for one in (*requests, make_request(99))])

    with OpenAIServer(fate=with_stranger) as server:
        summary = run(server, journal, make_requests(5))
    assert summary.foreign == 1
    assert answered_ids(journal) == ids(*range(5))


def test_missing_custom_ids_are_asked_again_a_bounded_number_of_times(journal: Path) -> None:
    def without_two(_: int, requests: list[dict]) -> Fate:
        return Fate("completed", [batch_line(o) for o in requests if o["custom_id"] != "id-00002"])

    with OpenAIServer(fate=without_two) as server:
        summary = run(server, journal, make_requests(5), resubmissions=2)
        assert submitted(server) == [ids(*range(5)), ids(2), ids(2)]
    assert (summary.failed, summary.missing) == ({"missing": 1}, 1)
    assert summary.retried == {"missing": 2}


def test_a_broken_line_is_left_out_and_asked_again(journal: Path, caplog) -> None:
    with OpenAIServer() as server:

        def break_line(method: str, path: str, times: int) -> Raw | None:
            if not path.endswith("/content") or server.routes["POST /v1/batches"] > 1:
                return None
            lines = server.files[path.split("/")[3]]["content"].splitlines()
            return Raw(b"\n".join([lines[0][:40], *lines[1:]]))

        server._spoil = break_line
        summary = run(server, journal, make_requests(5))
        assert [len(part) for part in submitted(server)] == [5, 1]
    assert summary.missing == 0
    assert "line 1: no valid JSON" in caplog.text


# -- bad ends --------------------------------------------------------------------------------------


def expire_half_way(number: int, requests: list[dict]) -> Fate:
    if number > 1:
        return completed(number, requests)
    half = len(requests) // 2
    return Fate(
        "expired",
        [batch_line(one) for one in requests[:half]],
        [expired_line(one) for one in requests[half:]],
    )


def test_a_batch_that_expires_half_way_is_finished_by_another(journal: Path, caplog) -> None:
    with OpenAIServer(fate=expire_half_way) as server:
        summary = run(server, journal, make_requests(8))
        assert submitted(server) == [ids(*range(8)), ids(4, 5, 6, 7)]
    assert answered_ids(journal) == ids(*range(8))
    assert (summary.missing, summary.failed) == (0, {})
    assert summary.retried == {"batch_expired": 4}
    assert "batch_1 expired" in caplog.text


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_failed_or_cancelled_batch_is_submitted_again(journal: Path, status: str) -> None:
    def once(number: int, requests: list[dict]) -> Fate:
        return Fate(status) if number == 1 else completed(number, requests)

    with OpenAIServer(fate=once) as server:
        summary = run(server, journal, make_requests(4))
        assert submitted(server) == [ids(*range(4))] * 2
    assert summary.missing == 0


def test_batches_that_always_fail_end_with_a_reason(journal: Path, caplog) -> None:
    fate = Fate("failed", error_codes=("token_limit_exceeded",))
    with OpenAIServer(fate=lambda *_: fate) as server:
        summary = run(server, journal, make_requests(4), resubmissions=1)
        assert len(server.batches) == 2
    assert (summary.missing, summary.failed) == (4, {"missing": 4})
    assert "token_limit_exceeded" in caplog.text and "Lower requests_per_file" in caplog.text


def test_a_refused_request_is_not_submitted_again_in_the_same_run(journal: Path) -> None:
    def refuse_one(_: int, requests: list[dict]) -> Fate:
        good = [one for one in requests if one["custom_id"] != "id-00001"]
        bad = [one for one in requests if one["custom_id"] == "id-00001"]
        return Fate("completed", [batch_line(o) for o in good], [refused_line(o) for o in bad])

    with OpenAIServer(fate=refuse_one) as server:
        summary = run(server, journal, make_requests(4))
        assert len(server.batches) == 1
        assert read_failures(journal) == {"id-00001": "400"}
        assert summary.failed == {"400": 1}
        run(server, journal, make_requests(4))
        assert submitted(server)[1] == ids(1)


def test_a_wrong_key_is_a_sentence_and_one_request(journal: Path) -> None:
    with OpenAIServer(api_key="right") as server:
        with pytest.raises(EndpointError, match="refuses the API key"):
            run(server, journal, make_requests(4), api_key=SecretStr("sk-wrong"))
        assert server.routes.total() == 1
        run(server, journal, make_requests(4), api_key=SecretStr("right"))
        assert len(server.batches) == 1
    assert answered_ids(journal) == ids(*range(4))


def test_faults_while_polling_and_downloading_pass(journal: Path) -> None:
    def spoil(method: str, path: str, times: int):
        if method == "GET" and times == 1:
            return error(503) if path.startswith("/v1/batches") else Cut(Raw(b"x" * 1000))
        return None

    with OpenAIServer(spoil=spoil) as server:
        assert run(server, journal, make_requests(4)).missing == 0
        assert len(server.batches) == 1


@pytest.mark.parametrize("reply", [Cut(Raw(b"x" * 100)), error(500)], ids=["reset", "500"])
def test_a_batch_whose_start_was_not_confirmed_is_not_started_twice(journal: Path, reply) -> None:
    def spoil(method: str, path: str, times: int):
        return reply if (method, path, times) == ("POST", "/v1/batches", 1) else None

    with OpenAIServer(spoil=spoil) as server:
        summary = run(server, journal, make_requests(4))
        assert len(server.batches) == 1
    assert summary.missing == 0


# -- kill -9 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "times"),
    [
        ("POST", "/v1/files", 1),
        ("POST", "/v1/files", 2),
        ("POST", "/v1/batches", 1),
        ("POST", "/v1/batches", 2),
        ("GET", "/v1/batches/batch_1", 1),
        ("GET", "/v1/batches/batch_2", 2),
        ("GET", "content", 1),
        ("GET", "content", 2),
    ],
)
def test_kill_9_anywhere_submits_nothing_twice(
    journal: Path, method: str, path: str, times: int
) -> None:
    victim: list[subprocess.Popen] = []
    started, contents = threading.Event(), []

    def kill(called: str, where: str, count: int) -> None:
        started.wait(10)
        if where.endswith("/content"):
            contents.append(where)
            where, count = "content", len(contents)
        if (called, where, count) == (method, path, times):
            victim[0].kill()
            victim[0].wait()

    with OpenAIServer(spoil=kill) as server:
        command = [sys.executable, str(ASKING), str(journal), server.url, "15", "--batches"]
        victim.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        started.set()
        victim[0].wait(60)
        assert victim[0].returncode == -signal.SIGKILL
        uploads = server.routes["POST /v1/files"]
        server._spoil = None
        summary = run(server, journal, make_requests(15))
        logging.info("uploads %d -> %d", uploads, server.routes["POST /v1/files"])
        assert sorted(map(len, submitted(server))) == [5, 10]
        assert server.routes["POST /v1/files"] == 2
    assert answered_ids(journal) == ids(*range(15))
    assert summary.missing == 0
    assert not state_file(journal).exists()
    assert [path.name for path in journal.parent.iterdir() if path.name.endswith(".tmp")] == []


def interrupt_in(server: OpenAIServer, journal: Path, number: int) -> str:
    """Run a process that is sent Ctrl-C while it polls; return its log."""
    process: list[subprocess.Popen] = []
    started = threading.Event()

    def interrupt(method: str, path: str, times: int) -> None:
        started.wait(10)
        if (path, times) == ("/v1/batches/batch_1", 2):
            process[0].send_signal(signal.SIGINT)

    server._spoil = interrupt
    command = [sys.executable, str(ASKING), str(journal), server.url, str(number), "--batches"]
    process.append(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    )
    started.set()
    output, log = process[0].communicate(timeout=60)
    assert process[0].returncode == 0, log
    assert json.loads(output)["stopped_by"] == "interrupt"
    server._spoil = None
    return log


def test_ctrl_c_leaves_the_batches_and_says_so(journal: Path) -> None:
    with OpenAIServer(looks=6) as server:
        log = interrupt_in(server, journal, 15)
        assert "2 batches go on at" in log and "the next run collects them" in log
        assert state_file(journal).exists()
        summary = run(server, journal, make_requests(15))
        assert len(server.batches) == 2
    assert (summary.missing, answered_ids(journal)) == (0, ids(*range(15)))


def test_new_requests_go_into_their_own_batch_beside_those_under_way(journal: Path) -> None:
    with OpenAIServer(looks=6) as server:
        interrupt_in(server, journal, 5)
        run(server, journal, make_requests(8))
        assert submitted(server) == [ids(*range(5)), ids(5, 6, 7)]


def test_batches_of_which_nothing_is_wanted_are_not_waited_for(journal: Path) -> None:
    with OpenAIServer(looks=10**6) as server:
        interrupt_in(server, journal, 5)
        server._looks = 1  # the new one ends soon, the old one is kept
        server.batches["batch_1"]["looks"] = -(10**6)
        summary = run(server, journal, [make_request(7)])
        assert summary.missing == 0
        assert len(json.loads(state_file(journal).read_text("utf-8"))["parts"]) == 1


def test_forgotten_ids_are_not_taken_from_a_batch_under_way(journal: Path) -> None:
    with OpenAIServer(looks=6) as server:
        interrupt_in(server, journal, 5)
        forget(journal, {"id-00003"})
        kept = [make_request(n) for n in (0, 1, 2, 4)]
        summary = run(server, journal, kept)
        assert len(server.batches) == 1
    assert answered_ids(journal) == ids(0, 1, 2, 4)
    assert "id-00003" not in journal.read_text("utf-8")
    assert summary.foreign == 1


def test_batches_under_way_elsewhere_are_not_mixed_up(journal: Path) -> None:
    with OpenAIServer(looks=6) as server, OpenAIServer() as elsewhere:
        interrupt_in(server, journal, 5)
        with pytest.raises(ValueError, match=f"batches are under way at {server.url}"):
            run(elsewhere, journal, make_requests(5))


def test_a_damaged_state_is_named(journal: Path) -> None:
    state_file(journal).write_text('{"parts": [')
    with OpenAIServer() as server, pytest.raises(ValueError, match="batches.json: is damaged"):
        run(server, journal, make_requests(5))


# -- money -----------------------------------------------------------------------------------------


def test_batches_cost_half_and_keep_within_the_budget(journal: Path, caplog) -> None:
    def longest(_: int, requests: list[dict]) -> Fate:
        return Fate("completed", [batch_line(one, completion_tokens=100) for one in requests])

    def billed() -> float:
        entries = list(read_answers(journal))
        usage = [entry["response"]["body"]["usage"] for entry in entries]
        return sum((u["prompt_tokens"] * 1000 + u["completion_tokens"] * 2000) / 2e6 for u in usage)

    with OpenAIServer(fate=longest) as server:
        summary = run(server, journal, make_requests(60), prices=PRICES, budget_usd=3.0)
        assert 3.0 - 0.3 < billed() <= 3.0
        assert summary.cost_usd == pytest.approx(billed())
        assert summary.stopped_by == "budget"
        assert "raise it to go on" in caplog.text
        rest = run(server, journal, make_requests(60), prices=PRICES, budget_usd=30.0)
        assert rest.cost_before_usd == pytest.approx(summary.cost_usd)
        assert (rest.missing, rest.stopped_by) == (0, None)
        assert sum(map(len, submitted(server))) == 60


def test_batches_under_way_count_against_the_budget(journal: Path) -> None:
    with OpenAIServer(looks=6) as server:
        interrupt_in(server, journal, 5)
        state = json.loads(state_file(journal).read_text("utf-8"))
        state["parts"][0]["reserved_usd"] = 2.9
        state_file(journal).write_text(json.dumps(state))
        ends: list[str] = []

        def watch(method: str, path: str, times: int) -> None:
            if (method, path) == ("POST", "/v1/batches"):
                ends.append(server.batches["batch_1"]["status"])

        server._spoil = watch
        summary = run(server, journal, make_requests(20), prices=PRICES, budget_usd=3.0)
    assert set(ends) == {"completed"}  # nothing was handed in before the money was free again
    assert summary.cost_usd <= 3.0


def test_no_text_in_the_log(journal: Path, caplog) -> None:
    with caplog.at_level(logging.DEBUG), OpenAIServer(fate=expire_half_way) as server:
        run(server, journal, make_requests(8))
    assert "prompt" not in caplog.text and "kind answer" not in caplog.text
    assert "8 requests to gpt-4o-mini" in caplog.text
