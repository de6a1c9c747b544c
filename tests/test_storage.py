"""Files and folders are old or new, whatever happens while they are written."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from killing import die, kill_at_every_step, run_killed

from mental_slm import storage
from mental_slm.storage import (
    atomic_folder,
    atomic_path,
    publish_folder,
    recover_folder,
    settled,
    write_text,
)


def make_folder(folder: Path, text: str, files: int = 3) -> Path:
    (folder / "inner").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        (folder / f"{number}.txt").write_text(text)
    (folder / "inner" / "deep.txt").write_text(text)
    return folder


def texts(folder: Path) -> set[str]:
    """Return the texts in a folder; a whole one has four files with the same text."""
    found = [path.read_text() for path in folder.rglob("*.txt")]
    assert len(found) == 4, sorted(folder.rglob("*"))
    return set(found)


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith((".tmp", ".incoming"))]


class TestFiles:
    def test_writes_utf8_with_plain_line_ends(self, tmp_path: Path) -> None:
        write_text(tmp_path / "new" / "a.txt", "äöü\n\u2028\r\n")
        assert (tmp_path / "new" / "a.txt").read_bytes() == "äöü\n\u2028\r\n".encode()

    def test_an_error_leaves_the_old_file_and_no_litter(self, tmp_path: Path) -> None:
        write_text(tmp_path / "a", "old")
        with pytest.raises(RuntimeError, match="on the way"), atomic_path(tmp_path / "a") as new:
            new.write_text("half")
            raise RuntimeError("on the way")
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert (tmp_path / "a").read_text() == "old"

    def test_killed_at_every_step(self, tmp_path: Path) -> None:
        target = tmp_path / "a"
        write_text(target, "old" * 9999)

        def save() -> None:
            write_text(target, "new" * 9999)

        seen = kill_at_every_step(save, target.read_text)
        assert set(seen) == {"old" * 9999, "new" * 9999}

    def test_killed_halfway_through_the_bytes(self, tmp_path: Path) -> None:
        target = tmp_path / "a"
        write_text(target, "old")

        def save() -> None:
            with atomic_path(target) as new, new.open("w") as file:
                file.write("half")
                file.flush()
                die()

        assert run_killed(save, 10**6)
        assert target.read_text() == "old"
        assert temporaries(tmp_path), "the kill came too early to prove anything"

    def test_two_writers_never_share_a_temporary_file(self, tmp_path: Path) -> None:
        with atomic_path(tmp_path / "a") as one, atomic_path(tmp_path / "a") as other:
            one.write_text("one")
            other.write_text("other")
        assert (tmp_path / "a").read_text() == "one"

    def test_old_leftovers_are_swept_and_fresh_ones_kept(self, tmp_path: Path) -> None:
        old, fresh = tmp_path / ".a.01234567.tmp", tmp_path / ".a.89abcdef.tmp"
        other = tmp_path / ".a.b.01234567.tmp"
        for path in (old, fresh, other):
            path.write_text("half")
        for path in (old, other):
            os.utime(path, (time.time() - 2 * storage.LEFTOVER_SECONDS,) * 2)
        write_text(tmp_path / "a", "new")
        assert not old.exists()
        assert fresh.exists()
        assert other.exists(), "belongs to the file a.b"


class TestFolders:
    def test_publishes_and_replaces(self, tmp_path: Path) -> None:
        for text in ("old", "new"):
            publish_folder(make_folder(tmp_path / "work", text), tmp_path / "out" / "model")
            assert texts(tmp_path / "out" / "model") == {text}
        assert not temporaries(tmp_path / "out")

    def test_files_that_are_gone_in_the_source_are_gone_in_the_copy(self, tmp_path: Path) -> None:
        source, target = make_folder(tmp_path / "work", "a", files=5), tmp_path / "model"
        publish_folder(source, target)
        (source / "4.txt").unlink()
        publish_folder(source, target)
        assert not (target / "4.txt").exists()

    def test_large_files_are_linked_and_small_ones_copied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage, "LINKED_FROM_BYTES", 10)
        source, target = tmp_path / "work", tmp_path / "model"
        source.mkdir()
        (source / "weights").write_text("0123456789")
        (source / "config").write_text("old")
        publish_folder(source, target)
        assert (target / "weights").samefile(source / "weights")
        (source / "config").write_text("new")  # in place, as libraries do
        assert (target / "config").read_text() == "old"

    def test_links_become_what_they_point_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The Hugging Face cache is made of relative links."""
        monkeypatch.setattr(storage, "LINKED_FROM_BYTES", 0)
        (tmp_path / "blobs").mkdir()
        (tmp_path / "blobs" / "1").write_text("weights")
        (tmp_path / "snapshot").mkdir()
        (tmp_path / "snapshot" / "model").symlink_to("../blobs/1")
        publish_folder(tmp_path / "snapshot", tmp_path / "far" / "away" / "model")
        copy = tmp_path / "far" / "away" / "model" / "model"
        assert copy.read_text() == "weights"
        assert not copy.is_symlink()

    def test_copies_where_links_are_impossible(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError("no hard links here")

        monkeypatch.setattr(storage, "LINKED_FROM_BYTES", 0)
        monkeypatch.setattr(os, "link", refuse)
        publish_folder(make_folder(tmp_path / "work", "a"), tmp_path / "model")
        assert texts(tmp_path / "model") == {"a"}

    def test_notes_replace_what_lies_there_and_leave_the_source(self, tmp_path: Path) -> None:
        source = make_folder(tmp_path / "work", "a")
        publish_folder(source, tmp_path / "model", {"0.txt": "note"})
        assert (tmp_path / "model" / "0.txt").read_text() == "note"
        assert texts(source) == {"a"}

    def test_a_folder_may_be_published_onto_itself(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "model", "a")
        publish_folder(folder, folder)
        assert texts(folder) == {"a"}

    def test_a_link_in_the_place_of_the_target_is_replaced_twice(self, tmp_path: Path) -> None:
        elsewhere = make_folder(tmp_path / "disk2", "elsewhere")
        (tmp_path / "model").symlink_to(elsewhere)
        for text in ("one", "two"):
            publish_folder(make_folder(tmp_path / "work", text), tmp_path / "model")
        assert texts(tmp_path / "model") == {"two"}
        assert texts(elsewhere) == {"elsewhere"}

    @pytest.mark.parametrize(("source", "target"), [("a/work", "a"), ("a", "a/out")])
    def test_refuses_one_inside_the_other(self, tmp_path: Path, source: str, target: str) -> None:
        make_folder(tmp_path / source, "a")
        with pytest.raises(ValueError, match="inside the other"):
            publish_folder(tmp_path / source, tmp_path / target)
        assert texts(tmp_path / source) == {"a"}

    def test_refuses_a_missing_source(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nothing to publish"):
            publish_folder(tmp_path / "none", tmp_path / "model")

    def test_an_error_leaves_the_old_folder_and_no_litter(self, tmp_path: Path) -> None:
        publish_folder(make_folder(tmp_path / "work", "old"), tmp_path / "out" / "model")
        with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out" / "model") as new:
            (new / "0.txt").write_text("half")
            raise RuntimeError
        assert texts(tmp_path / "out" / "model") == {"old"}
        assert not temporaries(tmp_path / "out")

    def test_an_error_between_the_renames_puts_the_old_folder_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "out" / "model"
        publish_folder(make_folder(tmp_path / "work", "old"), target)
        real = os.rename

        def fail_once(source: Path, destination: Path) -> None:
            if source.name.endswith(".incoming") and destination == target:
                raise OSError("disk error")
            real(source, destination)

        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk error"):
            patch.setattr(os, "rename", fail_once)
            publish_folder(make_folder(tmp_path / "work", "new"), target)
        assert texts(target) == {"old"}

    def test_killed_at_every_step(self, tmp_path: Path) -> None:
        source, target = tmp_path / "work", tmp_path / "out" / "model"
        publish_folder(make_folder(source, "old"), target)
        make_folder(source, "new")

        def check() -> str:
            recover_folder(target)
            (text,) = texts(target)
            return text

        def save() -> None:
            publish_folder(source, target)

        # restoring the old state before each kill makes every step matter
        seen = []
        while True:
            publish_folder(make_folder(tmp_path / "first", "old"), target)
            if not run_killed(save, len(seen)):
                break
            seen.append(check())
        assert seen.count("old") > 10
        assert seen.count("new") > 2
        assert seen == sorted(seen, reverse=True), "old until the rename, new from then on"
        save()
        assert texts(target) == {"new"}
        assert not temporaries(target.parent)

    def test_a_removal_that_is_cut_short_never_comes_back(self, tmp_path: Path) -> None:
        """Killed while the old folder is removed; then a user deletes the new one."""
        source, target = tmp_path / "work", tmp_path / "out" / "model"
        step = 0
        while True:
            publish_folder(make_folder(tmp_path / "first", "old"), target)
            make_folder(source, "new")
            if not run_killed(lambda: publish_folder(source, target), step):
                break
            step += 1
            if target.exists() and texts(target) == {"new"}:
                for path in sorted(target.rglob("*"), reverse=True):
                    path.rmdir() if path.is_dir() else path.unlink()
                target.rmdir()
                recover_folder(target)
                assert not target.exists() or texts(target) == {"old"}

    def test_reads_in_a_read_only_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_folder(tmp_path / "model", "a")
        monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
        with settled(tmp_path / "model"):
            assert texts(tmp_path / "model") == {"a"}
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_asking_for_a_missing_folder_makes_nothing(self, tmp_path: Path) -> None:
        recover_folder(tmp_path / "none" / "model")
        assert not list(tmp_path.iterdir())


def _publish_often(sources: list[Path], target: Path, times: int) -> None:
    for number in range(times):
        publish_folder(sources[number % len(sources)], target)


class TestTwoProcesses:
    def test_a_reader_sees_old_or_new(self, tmp_path: Path) -> None:
        sources = [make_folder(tmp_path / text, text) for text in ("a", "b")]
        target = tmp_path / "out" / "model"
        publish_folder(sources[0], target)
        writer = multiprocessing.get_context("fork").Process(
            target=_publish_often, args=(sources, target, 60)
        )
        writer.start()
        seen = []
        while writer.is_alive():
            with settled(target):
                (text,) = texts(target)
            seen.append(text)
        assert writer.exitcode == 0
        assert set(seen) == {"a", "b"}

    def test_two_writers_leave_one_whole_folder(self, tmp_path: Path) -> None:
        target = tmp_path / "out" / "model"
        context = multiprocessing.get_context("fork")
        writers = [
            context.Process(
                target=_publish_often, args=([make_folder(tmp_path / text, text)], target, 25)
            )
            for text in ("a", "b")
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
            assert writer.exitcode == 0
        assert texts(target) in ({"a"}, {"b"})
        assert not temporaries(target.parent)

    def test_a_reader_sees_an_old_or_new_file(self, tmp_path: Path) -> None:
        target = tmp_path / "a"
        write_text(target, "0" * 10**6)

        def write_often() -> None:
            for number in range(60):
                write_text(target, str(number % 10) * 10**6)

        writer = multiprocessing.get_context("fork").Process(target=write_often)
        writer.start()
        seen = set()
        while writer.is_alive():
            text = target.read_text()
            assert len(text) == 10**6
            assert len(set(text)) == 1
            seen.add(text[0])
        assert writer.exitcode == 0
        assert len(seen) > 2
