"""Several real processes, over gloo on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mental_slm.training import launcher, worker
from mental_slm.training.batches import read_pairs
from mental_slm.training.config import read_config, share_rows
from mental_slm.training.launcher import TrainingFailed, explain_failure, launch

EXACT = {"compute": "float32", "learning_rate": 5e-3, "lora": {"r": 4, "dropout": 0.0}}


def log_of(config_file):
    lines = (config_file.parent / "training_log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_gloo_processes_equal_one(make_config, caplog):
    """Sums are added in another order: float32 rounding (1e-5 of a figure) is all that may differ.

    The rows do not divide evenly, and answers are of very different lengths, so that a mean of the
    processes' means would be far off.
    """
    caplog.set_level("INFO")
    options = {"max_steps": None, "num_epochs": 1.7, "eval_steps": 2, "save_steps": 2, **EXACT}
    one, two = (
        make_config(name, gradient_accumulation_steps=4, pairs=23, **options)
        for name in ("one", "two")
    )
    launch(one, 1)
    launch(two, 2)
    settings = read_config(two)
    rows = worker.lay_out_rows(read_pairs(settings.train_file), settings.training, 1)
    assert len(rows) % 2 == 1  # one process has a row less to learn from in the last step
    assert len(log_of(one)) == len(log_of(two)) > 8
    for left, right in zip(log_of(one), log_of(two), strict=True):
        assert left.keys() == right.keys()
        assert left.get("tokens") == right.get("tokens")
        for key in {"loss", "grad_norm", "validation_loss"} & left.keys():
            assert left[key] == pytest.approx(right[key], rel=1e-5)
    file = "adapter/adapter_model.safetensors"
    expected, found = load_file(one.parent / file), load_file(two.parent / file)
    for name in expected:
        # Adam divides by the size of a gradient, however small: a rate of 5e-3 makes more of it
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=2e-4)
    assert any(value.abs().max() > 5e-3 for name, value in found.items() if "lora_B" in name)
    assert "2 processes" in caplog.text
    assert "step 1/" in caplog.text  # the first process's progress is ours
    assert "[rank1]" not in caplog.text


def test_a_step_is_the_same_however_many_share_it():
    assert share_rows(2, 16, 1) == (2, 16)
    assert share_rows(2, 16, 8) == (2, 2)
    assert share_rows(4, 1, 2) == (2, 1)
    assert share_rows(6, 1, 2) == (3, 1)
    assert share_rows(3, 2, 2) == (3, 1)
    with pytest.raises(ValueError, match=r"1 rows per step .* among 2 .*accumulation_steps=2"):
        share_rows(1, 1, 2)


def test_the_message_of_a_failed_rank_holds_its_last_lines(make_config):
    config = make_config("run", gradient_accumulation_steps=2, max_steps=6)
    settings = read_config(config)
    lora = settings.training.lora.model_copy(update={"targets": ["q_projection"]})
    broken = settings.model_copy(
        update={"training": settings.training.model_copy(update={"lora": lora})}
    )
    config.write_text(broken.model_dump_json())
    with pytest.raises(TrainingFailed) as error:
        launch(config, 2)
    message = str(error.value)
    assert "of the training ended with code 1" in message
    assert "no linear layer 'q_projection'; it has down_proj" in message
    log = message.split("All it said is in ")[1].split("; its last lines:", maxsplit=1)[0]
    assert message.split("its last lines:\n")[1] in Path(log).read_text()


def test_no_more_than_the_last_lines_are_repeated(tmp_path):
    log = tmp_path / "run" / "attempt_0" / "1" / "stderr.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    said = "Root Cause:\n  rank      : 1 (local_rank: 1)\n  exitcode  : 1 (pid: 5)\n"
    repeated = explain_failure(said, tmp_path).split("last lines:\n")[1].splitlines()
    assert repeated == [f"line {number}" for number in range(80, 100)]
    assert len(repeated) == launcher.LAST_LINES


def test_the_killed_process_is_the_cause_whoever_noticed_first(tmp_path):
    said = (
        "Failures:\n"
        "[1]:\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 6)\n"
        "[2]:\n  rank      : 2 (local_rank: 2)\n  exitcode  : -15 (pid: 7)\n"
        "Root Cause (first observed failure):\n"
        "[0]:\n  rank      : 0 (local_rank: 0)\n  exitcode  : 1 (pid: 5)\n"
    )
    assert explain_failure(said, tmp_path).startswith(
        "process 1 of the training was killed by SIGK"
    )
    alone = said.replace("exitcode  : -9", "exitcode  : -15")
    assert explain_failure(alone, tmp_path).startswith(
        "process 0 of the training ended with code 1"
    )


def test_a_killed_rank_is_named_and_not_those_it_took_along(make_config):
    config = make_config("run", gradient_accumulation_steps=2, max_steps=2000, save_steps=1000)
    kill = (
        "import os, re, signal, subprocess, sys, threading, time\n"
        "from mental_slm.training import launcher\n"
        "from pathlib import Path\n"
        "config = Path(sys.argv[1])\n"
        "def kill():\n"
        "    while not any('step 5/' in f.read_text() for f in\n"
        "                  config.parent.glob('logs/*/attempt_0/1/stderr.log')):\n"
        "        time.sleep(0.1)\n"
        "    for folder in Path('/proc').glob('[0-9]*'):\n"
        "        try:\n"
        "            mine = str(config).encode() in (folder / 'cmdline').read_bytes()\n"
        "            if mine and b'\\0LOCAL_RANK=1\\0' in (folder / 'environ').read_bytes():\n"
        "                os.kill(int(folder.name), signal.SIGKILL)\n"
        "        except OSError:\n"
        "            pass\n"
        "threading.Thread(target=kill, daemon=True).start()\n"
        "launcher.launch(config, 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", kill, str(config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 1
    assert "TrainingFailed: process 1 of the training was killed by SIGKILL" in done.stderr


def test_processes_end_with_the_program_that_started_them(make_config):
    config = make_config("run", gradient_accumulation_steps=2, max_steps=5000, save_steps=5000)
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from mental_slm.training.launcher import launch; launch(Path(sys.argv[1]), 2)",
            str(config),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(workers(config)) == 2)
        wait_for(lambda: any(config.parent.glob("training_log.jsonl")))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not workers(config), seconds=60)


def workers(config_file) -> list[int]:
    """Return the ids of the processes that were started with this config as ranks."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if str(config_file).encode() not in file.read():
                    continue
            with open(f"/proc/{pid}/environ", "rb") as file:
                if b"\0LOCAL_RANK=" in file.read():
                    found.append(int(pid))
        except OSError:  # it has just ended
            continue
    return found


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


def test_a_launch_that_never_started_repeats_what_was_said(tmp_path):
    assert "no such option" in explain_failure("torchrun: error: no such option\n", tmp_path)


def test_more_processes_than_gpus_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="processes=2: each needs a GPU of its own.*there are 1"):
        launch(tmp_path / "config.json", 2)
