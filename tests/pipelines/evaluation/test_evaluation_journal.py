import threading
from pathlib import Path

import pytest

from mental_slm.pipelines.evaluation.journal import AnswerKey, Journal, JournalledAnswer


def _answer(number: int) -> JournalledAnswer:
    key = AnswerKey(f"pair-{number}", "p", "m", "s")
    return JournalledAnswer(key, f"line one\nline \u2028 two {number}", "stop", 7, 0.5)


def test_answers_come_back_by_key(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "answers.jsonl")
    with journal.locked():
        assert journal.read() == {}
        journal.append([_answer(1), _answer(2)])
        journal.append([_answer(3)])
    assert journal.read() == {_answer(n).key: _answer(n) for n in (1, 2, 3)}


def test_a_line_cut_by_a_crash_is_removed_and_the_rest_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "answers.jsonl")
    journal.append([_answer(1), _answer(2)])
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-20])
    assert list(journal.read().values()) == [_answer(1)]
    assert "cut by a crash" in caplog.text
    journal.append([_answer(2)])
    assert journal.path.read_bytes() == content


@pytest.mark.parametrize("line", [b"{no json}", b'{"key": {}}', b"[]", b'{"text": "x"}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    journal = Journal(tmp_path / "answers.jsonl")
    journal.append([_answer(1)])
    with journal.path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl: line 2 is damaged; delete that line"):
        journal.read()


def test_a_second_run_waits_for_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "answers.jsonl"
    entered = threading.Event()

    def enter() -> None:
        with Journal(path).locked():
            entered.set()

    with Journal(path).locked():
        second = threading.Thread(target=enter)
        second.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    second.join()
    assert "waiting for another run" in caplog.text
