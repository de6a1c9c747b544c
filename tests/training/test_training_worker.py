import json
import logging
import math
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from mental_slm.language_model.chat import EncodedPair
from mental_slm.training import worker
from mental_slm.training.batches import PackedRows, collate
from mental_slm.training.checkpoints import mark_whole, open_checkpoints
from mental_slm.training.config import read_config
from mental_slm.training.loss import answer_loss
from mental_slm.training.trainer import mean_loss


def weights(config_file) -> dict[str, torch.Tensor]:
    return load_file(config_file.parent / "adapter" / "adapter_model.safetensors")


def log_of(config_file) -> list[dict]:
    lines = (config_file.parent / "training_log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_killed_training_ends_with_the_same_bytes(make_config, caplog):
    caplog.set_level(logging.INFO)
    options = {"max_steps": 30, "save_steps": 4, "eval_steps": 10, "learning_rate": 5e-3}
    whole, killed = make_config("whole", **options), make_config("killed", **options)
    worker.main(whole)
    process = subprocess.Popen(
        [sys.executable, "-m", "mental_slm.training.worker", str(killed)],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "step 6/30  loss" in line:
            process.kill()
            break
    assert process.wait() == -9
    assert not (killed.parent / "adapter").exists()
    caplog.clear()
    worker.main(killed)
    resumed = int(re.search(r"resuming from step (\d+) ", caplog.text)[1])
    steps = [int(step) for step in re.findall(r"step (\d+)/30  loss", caplog.text)]
    assert steps == list(range(resumed + 1, 31))  # nothing is done twice
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(value.abs().max() > 0 for name, value in found.items() if "lora_B" in name)
    keys = ("step", "loss", "validation_loss", "grad_norm", "tokens")
    assert [[e.get(k) for k in keys] for e in log_of(whole)] == [
        [e.get(k) for k in keys] for e in log_of(killed)
    ]


def test_checkpoints_of_a_finished_run_of_other_options_are_not_resumed(make_config, caplog):
    caplog.set_level(logging.INFO)
    config = make_config("run", max_steps=2, save_steps=1)
    worker.main(config)
    other = make_config("run", max_steps=2, save_steps=1, seed=1)
    worker.main(other)
    assert "checkpoints: doing it again, because of new fine_tuning.seed" in caplog.text
    assert "resuming" not in caplog.text


def test_a_half_written_checkpoint_is_left_out(tmp_path, make_config, caplog):
    caplog.set_level(logging.INFO)
    run = worker.describe_run(read_config(make_config("run")))
    folder = tmp_path / "checkpoints"
    assert open_checkpoints(folder, run) is None
    for step in (8, 9, 10, 12):
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir()
        (checkpoint / "optimizer.pt").write_bytes(b"state " * step)
        if step != 12:  # killed before the mark
            mark_whole(checkpoint)
    (folder / "checkpoint-10" / "optimizer.pt").write_bytes(b"state")  # lost its end in a crash
    assert open_checkpoints(folder, run) == folder / "checkpoint-9"
    assert "checkpoint-12 was cut off" in caplog.text
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == [
        "checkpoint-8",
        "checkpoint-9",
    ]


def test_accumulation_1_x_8_equals_8_x_1(make_config):
    lora = {"r": 4, "dropout": 0.0}
    settings = {"max_steps": 3, "warmup": 0.0, "learning_rate": 1e-3, "lora": lora}
    settings["compute"] = "float32"
    many = make_config("many", batch_size=1, gradient_accumulation_steps=8, **settings)
    one = make_config("one", batch_size=8, gradient_accumulation_steps=1, **settings)
    for config in (many, one):
        worker.main(config)
    pairs = list(zip(log_of(many), log_of(one), strict=True))
    assert len(pairs) == 4
    for left, right in pairs:
        assert left.keys() == right.keys()
        for key in {"loss", "grad_norm", "validation_loss", "tokens"} & left.keys():
            assert left[key] == pytest.approx(right[key], rel=1e-4)


def test_validation_leaves_the_gradient_as_it_was(make_config):
    config = read_config(make_config("run"))
    model = worker.build_model(config, torch.bfloat16)
    rows = PackedRows([EncodedPair(list(range(20, 60)), 10)], [[0]])
    batch = collate([rows[0]])

    def gradient() -> torch.Tensor:
        model.zero_grad()
        torch.manual_seed(0)
        answer_loss(model, batch, torch.bfloat16).backward()
        first = next(
            p for n, p in model.named_parameters() if "layers.0.self_attn.q_proj.lora_B" in n
        )
        return first.grad.clone()

    before = gradient()
    assert before.abs().max() > 0
    mean_loss(model, [batch], torch.bfloat16)
    assert torch.equal(gradient(), before)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(make_config, monkeypatch):
    from mental_slm.training import trainer

    calls = []

    def broken(*args):
        calls.append(1)
        return answer_loss(*args) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr(trainer, "answer_loss", broken)
    with pytest.raises(FloatingPointError, match=r"became nan at step 3 of 4 \(pairs .*lower fine"):
        worker.main(make_config("run"))


def test_a_wrong_config_names_file_and_key(make_config):
    config = make_config("run")
    data = json.loads(config.read_text())
    data["training"]["lora"]["rank"] = 4
    config.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"config.json: training.lora.rank: Extra inputs"):
        read_config(config)
