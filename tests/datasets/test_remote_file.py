import hashlib
import json
import multiprocessing
import pickle
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kedro.io import DatasetError

from mental_slm.datasets import remote_file
from mental_slm.datasets.remote_file import RemoteFileDataset, SourceFileError

CONTENT = b"text,label\r\nsome words,yes\r\n"
PAGE = b"<!DOCTYPE html><html><body>404</body></html>"
URL_PATH = "/owner/repo/c0ffee/data/file.csv"


class Server:
    """A loopback web server that gives the queued answers, the last one for ever."""

    def __init__(self):
        self.answers = []
        self.asked = []
        self.stalls = None
        self.stalled = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                status, body, length = (
                    outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                )
                self.send_response(status)
                self.send_header("Content-Length", str(length or len(body)))
                self.end_headers()
                self.wfile.write(body)
                if outer.stalls:  # the rest of the file never comes
                    self.wfile.flush()
                    outer.stalled.set()
                    outer.stalls.wait()

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, body, status=200, length=None):
        self.answers.append((status, body, length))


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch):
    monkeypatch.delenv("MENTAL_SLM_MIRROR", raising=False)


def facts(**changes):
    return {
        "repository": "owner/repo",
        "commit": "c0ffee",
        "file": "data/file.csv",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "bytes": len(CONTENT),
        "rows": 1,
        "licence": "CC0-1.0",
        **changes,
    }


def dataset(tmp_path, base_url="http://127.0.0.1:9", **changes):
    return RemoteFileDataset(
        filepath=str(tmp_path / "raw" / "file.csv"), source=facts(**changes), base_url=base_url
    )


def in_project(tmp_path, content):
    path = tmp_path / "raw" / "file.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_load_touches_neither_disk_nor_network(tmp_path, server):
    server.answer(CONTENT)
    handle = dataset(tmp_path, server.url).load()
    assert handle.name == "file.csv" and handle.source.rows == 1
    assert server.asked == [] and list(tmp_path.iterdir()) == []


def test_fetch_downloads_once_and_keeps_the_file(tmp_path, server):
    server.answer(CONTENT)
    handle = dataset(tmp_path, server.url).load()
    assert handle.fetch().read_bytes() == CONTENT
    assert handle.fetch() == tmp_path / "raw" / "file.csv"
    assert server.asked == [URL_PATH]


def test_the_handle_works_after_pickling(tmp_path):
    in_project(tmp_path, CONTENT)
    handle = pickle.loads(pickle.dumps(dataset(tmp_path).load()))
    assert handle.fetch().read_bytes() == CONTENT


def test_the_mirror_comes_first(tmp_path, monkeypatch):
    copy = tmp_path / "mirror" / "owner" / "repo" / "c0ffee" / "data" / "file.csv"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CONTENT)
    in_project(tmp_path, b"damaged")
    monkeypatch.setenv("MENTAL_SLM_MIRROR", str(tmp_path / "mirror"))
    assert dataset(tmp_path).load().fetch() == copy


def test_a_broken_download_is_tried_again(tmp_path, server):
    server.answer(PAGE)
    server.answer(CONTENT)
    assert dataset(tmp_path, server.url).load().fetch().read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_download_that_is_killed_leaves_no_file_to_mistake_for_a_whole_one(tmp_path, server):
    server.answer(CONTENT[:10], length=len(CONTENT))
    server.stalls = threading.Event()
    handle = dataset(tmp_path, server.url).load()
    process = multiprocessing.get_context("fork").Process(target=handle.fetch)
    process.start()
    assert server.stalled.wait(timeout=30)
    process.kill()
    process.join()
    server.stalls.set()
    assert process.exitcode == -signal.SIGKILL
    assert not handle.filepath.exists() and handle.local_copy() is None
    server.stalls, server.answers = None, []
    server.answer(CONTENT)
    assert handle.fetch().read_bytes() == CONTENT


def test_a_wrong_download_is_refused_with_both_digests_and_a_place_for_the_right_file(
    tmp_path, server, monkeypatch
):
    monkeypatch.setattr(remote_file, "_RETRIES", 0)
    other = CONTENT.replace(b"yes", b"no!")
    server.answer(other)
    with pytest.raises(SourceFileError) as error:
        dataset(tmp_path, server.url).load().fetch()
    for part in (
        hashlib.sha256(other).hexdigest(),
        facts()["sha256"],
        f"put the file at {tmp_path / 'raw' / 'file.csv'}",
        "MENTAL_SLM_MIRROR",
        "owner/repo/c0ffee/data/file.csv",
    ):
        assert part in str(error.value)
    assert "some words" not in str(error.value)


def test_a_file_put_in_place_by_hand_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_file, "_RETRIES", 0)
    with pytest.raises(SourceFileError) as error:
        dataset(tmp_path, base_url="http://127.0.0.1:9").load().fetch()
    place = Path(re.search(r"put the file at (\S+),", str(error.value))[1])
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(CONTENT)
    assert dataset(tmp_path).load().fetch() == place


def test_a_mirror_that_is_no_folder_is_a_slip_and_no_reason_to_download(
    tmp_path, server, monkeypatch
):
    server.answer(CONTENT)
    monkeypatch.setenv("MENTAL_SLM_MIRROR", str(tmp_path / "miror"))
    with pytest.raises(SourceFileError, match=r"MENTAL_SLM_MIRROR is '.*miror'.*correct or unset"):
        dataset(tmp_path, server.url).load().fetch()
    assert server.asked == []


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "raw" / "file.csv"
    path.parent.mkdir()
    path.symlink_to("/proc/self/mem")  # a regular file whose first byte nobody may read
    with pytest.raises(SourceFileError, match="cannot be read") as error:
        dataset(tmp_path).load().fetch()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("body", "status", "length", "message"),
    [
        (PAGE, 200, None, "HTML page"),
        (PAGE, 404, None, "404"),
        (CONTENT[:10], 200, None, f"10 of {len(CONTENT)} bytes"),
        (CONTENT[:10], 200, len(CONTENT), "could not be fetched"),  # the connection breaks off
        (CONTENT.replace(b"yes", b"no!"), 200, None, "not the expected file"),
    ],
)
def test_a_bad_download_leaves_nothing_behind(
    tmp_path, server, monkeypatch, body, status, length, message
):
    monkeypatch.setattr(remote_file, "_RETRIES", 0)
    server.answer(body, status, length)
    with pytest.raises(SourceFileError, match=message) as error:
        dataset(tmp_path, server.url).load().fetch()
    assert str(tmp_path / "raw" / "file.csv") in str(error.value)  # where to put it by hand
    assert list((tmp_path / "raw").iterdir()) == []


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_file, "_RETRIES", 0)
    with pytest.raises(SourceFileError, match=r"Check the network.*MENTAL_SLM_MIRROR"):
        dataset(tmp_path).load().fetch()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n " + PAGE, "HTML page"),
        (b"\xef\xbb\xbf" + PAGE, "HTML page"),
        (CONTENT[:-5], f"{len(CONTENT) - 5} of {len(CONTENT)} bytes"),
    ],
)
def test_a_bad_local_file_is_refused(tmp_path, content, message):
    path = in_project(tmp_path, content)
    with pytest.raises(SourceFileError, match=message) as error:
        dataset(tmp_path).load().fetch()
    assert str(path) in str(error.value) and "delete it" in str(error.value)


def test_a_wrong_file_is_refused_with_both_digests(tmp_path):
    other = CONTENT.replace(b"yes", b"no!")
    path = in_project(tmp_path, other)
    with pytest.raises(SourceFileError) as error:
        dataset(tmp_path).load().fetch()
    for part in (hashlib.sha256(other).hexdigest(), facts()["sha256"], str(path), "delete it"):
        assert part in str(error.value)


def test_a_missing_sample_file_names_the_command(tmp_path):
    sample = dataset(tmp_path, repository=None, commit=None)
    with pytest.raises(SourceFileError, match=r"python -m mental_slm\.sample"):
        sample.load().fetch()


def test_a_git_object_id_verifies_too(tmp_path):
    path = in_project(tmp_path, CONTENT)
    blob = "fd038ec0ae188e26f5c3352333cf10d5ea334896"  # printed by `git hash-object` for CONTENT
    assert dataset(tmp_path, sha256=None, git_blob=blob).load().fetch() == path
    with pytest.raises(SourceFileError, match="not the expected file"):
        dataset(tmp_path, sha256=None, git_blob="0" * 40).load().fetch()


def test_exists_looks_for_a_local_copy(tmp_path):
    assert not dataset(tmp_path).exists()
    in_project(tmp_path, CONTENT)
    assert dataset(tmp_path).exists()


def test_save_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="read-only"):
        dataset(tmp_path).save("anything")


def test_the_preview_shows_facts_and_no_text(tmp_path):
    in_project(tmp_path, CONTENT)
    shown = dataset(tmp_path).preview()
    assert json.loads(shown)["licence"] == "CC0-1.0" and json.loads(shown)["at_hand"] is True
    assert "some words" not in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha265": "x"}, "sha265"),
        ({"bytes": 0}, "bytes"),
        ({"commit": None}, "go together"),
        ({"sha256": None}, "cannot be verified"),
    ],
)
def test_a_wrong_catalog_entry_is_refused_by_key(tmp_path, changes, message):
    with pytest.raises(DatasetError, match=message):
        dataset(tmp_path, **changes)
