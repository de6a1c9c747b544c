"""Numbers brought back from a phone: the script that takes them, and what refuses them.

There is no phone here. ``adb`` is a stand-in that does what adb does (pushes files, runs shell
commands) with a folder of this machine in the phone's place; llama-bench and the vendor's runner
print what the real ones print.
"""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mental_slm.device_results import DeviceResultsRefused, compare_results, read_results

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "src/mental_slm/pipelines/deployment/measure.sh"
ANCHORS = yaml.safe_load((ROOT / "conf/base/device_anchors.yml").read_text("utf-8"))

ADB = """#!/bin/sh
case "$1" in
  get-state) echo device ;;
  push) target=$(echo "$3" | sed "s#^/data#$PHONE/data#"); mkdir -p "$(dirname "$target")"; cp -r "$2" "$target" ;;
  shell) command=$(echo "$2" | sed "s#/data/local#$PHONE/data/local#g")
         PATH="$PHONE/bin:$PATH" sh -c "$command" | sed 's/$/\\r/' ;;
esac
"""
GETPROP = """#!/bin/sh
case "$1" in
  ro.product.manufacturer) echo samsung ;; ro.product.model) echo SM-S931B ;;
  ro.soc.model) echo SM8750 ;; ro.build.version.release) echo 16 ;;
esac
"""
DUMPSYS = "#!/bin/sh\necho '  temperature: 281'\n"
BENCH = """#!/bin/sh
sleep 0.3
cat <<'END'
[
  {"build_commit": "b1a2c3d", "model_type": "llama 135M Q8_0", "n_threads": 4, "n_prompt": 128,
   "n_gen": 0, "avg_ts": 900.5, "stddev_ts": 3.1, "samples_ts": [899.0, 901.0, 901.5]},
  {"build_commit": "b1a2c3d", "model_type": "llama 135M Q8_0", "n_threads": 4, "n_prompt": 0,
   "n_gen": 64, "avg_ts": 120.25, "stddev_ts": 1.5, "samples_ts": [119.0, 120.0, 121.75]}
]
END
"""
NET_RUN = "#!/bin/sh\necho 'Total throughput: 310.5 infs/sec'\n"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "gguf").mkdir(parents=True)
    (folder / "dlc" / "sm8750").mkdir(parents=True)
    (folder / "gguf" / "model-q8_0.gguf").write_bytes(b"GGUF" + bytes(1000))
    (folder / "dlc" / "sm8750" / "decode_0.dlc").write_bytes(b"PK")
    files = {
        file.relative_to(folder).as_posix(): {
            "bytes": 150_000_000,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in folder.rglob("*.*")
        if file.is_file()
    }
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    shutil.copy(SCRIPT, folder / "measure.sh")
    return folder


@pytest.fixture
def measured(bundle, tmp_path) -> Path:
    phone, out = tmp_path / "phone", tmp_path / "results.json"
    program(phone / "bin" / "getprop", GETPROP)
    program(phone / "bin" / "dumpsys", DUMPSYS)
    environment = {
        **os.environ,
        "PHONE": str(phone),
        "ADB": str(program(tmp_path / "tools" / "adb", ADB)),
        "LLAMA_BENCH": str(program(tmp_path / "tools" / "llama-bench", BENCH)),
        "NET_RUN": str(program(tmp_path / "sdk" / "snpe-throughput-net-run", NET_RUN).parent),
    }
    done = subprocess.run(
        ["sh", str(bundle / "measure.sh"), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not (phone / "data/local/tmp/mental-slm").exists(), "it leaves the phone as it was"
    return out


def manifest(bundle: Path) -> dict:
    return json.loads((bundle / "manifest.json").read_text())


def test_what_the_script_brings_back_is_read_and_compared(measured, bundle) -> None:
    results = read_results(measured)
    assert results.device.model == "SM-S931B"
    assert results.battery_tenths_celsius_before == 281
    assert results.device.memory_kb and results.device.memory_kb > 1000
    assert results.gguf[0].peak_memory_kb and results.gguf[0].peak_memory_kb > 100
    table = compare_results(results, manifest(bundle), ANCHORS)
    # 120.25 tokens/s times 0.15 GB
    assert "| cpu | gguf/model-q8_0.gguf | 900.5 | 120.2 | 18.0 |" in table
    assert "310.5 runs of the graph/s" in table
    assert (
        "| Galaxy S25 | npu | Llama-3.2-3B | w4a16 (Genie) | 4096 | 728 | 26.5 | hub_models |"
        in table
    )
    assert "qai-hub-models 0.65" in table


def test_without_a_tool_the_script_says_which(bundle) -> None:
    done = subprocess.run(
        ["sh", str(bundle / "measure.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "set LLAMA_BENCH or NET_RUN" in done.stderr


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("format",), "other 7", "format: Input should be"),
        (("gguf", 0, "rows", 0, "avg_ts"), -3, r"gguf.0.rows.0.avg_ts: Input should be greater"),
        (("gguf", 0, "rows", 1, "avg_ts"), float("nan"), r"rows.1.avg_ts: .*finite"),
        (("gguf", 0, "sha256"), "abc", r"gguf.0.sha256: String should match"),
        (("device", "colour"), "blue", r"device.colour: Extra inputs"),
        (("npu", 0, "runs_per_s"), 0, r"npu.0.runs_per_s: Input should be greater"),
    ],
)
def test_impossible_values_are_named(path, value, told, measured) -> None:
    content = json.loads(measured.read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    measured.write_text(json.dumps(content))
    with pytest.raises(DeviceResultsRefused, match=told):
        read_results(measured)


def test_other_files_and_impossible_speeds_are_refused(measured, bundle) -> None:
    known = manifest(bundle)
    name = "gguf/model-q8_0.gguf"
    results = read_results(measured)
    other = {"files": {**known["files"], name: {**known["files"][name], "sha256": "0" * 64}}}
    with pytest.raises(DeviceResultsRefused, match="measured with other bytes"):
        compare_results(results, other, ANCHORS)
    with pytest.raises(DeviceResultsRefused, match="not in this environment's bundle"):
        compare_results(results, {"files": {}}, ANCHORS)
    huge = {"files": {**known["files"], name: {**known["files"][name], "bytes": 10**9}}}
    with pytest.raises(DeviceResultsRefused, match="would read 120 GB of weights per second"):
        compare_results(results, huge, ANCHORS)


def test_no_file_and_no_json(tmp_path) -> None:
    with pytest.raises(DeviceResultsRefused, match="a bundle's measure.sh makes it"):
        read_results(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"format": ')
    with pytest.raises(DeviceResultsRefused, match=r"cut.json: no JSON"):
        read_results(tmp_path / "cut.json")
