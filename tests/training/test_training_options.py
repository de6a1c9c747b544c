"""Each option does what its description says."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from mental_slm.training import worker
from mental_slm.training.config import read_config


def log_of(config_file):
    lines = (config_file.parent / "training_log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def rates(config_file):
    return [entry["learning_rate"] for entry in log_of(config_file) if "loss" in entry]


def test_the_schedule_and_the_warm_up_shape_the_rate(make_config):
    options = {"max_steps": 6, "learning_rate": 1e-3}
    shapes = {}
    for schedule in ("cosine", "linear", "constant"):
        config = make_config(schedule, schedule=schedule, warmup=0.34, **options)
        worker.main(config)
        shapes[schedule] = rates(config)
    for shape in shapes.values():
        assert shape[0] < shape[1] < shape[2]  # two steps and a bit of warm-up
    assert max(shapes["constant"]) == shapes["constant"][-1] == 1e-3
    falls = torch.tensor(shapes["linear"][3:]).diff()
    assert falls.max() < 0
    torch.testing.assert_close(falls, falls[:1].expand_as(falls))
    assert shapes["cosine"][-1] < shapes["linear"][-1]


def test_the_8_bit_optimizer_learns_about_the_same_and_resumes(make_config):
    options = {"max_steps": 6, "save_steps": 3, "learning_rate": 5e-3, "lora": {"r": 64}}
    eight, full = (make_config(name, optimizer=name, **options) for name in ("adamw_8bit", "adamw"))
    worker.main(eight)
    worker.main(full)
    for left, right in zip(log_of(eight), log_of(full), strict=True):
        for key in {"loss", "validation_loss"} & left.keys():
            assert left[key] == pytest.approx(right[key], rel=2e-3)
    file = eight.parent / "checkpoints" / "checkpoint-6" / "optimizer.pt"
    states = [
        state["__bnb_optimizer_quant_state__"]
        for state in torch.load(file, weights_only=True)["state"].values()
    ]
    assert any(state["state1"].dtype == torch.uint8 for state in states)
    published = load_file(eight.parent / "adapter" / "adapter_model.safetensors")
    shutil.rmtree(eight.parent / "checkpoints" / "checkpoint-6")
    worker.main(eight)
    again = load_file(eight.parent / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(published[name], again[name]) for name in published)


def test_weight_decay_pulls_towards_zero(make_config):
    sizes = []
    for decay in (0.0, 30.0):
        config = make_config(f"decay{decay}", weight_decay=decay, learning_rate=1e-2, max_steps=3)
        worker.main(config)
        adapter = load_file(config.parent / "adapter" / "adapter_model.safetensors")
        sizes.append(sum(value.norm() for name, value in adapter.items() if "lora_A" in name))
    assert sizes[1] < 0.9 * sizes[0]


def test_early_stopping_keeps_the_best_and_is_the_same_after_a_resume(make_config, caplog):
    caplog.set_level("INFO")
    # a rate this high makes the validation loss rise
    options = {"max_steps": 40, "eval_steps": 2, "learning_rate": 1.0, "early_stopping": 2}
    config = make_config("run", save_steps=3, **options)
    worker.main(config)
    log = log_of(config)
    losses = {e["step"]: e["validation_loss"] for e in log if "validation_loss" in e}
    best = min(losses, key=losses.__getitem__)
    assert max(losses) == best + 4 < 40
    assert f"stopping early: no lower validation loss since step {best}" in caplog.text
    assert f"best validation loss {losses[best]:.4f} at step {best}" in caplog.text
    published = load_file(config.parent / "adapter" / "adapter_model.safetensors")
    (config.parent / "checkpoints" / "finished").unlink()
    worker.main(config)  # from its last checkpoint, as after a kill
    again = load_file(config.parent / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(published[name], again[name]) for name in published)
    assert [e.get("validation_loss") for e in log_of(config)] == [
        e.get("validation_loss") for e in log
    ]


def test_variants_of_lora_reach_the_adapter(make_config):
    lora = {
        "r": 4,
        "alpha": 8,
        "rslora": True,
        "dora": True,
        "rank_pattern": {"down_proj": 2},
        "alpha_pattern": {"down_proj": 16},
    }
    config = make_config("run", lora=lora, max_steps=1)
    model = worker.build_model(read_config(config), torch.float32)
    layers = model.base_model.model.model.layers[0]
    down, gate = layers.mlp.down_proj, layers.mlp.gate_proj
    assert down.lora_A["default"].weight.shape[0] == 2
    assert gate.lora_A["default"].weight.shape[0] == 4
    assert gate.scaling["default"] == pytest.approx(8 / 4**0.5)
    assert down.scaling["default"] == pytest.approx(16 / 2**0.5)
    assert gate.lora_magnitude_vector["default"].weight.requires_grad
    worker.main(config)
    saved = json.loads((config.parent / "adapter" / "adapter_config.json").read_text())
    assert saved["use_dora"] and saved["use_rslora"]


def test_the_log_tells_the_share_of_the_roof_where_it_is_known(make_config, caplog):
    caplog.set_level("INFO")
    config = make_config("run", max_steps=2)
    data = {**json.loads(config.read_text()), "roof_tokens_per_second": 1e6}
    config.write_text(json.dumps(data))
    worker.main(config)
    for entry in log_of(config)[:2]:
        assert entry["share_of_roof"] == pytest.approx(entry["tokens_per_second"] / 1e6)
    assert "% of the roof)" in caplog.text


def test_the_log_is_there_while_the_training_runs(make_config, monkeypatch):
    from mental_slm.training import trainer

    seen = []
    save = trainer.save_adapter

    def look(model, folder):
        seen.append(len(log_of(config)))
        save(model, folder)

    monkeypatch.setattr(trainer, "save_adapter", look)
    config = make_config("run", max_steps=3, eval_steps=2)
    worker.main(config)
    assert seen[0] == 2
