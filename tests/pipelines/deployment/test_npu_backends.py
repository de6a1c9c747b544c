"""Containers from both back ends; vendor code that crashes, hangs or is not there."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mental_slm.datasets import DLCDataset
from mental_slm.datasets.dlc import describe_container
from mental_slm.pipelines.deployment.npu import backends
from mental_slm.pipelines.deployment.npu.backends import Job, missing_for, sdk_commands
from mental_slm.pipelines.deployment.npu.child import VendorStepFailed, run_command, run_worker
from mental_slm.pipelines.deployment.npu.nodes import convert_to_dlc
from mental_slm.pipelines.deployment.parity import ParityBroken

needs_qnn = [
    pytest.mark.optional,
    pytest.mark.skipif(
        importlib.util.find_spec("onnxruntime_qnn") is None
        or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
        reason="extra qualcomm, Linux x86-64",
    ),
]

# It stands for the vendor's SDK, which cannot be had here: it takes the same arguments, records
# them with the folder it runs in, and writes the output file that the next tool reads.
FAKE_TOOL = """#!{python}
import json, os, pathlib, sys
arguments = sys.argv[1:]
options = dict(zip(arguments, arguments[1:]))
given = options.get("--input_network") or options["--input_dlc"]
assert pathlib.Path(given).is_file(), given
assert pathlib.Path(options.get("--input_list", given)).is_file()
made = options.get("--output_path") or options["--output_dlc"]
pathlib.Path(made).write_bytes(pathlib.Path({container!r}).read_bytes())
with open({record!r}, "a") as file:
    name = os.path.basename(sys.argv[0])
    file.write(json.dumps([os.getcwd(), name, *arguments]) + "\\n")
"""


@pytest.fixture
def job(npu_line, options, tmp_path: Path) -> Job:
    target = tmp_path / "target"
    target.mkdir()
    return Job(
        static=npu_line.static.path,
        quantised=npu_line.quantised.path,
        calibration=npu_line.workspace / "calibration" / "made",
        target=target,
        logs=tmp_path / "logs",
        options=options.npu,
    )


@pytest.fixture
def convert(npu_line, options, one_thread, make_pairs, tmp_path: Path):
    """Run the node with some options changed, in a workspace of its own."""
    workspace = tmp_path / "work"
    workspace.mkdir()
    (workspace / "calibration").symlink_to(npu_line.workspace / "calibration")

    def run(**changed):
        npu = options.npu.model_copy(update=changed)
        return convert_to_dlc(
            npu_line.static,
            npu_line.quantised,
            npu_line.report,
            npu_line.model,
            make_pairs(10, "test"),
            options.model_copy(update={"npu": npu}),
            one_thread,
            workspace,
        )

    return run


@pytest.fixture
def install_sdk(tmp_path: Path, monkeypatch):
    """Return a way to put fake tools of a container on PATH; it returns the record of calls."""

    def install(tools: str) -> Path:
        folder, record = tmp_path / "sdk", tmp_path / "calls.jsonl"
        folder.mkdir()
        container = tmp_path / "any.dlc"
        container.write_bytes(_empty_container())
        for name in backends.SDK_TOOLS[tools]:
            text = FAKE_TOOL.format(
                python=sys.executable, container=str(container), record=str(record)
            )
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return record

    return install


def _empty_container() -> bytes:
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("model", b"x")
        archive.writestr("dlc.metadata2.3.0", b"{}")
    return content.getvalue()


@pytest.mark.parametrize("scheme", ["a16w8", "a16w4"])
def test_command_lines_of_the_sdk(scheme: str, job: Job) -> None:
    job = replace(job, options=job.options.model_copy(update={"scheme": scheme}))
    commands = sdk_commands(job, "S", "C", "T")
    assert len(commands) == 3 * 4
    bits, packed = ("4", ["--pack_4_bit_weights"]) if scheme == "a16w4" else ("8", [])
    assert commands[:3] == [
        (
            "T",
            "qairt-converter --input_network S/part0_prompt.onnx "
            "--output_path T/part0_prompt.float.dlc".split(),
        ),
        (
            "C/part0_prompt",
            [
                *f"qairt-quantizer --act_bitwidth 16 --weights_bitwidth {bits} --bias_bitwidth 32 "
                "--act_quantizer_calibration min-max --act_quantizer_schema asymmetric "
                "--param_quantizer_calibration min-max --param_quantizer_schema symmetric "
                "--use_per_channel_quantization --use_per_row_quantization".split(),
                *packed,
                *"--input_list input_list.txt --input_dlc T/part0_prompt.float.dlc "
                "--output_dlc T/part0_prompt.dlc".split(),
            ],
        ),
        (
            "T",
            "snpe-dlc-graph-prepare --htp_socs sm8750 --input_dlc T/part0_prompt.dlc "
            "--output_dlc T/sm8750/part0_prompt.dlc".split(),
        ),
    ]


def test_command_lines_of_the_older_tools(job: Job) -> None:
    options = job.options.model_copy(update={"sdk_tools": "snpe", "scheme": "a8w8"})
    commands = [
        command for _, command in sdk_commands(replace(job, options=options), "S", "C", "T")
    ]
    assert commands[0][0] == "snpe-onnx-to-dlc"
    assert (
        commands[1]
        == (
            "snpe-dlc-quantize --act_bitwidth 8 --weights_bitwidth 8 --bias_bitwidth 32 "
            "--use_per_channel_quantization --input_list input_list.txt "
            "--input_dlc T/part0_prompt.float.dlc --output_dlc T/part0_prompt.dlc"
        ).split()
    )


@pytest.mark.parametrize("tools", ["qairt", "snpe"])
def test_an_sdk_on_path_is_run(tools: str, convert, install_sdk, npu_line, tmp_path) -> None:
    record = install_sdk(tools)
    dlc, report = convert(backend="qairt-sdk", sdk_tools=tools, soc=["sm8750", "sm8650"])
    assert not dlc.skipped_because
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    assert [call[1] for call in calls[:4]] == [
        *backends.SDK_TOOLS[tools],
        "snpe-dlc-graph-prepare",
    ]
    assert len(calls) == 4 * 4
    calibration = npu_line.workspace / "calibration" / "made"
    assert Path(calls[1][0]) == (calibration / "part0_prompt").resolve()
    assert {path.relative_to(dlc.path).as_posix() for path in dlc.path.rglob("*.dlc")} == {
        f"{soc}part{part}_{kind}.dlc"
        for soc in ("", "sm8750/", "sm8650/")
        for part in (0, 1)
        for kind in ("prompt", "decode")
    }
    assert report["rows"] == npu_line.report["rows"], "nothing is emulated"


def test_the_script_gives_the_same_commands(convert, install_sdk, npu_line, tmp_path) -> None:
    """Without the SDK a script is written; run later with the SDK, it does what the node does."""
    dlc, _ = convert(backend="qairt-sdk")
    assert dlc.skipped_because == (
        "not run: qairt-converter, qairt-quantizer, snpe-dlc-graph-prepare not on PATH; "
        "convert.sh is ready."
    )
    assert not list(dlc.path.rglob("*.dlc"))
    dataset = DLCDataset(filepath=tmp_path / "published", made_by="deployment")
    dataset.save(dlc)
    published = dataset.load().path
    record = install_sdk("qairt")
    places = {
        "STATIC": str(npu_line.static.path),
        "CALIBRATION": str(npu_line.workspace / "calibration" / "made"),
    }
    done = subprocess.run(
        ["sh", str(published / "convert.sh")],
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    from_script = record.read_text().replace(str(published), "T")
    record.unlink()
    again, _ = convert(backend="qairt-sdk")
    calibration = str((npu_line.workspace / "calibration").resolve())
    assert from_script == record.read_text().replace(str(again.path), "T").replace(
        str(again.path.parents[1] / "calibration"), calibration
    )
    lost = subprocess.run(["sh", str(published / "convert.sh")], capture_output=True, check=False)
    assert b"folder of the float graphs" in lost.stderr


def test_what_is_missing_is_one_sentence(options, monkeypatch, convert, caplog) -> None:
    npu = options.npu
    with monkeypatch.context() as patched:
        patched.setattr(platform, "machine", lambda: "aarch64")
        assert missing_for(npu) == (
            "onnxruntime-qnn makes containers on Linux x86-64 only, this is Linux aarch64."
        )
    with monkeypatch.context() as patched:
        patched.setattr(platform, "machine", lambda: "x86_64")
        patched.setattr(platform, "system", lambda: "Linux")
        patched.setattr(importlib.util, "find_spec", lambda name: None)
        missing = "onnxruntime-qnn is not installed: pip install 'mental-slm[qualcomm]'."
        assert missing_for(npu) == missing
    monkeypatch.setattr(backends, "missing_for", lambda _: missing)
    dlc, report = convert()
    assert dlc.skipped_because == missing
    assert caplog.text.count("No container for sm8750: onnxruntime-qnn is not installed") == 1
    assert len(report["rows"]) == 2


def test_no_back_end_is_a_choice(convert) -> None:
    dlc, _ = convert(backend="none")
    assert dlc.skipped_because == "deployment.npu.backend is none."


CRASH = "import ctypes; ctypes.string_at(0)"
HANG = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)"
)


def test_a_crash_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(VendorStepFailed, match=r"prepare x: crashed .*\(SIGSEGV\). Log: .*log"):
        run_command("prepare x", [sys.executable, "-c", CRASH], tmp_path / "log", 60)


def test_a_hang_is_stopped_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(VendorStepFailed, match=r"prepare x: no end after 3 s, stopped"):
        run_command("prepare x", [sys.executable, "-c", HANG], tmp_path / "log", 3)
    grandchild = Path(f"/proc/{int((tmp_path / 'log').read_text())}")
    deadline = time.monotonic() + 20
    while _runs(grandchild) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(grandchild)


def _runs(process: Path) -> bool:
    try:
        return process.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_error_comes_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(VendorStepFailed, match=r"(?s)convert x: failed with code 1.*No such file"):
        config = {"task": "convert", "graph": "none", "target": "/no/such/folder/x.dlc"}
        run_worker("convert x", config, tmp_path, 60)


@pytest.fixture(scope="module")
def make_dlc(npu_line, options, one_thread, make_pairs):
    """Return a way to run the node in a workspace."""

    def make(workspace: Path):
        return convert_to_dlc(
            npu_line.static,
            npu_line.quantised,
            npu_line.report,
            npu_line.model,
            make_pairs(10, "test"),
            options,
            one_thread,
            workspace,
        )

    return make


@pytest.fixture(scope="module")
def made(npu_line, make_dlc):
    return make_dlc(npu_line.workspace)


class TestOrtQnn:
    pytestmark = needs_qnn

    def test_containers_and_contexts_of_every_graph(self, made, npu_line, tmp_path) -> None:
        dlc, _ = made
        for graph in ("part0_prompt", "part0_decode", "part1_prompt", "part1_decode"):
            assert describe_container(dlc.path / f"{graph}.dlc")["kind"] == "ir"
            prepared = describe_container(dlc.path / "sm8750" / f"{graph}.dlc")
            (cache,) = prepared["caches"]
            assert (cache["name"], cache["soc_model"], cache["dsp_arch"]) == (
                "htp.cache.sm8750.0",
                69,
                79,
            )
            assert (dlc.path / "sm8750" / f"{graph}_qnn.bin").stat().st_size > 1e5
        assert "logits: float_32[1, 1, 1, 49152]" in cache["graphs"][0]["outputs"]
        assert "past_key_1: float_32[1, 2, 16, 63]" in cache["graphs"][0]["inputs"]
        manifest = json.loads((dlc.path / "manifest.json").read_text())
        stamp = manifest["stamps"]["sm8750/part1_decode"]
        assert ":79:69:" in stamp["ep_compatibility_info.QNNExecutionProvider"]
        assert manifest["soc"] == {"sm8750": {"soc_model": 69, "htp_arch": 79}}
        assert str(npu_line.workspace) not in json.dumps(manifest)
        dataset = DLCDataset(filepath=tmp_path / "published", made_by="deployment")
        dataset.save(dlc)
        assert dataset.load() == dlc.at(tmp_path / "published")

    def test_emulation_agrees_with_the_quantised_graphs(self, made) -> None:
        _, report = made
        rows = report["rows"][-2:]
        assert [row["against"] for row in rows] == ["QDQ a16w8", "static fp32"]
        for row in rows:
            assert row["step"] == "HTP emulation sm8750"
            assert row["tokens"] == 18
            assert row["cosine"] > 0.999
            assert row["kl_share"] < 0.01
        assert report["gates"][-1]["gate"] == "emulated_min_cosine"

    def test_finished_containers_are_used_again(self, made, make_dlc, npu_line, caplog) -> None:
        before = {path: path.stat().st_mtime_ns for path in made[0].path.rglob("*.dlc")}
        caplog.set_level("INFO")
        again, report = make_dlc(npu_line.workspace)
        assert again == made[0]
        assert {path: path.stat().st_mtime_ns for path in again.path.rglob("*.dlc")} == before
        assert "containers (ort-qnn): re-using the result" in caplog.text
        assert report["rows"] == made[1]["rows"], "the emulator is exact"

    def test_other_weights_break_the_gate(self, made, make_dlc, npu_line, tmp_path: Path) -> None:
        """Containers that compute something else than the quantised graphs are put aside."""
        workspace = Path(shutil.copytree(npu_line.workspace, tmp_path / "work"))
        contexts = workspace / "dlc_a16w8" / "made" / "sm8750"
        for kind in ("prompt", "decode"):
            path = contexts / f"part0_{kind}_qnn.bin"
            path.write_bytes(_zeroed(path))
        with pytest.raises((ParityBroken, VendorStepFailed), match="emulat"):
            make_dlc(workspace)


def _zeroed(path: Path) -> bytes:
    """Return a compiled graph with most of its weights set to zero."""
    whole = bytearray(path.read_bytes())
    start, end = len(whole) // 4, len(whole) * 3 // 4
    whole[start:end] = bytes(end - start)
    return bytes(whole)
