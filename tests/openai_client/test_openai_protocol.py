"""The Batch format: what counts as an answer, and files that others made."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from asking_process import make_request
from openai_server import batch_line, expired_line, refused_line

from mental_slm.openai_client import completion, failure_code, read_recorded, same_model
from mental_slm.openai_client.protocol import check_request


def write(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def test_recorded_output_and_error_files_are_read(tmp_path: Path) -> None:
    requests = [make_request(n) for n in range(6)]
    output = write(tmp_path / "output.jsonl", [batch_line(one) for one in requests[:3]])
    errors = write(
        tmp_path / "errors.jsonl",
        [refused_line(requests[3]), refused_line(requests[4], 429), expired_line(requests[5])],
    )
    tally: Counter[str] = Counter()
    entries = list(read_recorded([output, errors], tally))
    assert [completion(entry) is not None for entry in entries] == [True] * 3 + [False] * 3
    assert [failure_code(entry) for entry in entries[3:]] == ["400", "429", "batch_expired"]
    assert tally == {"answers": 3, "errors": 3}


def test_duplicates_are_left_out_counted_and_told(tmp_path: Path, caplog) -> None:
    first = write(tmp_path / "1.jsonl", [batch_line(make_request(1), content="first")])
    second = write(
        tmp_path / "2.jsonl",
        [batch_line(make_request(1), content="second"), batch_line(make_request(2))],
    )
    tally: Counter[str] = Counter()
    entries = list(read_recorded([first, second], tally))
    assert [entry["custom_id"] for entry in entries] == ["id-00001", "id-00002"]
    assert completion(entries[0])["choices"][0]["message"]["content"] == "first"
    assert tally["duplicates"] == 1
    assert f"{second}: 1 lines for ids that were already answered" in caplog.text


def test_an_answer_after_an_error_is_no_duplicate(tmp_path: Path) -> None:
    lines = [expired_line(make_request(1)), batch_line(make_request(1))]
    tally: Counter[str] = Counter()
    assert len(list(read_recorded([write(tmp_path / "1.jsonl", lines)], tally))) == 2
    assert tally == {"answers": 1, "errors": 1}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"custom_id": "private', "no valid JSON"),
        ("[1]", "custom_id is missing"),
        ('{"id": "private"}', "custom_id is missing"),
        (json.dumps(make_request(1)), "is this a request file"),
    ],
)
def test_a_broken_line_is_named_without_its_text(tmp_path: Path, line: str, why: str) -> None:
    path = write(tmp_path / "output.jsonl", [batch_line(make_request(0))])
    path.write_text(path.read_text("utf-8") + f"\n{line}\n", "utf-8")
    with pytest.raises(ValueError, match=f"output.jsonl, line 3: .*{why}") as caught:
        list(read_recorded([path]))
    assert "private" not in str(caught.value)


def test_a_line_separator_inside_a_text_is_no_line_end(tmp_path: Path) -> None:
    line = batch_line(make_request(1), content="one\u2028two\u0085three")
    path = tmp_path / "output.jsonl"
    path.write_text(json.dumps(line, ensure_ascii=False) + "\n", "utf-8-sig")
    (entry,) = read_recorded([path])
    assert completion(entry)["choices"][0]["message"]["content"] == "one\u2028two\u0085three"


@pytest.mark.parametrize(
    ("asked", "echoed", "same"),
    [
        ("gpt-4o-mini", "gpt-4o-mini", True),
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", True),
        ("gpt-4-turbo", "gpt-4-turbo-0125", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("llama3.2", "llama3.2:latest", True),
        ("/models/base", "/models/base@main", True),
        ("gpt-4o-mini", "gpt-4o", False),
    ],
)
def test_snapshots_of_a_model_are_that_model(asked: str, echoed: str, same: bool) -> None:
    assert same_model(asked, echoed) is same


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"custom_id": ""}, "without custom_id"),
        ({"url": "/v1/embeddings"}, "id-00001: url"),
        ({"body": {"messages": [{}]}}, "id-00001: body.model"),
        ({"body": {"model": "m", "messages": []}}, "id-00001: body.messages"),
    ],
)
def test_a_malformed_request_is_named(change: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_request({**make_request(1), **change})


def test_importing_the_client_is_light() -> None:
    code = "import sys, mental_slm.openai_client; print(*sys.modules)"
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"openai", "httpx2", "tenacity", "tqdm", "pandas", "kedro", "torch"}
    assert not heavy & set(seen)
