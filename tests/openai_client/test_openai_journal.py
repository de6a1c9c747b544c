"""The journal: what a killed process leaves, who may write, what is forgotten."""

import json
from pathlib import Path

import pytest

from mental_slm.openai_client import forget, held_ids, read_answers, read_failures
from mental_slm.openai_client.journal import Journal, JournalError
from mental_slm.openai_client.protocol import make_entry
from mental_slm.openai_client.state import BatchState, Part

BODY = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "kind"}}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "responses.jsonl"


def answer(custom_id: str, content: str = "kind") -> dict:
    body = {**BODY, "choices": [{"message": {"role": "assistant", "content": content}}]}
    return make_entry(custom_id, status=200, body=body)


def failure(custom_id: str, status: int = 500) -> dict:
    return make_entry(custom_id, status=status, error={"code": "made_up"})


def write(path: Path, *entries: dict) -> None:
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), "utf-8")


def load(path: Path) -> Journal:
    with Journal.opened(path) as journal:
        list(journal.load())
    return journal


def test_appended_entries_come_back(path: Path) -> None:
    entries = [answer("a"), failure("b"), answer("c", "\u2028 \ud83d \u00e9")]
    with Journal.opened(path) as journal:
        for entry in entries:
            journal.append(entry)
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == entries
    assert load(path).answered == {"a", "c"}


def test_a_torn_last_line_is_dropped_with_a_word(path: Path, caplog) -> None:
    write(path, answer("a"), answer("b"))
    whole = path.read_bytes()
    cut = len(whole) - 20
    path.write_bytes(whole[:cut])
    with Journal.opened(path) as journal:
        list(journal.load())
        journal.append(answer("c"))
    assert load(path).answered == {"a", "c"}
    assert "dropping the last line, which was cut off" in caplog.text
    assert "kind" not in caplog.text


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_wherever_the_last_line_is_torn_the_others_stay(path: Path, cut: int) -> None:
    write(path, answer("a"), answer("b"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert "a" in load(path).answered
    assert path.read_bytes().endswith(b"\n")


def test_a_last_line_that_lacks_only_its_end_is_kept(path: Path) -> None:
    write(path, answer("a"), answer("b"))
    path.write_bytes(path.read_bytes()[:-1])
    assert load(path).answered == {"a", "b"}


def test_a_long_torn_line_is_found(path: Path) -> None:
    write(path, answer("a"), answer("b", "x" * 300_000))
    path.write_bytes(path.read_bytes()[:-5])
    assert load(path).answered == {"a"}


def test_zeros_after_a_power_cut_are_dropped(path: Path) -> None:
    write(path, answer("a"))
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert load(path).answered == {"a"}


def test_a_broken_line_in_the_middle_is_named(path: Path) -> None:
    write(path, answer("a"), answer("b"), answer("c"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"custom_id": "secret text\n' + lines[2])
    with pytest.raises(ValueError, match=r"responses.jsonl, line 2: no valid JSON") as caught:
        load(path)
    assert "secret" not in str(caught.value)


def test_the_first_answer_counts_and_beats_errors(path: Path) -> None:
    write(path, failure("a"), answer("a", "first"), answer("a", "second"), failure("b", 400))
    journal = load(path)
    assert (journal.answered, journal.failed, journal.duplicates) == ({"a"}, {"b": "400"}, 1)
    (kept,) = read_answers(path)
    assert kept["response"]["body"]["choices"][0]["message"]["content"] == "first"
    assert read_failures(path) == {"b": "400"}


def test_one_process_at_a_time(path: Path) -> None:
    with Journal.opened(path), pytest.raises(JournalError, match="another process is writing"):
        load(path)


def test_forgotten_responses_are_gone_for_good(path: Path) -> None:
    write(path, answer("a"), failure("b"), answer("c"), answer("a"), answer("b"))
    assert forget(path, {"a", "b", "never there"}) == 4
    assert load(path).answered == {"c"}
    assert path.read_text("utf-8").count("\n") == 1
    assert {file.name for file in path.parent.iterdir()} <= {
        "responses.jsonl",
        ".responses.jsonl.lock",
    }


def test_forgetting_waits_for_no_one(path: Path) -> None:
    write(path, answer("a"))
    with Journal.opened(path), pytest.raises(JournalError):
        forget(path, {"a"})
    assert load(path).answered == {"a"}


def test_forgetting_without_a_journal_does_nothing(path: Path) -> None:
    assert forget(path, {"a"}) == 0
    assert not path.exists()


def test_an_uploaded_file_with_a_forgotten_text_becomes_no_batch(path: Path) -> None:
    part = Part(model="m", custom_ids=["a", "b"], file_id="file-1")
    BatchState(url="http://x/v1", parts=[part], submissions={"a": 1, "b": 1}).save(path)
    forget(path, {"a"})
    state = BatchState.load(path, "http://x/v1")
    assert (state.parts[0].custom_ids, state.submissions) == (["b"], {"b": 1})
    assert state.parts[0].file_id is None
    assert state.parts[0].key != part.key


def test_ids_are_held_by_the_journal_and_by_batches_under_way(path: Path) -> None:
    assert held_ids(path) == set()
    write(path, answer("a"), failure("b"))
    part = Part(model="m", custom_ids=["b", "c"], batch_id="batch_1")
    BatchState(url="http://x/v1", parts=[part]).save(path)
    assert held_ids(path) == {"a", "b", "c"}
