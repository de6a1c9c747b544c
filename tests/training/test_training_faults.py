"""What can go wrong in a training, each by really making it go wrong."""

import json
import logging
import math
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mental_slm.language_model.chat import EncodedPair
from mental_slm.training import worker
from mental_slm.training.batches import read_pairs, write_pairs
from mental_slm.training.checkpoints import (
    CheckpointOfOtherRun,
    FolderNotWritable,
    open_checkpoints,
    require_writable,
)
from mental_slm.training.config import TrainingOptions, read_config

LIMITED = """
import resource, sys
from pathlib import Path
from mental_slm.training import trainer, worker

save, full = trainer.AdapterTrainer._save_checkpoint, int(sys.argv[2])

def save_to_a_full_disk(self, *args, **kwargs):
    if self.state.global_step >= full:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    save(self, *args, **kwargs)

trainer.Trainer._save_checkpoint, trainer.AdapterTrainer._save_checkpoint = (
    trainer.Trainer._save_checkpoint, save_to_a_full_disk
)
worker.main(Path(sys.argv[1]))
"""


def changed(config_file, **options):
    """Write other options into a config file."""
    data = json.loads(config_file.read_text())
    data["training"] |= options
    config_file.write_text(json.dumps(data))
    return config_file


def test_a_full_disk_keeps_the_last_good_checkpoint(make_config, caplog):
    options = {"max_steps": 8, "save_steps": 2, "eval_steps": 20}
    whole, full = make_config("whole", **options), make_config("full", **options)
    worker.main(whole)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(full), "6"],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 1
    message = done.stderr.rstrip().splitlines()[-1]
    assert "CheckpointNotSaved: a checkpoint of step 6 could not be written to" in message
    assert "make room, then run the same command" in message
    assert "checkpoint-4 is whole" in message
    caplog.set_level(logging.INFO)
    worker.main(full)
    assert "resuming from step 4" in caplog.text
    file = "adapter/adapter_model.safetensors"
    expected, found = load_file(whole.parent / file), load_file(full.parent / file)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_an_unfinished_run_of_other_options_is_refused_with_the_difference(make_config, tmp_path):
    config = make_config("run", max_steps=4, save_steps=2)
    worker.main(config)
    checkpoints = config.parent / "checkpoints"
    (checkpoints / "finished").unlink()  # as if it had been killed before its end
    changed(config, learning_rate=0.25, seed=7, logging_steps=3)
    with pytest.raises(CheckpointOfOtherRun) as error:
        worker.main(config)
    message = str(error.value)
    assert "checkpoint-4: belongs to an unfinished training that differs" in message
    assert "differs from this one in fine_tuning.learning_rate (0.001 -> 0.25), " in message
    assert "fine_tuning.seed (0 -> 7). Undo" in message  # how often it logs makes no difference
    assert "fine_tuning.restart=true" in message
    assert (checkpoints / "checkpoint-4").is_dir()
    (config.parent / "train.jsonl").write_text((config.parent / "validation.jsonl").read_text())
    with pytest.raises(CheckpointOfOtherRun, match=r"in train pairs, |, train pairs"):
        worker.main(config)
    run = worker.describe_run(read_config(config))
    assert open_checkpoints(checkpoints, run, restart=True) is None
    assert not (checkpoints / "checkpoint-4").exists()


def test_an_absurd_learning_rate_stops_and_keeps_the_best_adapter(make_config):
    config = make_config(
        "run", max_steps=60, eval_steps=1, save_steps=1, warmup=0.5, learning_rate=1e38
    )
    with pytest.raises(FloatingPointError) as error:
        worker.main(config)
    message = str(error.value)
    assert "lower fine_tuning.learning_rate" in message
    assert "is kept in" in message
    best = load_file(config.parent / "best" / "adapter_model.safetensors")
    assert all(value.isfinite().all() for value in best.values())
    assert not (config.parent / "adapter").exists()


@pytest.fixture
def name_ids():
    """Give the pairs of a config names."""

    def name(config):
        ids = config.parent / "ids.txt"
        ids.write_text("".join(f"pair-{n}\n" for n in range(24)))
        config.write_text(json.dumps({**json.loads(config.read_text()), "pair_ids_file": str(ids)}))
        return config

    return name


def test_a_damaged_base_is_refused_before_the_training(make_config, tiny_model, tmp_path):
    config = make_config("run")
    base = tmp_path / "damaged"
    shutil.copytree(tiny_model.path, base)
    (file,) = base.glob("*.safetensors")
    weights = load_file(file)
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, file, metadata={"format": "pt"})
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_folder": str(base)}))
    with pytest.raises(ValueError, match="damaged: says nan before any training"):
        worker.main(config)


def test_a_weight_that_breaks_on_the_way_is_noticed_with_step_and_pairs(
    make_config, name_ids, monkeypatch
):
    from mental_slm.training import trainer

    evaluate = trainer.AdapterTrainer.evaluate

    def break_after(self, **kwargs):
        metrics = evaluate(self, **kwargs)
        with torch.no_grad():
            next(p for p in self.model.parameters() if p.requires_grad)[0, 0] = math.nan
        return metrics

    monkeypatch.setattr(trainer.AdapterTrainer, "evaluate", break_after)
    config = name_ids(make_config("run", eval_steps=2, save_steps=1))
    with pytest.raises(FloatingPointError) as error:
        worker.main(config)
    message = str(error.value)
    found = re.search(r"the loss became nan at step 3 of 4 \(pairs (pair-[\d, pair-]+)\)", message)
    rows = worker.lay_out_rows(
        read_pairs(config.parent / "train.jsonl"), read_config(config).training, 1
    )
    assert found[1].split(", ") == [f"pair-{index}" for index in rows[2]]
    assert "The adapter of step 2, with a validation loss of 10.8" in message
    assert f"is kept in {config.parent / 'best'}; " in message
    best = load_file(config.parent / "best" / "adapter_model.safetensors")
    assert all(value.isfinite().all() for value in best.values())


def test_a_gradient_that_is_no_number_never_reaches_the_weights(make_config, monkeypatch):
    from mental_slm.training import trainer

    real, calls = trainer.answer_loss, []

    def exploding(*args):
        loss = real(*args)
        calls.append(loss)
        if len(calls) == 3:  # a finite loss with a gradient beyond all bounds
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    monkeypatch.setattr(trainer, "answer_loss", exploding)
    config = make_config("run", save_steps=1)
    with pytest.raises(
        FloatingPointError, match=r"the gradient became \w+ at step 3 of 4 \(pairs t"
    ):
        worker.main(config)
    saved = load_file(config.parent / "checkpoints/checkpoint-2/adapter_model.safetensors")
    assert all(value.isfinite().all() for value in saved.values())
    assert not (config.parent / "checkpoints/checkpoint-3").exists()


@pytest.mark.parametrize(
    ("lora", "option"),
    [
        ({"targets": ["q_proj", "query"]}, r"lora.targets: LlamaForCausalLM has no .* 'query'"),
        ({"rank_pattern": {"kproj": 2}}, r"lora.rank_pattern: .* 'kproj'"),
        ({"alpha_pattern": {"lm_head": 2}}, r"lora.alpha_pattern: .* 'lm_head'"),
    ],
)
def test_an_unknown_lora_target_names_those_there_are(make_config, lora, option):
    with pytest.raises(ValueError, match=option) as error:
        worker.main(make_config("run", lora=lora))
    known = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    assert str(error.value).endswith(f"it has {known}")


def test_bfloat16_that_the_hardware_lacks_is_refused(make_config, monkeypatch):
    monkeypatch.setattr(worker, "has_bf16_cpu", lambda: False)
    with pytest.raises(
        ValueError, match=r"compute=bfloat16: this CPU .* set it to float32 or auto"
    ):
        worker.main(make_config("run", compute="bfloat16"))
    assert worker.compute_dtype("auto") == torch.float32
    monkeypatch.setattr(worker, "has_bf16_cpu", lambda: True)
    assert worker.compute_dtype("auto") == torch.bfloat16
    assert worker.compute_dtype("float32") == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"quantisation=nf4 needs the package bitsandbytes.*set it to none"),
        (
            {"quantisation": "none", "optimizer": "adamw_8bit"},
            r"optimizer=adamw_8bit needs the package bitsandbytes.*set it to adamw",
        ),
    ],
)
def test_without_bitsandbytes_the_way_round_is_named(make_config, monkeypatch, options, message):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=message):
        worker.main(make_config("run", **options))


def test_without_bitsandbytes_plain_training_works(make_config, monkeypatch):
    worker.check_bitsandbytes(TrainingOptions(quantisation="none"))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    worker.check_bitsandbytes(TrainingOptions(quantisation="none"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can page")
def test_a_paged_optimizer_without_a_gpu_is_refused(make_config):
    with pytest.raises(ValueError, match=r"paged_adamw_8bit: .* no GPU; set it to adamw_8bit"):
        worker.main(make_config("run", optimizer="paged_adamw_8bit"))


def test_a_folder_that_cannot_be_written_to_is_named(make_config, tmp_path):
    config = make_config("run")
    file = tmp_path / "file"
    file.write_text("")  # even root cannot make a folder of it
    for folder in (file, file / "below"):
        data = {**json.loads(config.read_text()), "output_folder": str(folder)}
        config.write_text(json.dumps(data))
        with pytest.raises(
            FolderNotWritable, match=r"file.*cannot be written to .*make it writable"
        ):
            worker.main(config)
    require_writable(tmp_path / "new" / "folder")


def test_a_second_training_in_the_same_folder_is_refused(make_config, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(worker, "LOCK_SECONDS", 0.1)
    config = make_config("run")
    with (
        FileLock(config.parent / ".training.lock"),
        pytest.raises(RuntimeError, match="another training is at work here"),
    ):
        worker.main(config)


def test_pairs_without_a_label_stop_the_run(make_config):
    config = make_config("run")
    write_pairs(config.parent / "train.jsonl", [EncodedPair([5, 6, 7], 3)] * 4)
    with pytest.raises(ValueError, match=r"train.jsonl, line 1: prompt_length 3 leaves"):
        worker.main(config)
