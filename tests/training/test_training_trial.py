"""A trial is the training it stands for, whatever ran on the base before it."""

import json
import subprocess
import sys

import pytest
import torch

from mental_slm.training import trial as trial_module
from mental_slm.training.config import read_config
from mental_slm.training.trial import TrialBench

COMMON = {"compute": "float32", "max_steps": 4, "eval_steps": 2, "logging_steps": 1}

SETTINGS = {
    "small": {"lora": {"r": 4, "alpha": 8, "dropout": 0.1}, "learning_rate": 5e-3},
    "large": {
        "lora": {"r": 32, "alpha": 64, "targets": ["q_proj", "v_proj"]},
        "learning_rate": 1e-3,
        "optimizer": "adamw_8bit",
        "batch_size": 2,
        "activation_checkpointing": True,
    },
    "dora": {"lora": {"r": 8, "dora": True, "dropout": 0.0}, "learning_rate": 2e-2, "seed": 3},
}


def figures(config_file) -> list[tuple]:
    lines = (config_file.parent / "training_log.jsonl").read_text().splitlines()
    keys = ("step", "loss", "validation_loss", "grad_norm", "tokens", "learning_rate")
    return [tuple(json.loads(line).get(key) for key in keys) for line in lines]


def never(step, steps, loss) -> bool:
    return False


WORKER = "import sys; from pathlib import Path; from mental_slm.training.worker import main\n"
WORKER += "for file in sys.argv[1:]: main(Path(file))"


def in_a_fresh_process(*config_files):
    """Train as the worker does, which loads the base anew for each."""
    command = [sys.executable, "-c", WORKER, *map(str, config_files)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return [figures(config_file) for config_file in config_files]


@pytest.mark.parametrize("quantisation", ["nf4", "none"])
def test_trials_on_one_base_equal_fresh_processes_to_the_last_bit(
    make_config, tiny_model, monkeypatch, quantisation
):
    loads = []
    load = trial_module.load_base
    monkeypatch.setattr(trial_module, "load_base", lambda *args: loads.append(1) or load(*args))
    common = {**COMMON, "quantisation": quantisation}
    names = list(SETTINGS) if quantisation == "nf4" else ["small", "large"]
    files = [make_config(f"alone-{name}", **common, **SETTINGS[name]) for name in names]
    alone = dict(zip(names, in_a_fresh_process(*files), strict=True))
    bench = TrialBench(tiny_model.path, read_config(make_config("form", **common)).training, 1)
    for turn, name in enumerate([*names, names[0]]):  # the first one again, after all others
        config = make_config(f"trial-{turn}", **common, **SETTINGS[name])
        result = bench.run(read_config(config), never)
        assert figures(config) == alone[name], name
        assert result.validation_loss == min(row[2] for row in alone[name] if row[2] is not None)
        assert result.tokens == sum(row[4] for row in alone[name] if row[4] is not None)
        assert (result.steps, result.stopped) == (4, False)
        assert not (config.parent / "best").exists()
        assert not list(config.parent.glob("**/checkpoint-*"))
    assert len(loads) == 1
    assert len({tuple(rows) for rows in alone.values()}) == len(names)


def test_the_base_is_as_it_was_after_a_trial(make_config, tiny_model):
    config = read_config(make_config("run", **COMMON, **SETTINGS["large"]))
    bench = TrialBench(tiny_model.path, config.training, 1)
    before = {name: value.clone() for name, value in bench._base.state_dict().items()}
    bench.run(config, never)
    after = bench._base.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any("lora" in name for name, _ in bench._base.named_modules())
    assert not bench._base.is_activation_checkpointing


def test_an_observer_ends_a_trial_and_leaves_the_base_usable(make_config, tiny_model):
    config = read_config(make_config("run", **{**COMMON, "eval_steps": 1}))
    bench = TrialBench(tiny_model.path, config.training, 1)
    seen = []

    def stop_at_two(step, steps, loss) -> bool:
        seen.append((step, steps))
        return step == 2

    result = bench.run(config, stop_at_two)
    assert (result.steps, result.stopped) == (2, True)
    assert seen == [(1, 4), (2, 4)]
    assert bench.run(config, never).steps == 4


def test_a_trial_that_diverges_leaves_the_base_usable(make_config, tiny_model):
    wild = read_config(make_config("wild", **{**COMMON, "learning_rate": 1e38, "warmup": 0.0}))
    bench = TrialBench(tiny_model.path, wild.training, 1)
    with pytest.raises(FloatingPointError, match=r"became \w+"):
        bench.run(wild, never)
    after, alone = make_config("after", **COMMON), make_config("alone", **COMMON)
    bench.run(read_config(after), never)
    TrialBench(tiny_model.path, wild.training, 1).run(read_config(alone), never)
    assert figures(after) == figures(alone)


def test_a_trial_of_another_form_is_refused(make_config, tiny_model):
    config = read_config(make_config("run", **COMMON))
    bench = TrialBench(tiny_model.path, config.training, 1)
    other = read_config(make_config("other", **COMMON, quantisation="none"))
    with pytest.raises(ValueError, match="quantisation: the base was loaded with another"):
        bench.run(other, never)
