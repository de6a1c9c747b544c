import json
from pathlib import Path

import pytest
from kedro.io import DatasetError
from killing import kill_at_every_step

from mental_slm.datasets import ChatJSONLDataset
from mental_slm.datasets.chat_jsonl import read_jsonl, write_jsonl

BATCH_REQUEST = {
    "custom_id": "0123456789abcdef",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {
        "model": "teacher",
        "messages": [{"role": "user", "content": "Grüße \u2028 \\ \n 🙂"}],
    },
}


@pytest.fixture
def dataset(tmp_path: Path) -> ChatJSONLDataset:
    return ChatJSONLDataset(filepath=tmp_path / "rows.jsonl", made_by="augmentation")


def test_rows_come_back_as_they_were(dataset: ChatJSONLDataset, make_pairs) -> None:
    rows = [*make_pairs(10), BATCH_REQUEST, {"z": None, "a": [1.5, True]}]
    dataset.save(rows)
    assert dataset.load() == rows
    assert list(dataset.load()[-1]) == ["z", "a"], "keys keep their order"


def test_equal_rows_give_equal_bytes(tmp_path: Path, dataset: ChatJSONLDataset) -> None:
    dataset.save([BATCH_REQUEST, {"b": 1, "a": 2}])
    first = (tmp_path / "rows.jsonl").read_bytes()
    dataset.save(dataset.load())
    assert (tmp_path / "rows.jsonl").read_bytes() == first
    assert first.endswith(b'\n{"b": 1, "a": 2}\n')
    assert "Grüße \u2028".encode() in first, "text is not escaped"
    assert first.count(b"\n") == 2


def test_no_rows(dataset: ChatJSONLDataset, tmp_path: Path) -> None:
    dataset.save([])
    assert (tmp_path / "rows.jsonl").read_bytes() == b""
    assert dataset.load() == []


def test_rows_stream_both_ways(tmp_path: Path) -> None:
    def rows():
        for number in range(3):
            yield {"n": number}
            # the rows before this one are on their way to the disk, not in a list
            assert not (tmp_path / "a.jsonl").exists()

    write_jsonl(tmp_path / "a.jsonl", rows())
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"broken")
    reading = read_jsonl(tmp_path / "a.jsonl")
    assert [next(reading) for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    with pytest.raises(ValueError, match="line 4"):
        next(reading)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"secret": "my post', "no valid JSON"),
        (b'["secret my post"]', "a JSON object is needed, this is a list"),
        (b'{"secret": "my post \xff"}', "UTF-8"),
    ],
)
def test_a_broken_line_is_named_without_its_text(
    dataset: ChatJSONLDataset, tmp_path: Path, line: bytes, words: str
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(DatasetError, match=f"rows.jsonl, line 3: .*{words}") as caught:
        dataset.load()
    assert "my post" not in str(caught.value)


def test_files_from_other_systems(dataset: ChatJSONLDataset, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}')
    assert dataset.load() == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"a": float("nan")}, "not JSON compliant"),
        ({"a": {1, 2}}, "not JSON serializable"),
        ({"a": "\ud83d"}, "surrogate"),
        (["a"], "a dict is needed"),
    ],
)
def test_a_row_that_is_no_json_is_named_and_changes_nothing(
    dataset: ChatJSONLDataset, row: object, words: str
) -> None:
    dataset.save([{"a": 1}])
    with pytest.raises(DatasetError, match=f"row 1: .*{words}"):
        dataset.save([{"a": 2}, row])
    assert dataset.load() == [{"a": 1}]


def test_a_missing_file_says_what_to_run(dataset: ChatJSONLDataset) -> None:
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="rows.jsonl: .*kedro run --pipelines augmentation"):
        dataset.load()
    assert "kedro run --pipelines augmentation" in json.loads(dataset.preview())[0]


def test_preview_reads_the_first_rows_only(dataset: ChatJSONLDataset, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": 2}\nbroken')
    assert json.loads(dataset.preview(nrows=2)) == [{"a": 1}, {"a": 2}]


def test_killed_at_every_step(dataset: ChatJSONLDataset) -> None:
    old, new = [{"a": "old"}] * 99, [{"a": "new"}] * 99
    dataset.save(old)
    seen = kill_at_every_step(lambda: dataset.save(new), dataset.load)
    assert old in seen
    assert new in seen
    assert all(rows in (old, new) for rows in seen)
