"""The training benchmark's parts, on shapes that take seconds; its figures are not looked at."""

import importlib.util
from pathlib import Path

import pytest

from mental_slm.language_model.loading import load_tokenizer
from mental_slm.training.batches import write_pairs

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("training_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny_job(benchmark, tmp_path):
    """Return a factory of jobs: random weights, random ids of which only four exist."""
    shape = {
        "model_type": "llama",
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }
    base = benchmark.write_base(shape, tmp_path / "base")
    write_pairs(tmp_path / "train.jsonl", benchmark.draw_pairs(14, 96, 1, longest=64))
    write_pairs(tmp_path / "held-out.jsonl", benchmark.draw_pairs(14, 4, 2, longest=64))

    def make(system: dict, **extra) -> dict:
        folder = tmp_path / system["kind"]
        folder.mkdir()
        return {
            "system": system,
            "base": str(base),
            "train": str(tmp_path / "train.jsonl"),
            "held_out": str(tmp_path / "held-out.jsonl"),
            "folder": str(folder),
            "pairs_per_step": 8,
            **extra,
        }

    return make


@pytest.mark.slow
def test_systems_train_on_the_same_tokens_and_learn_alike(benchmark, tiny_job, monkeypatch):
    monkeypatch.setattr(benchmark, "LEARNING_RATE", 0.005)
    kinds = ["ours", "padded", *(["trl"] if importlib.util.find_spec("trl") else [])]
    results = [benchmark.run_system(tiny_job({"kind": kind})) for kind in kinds]
    assert len({(result["tokens"], result["labelled"]) for result in results}) == 1
    assert len({round(result["before"], 6) for result in results}) == 1
    for result in results:
        assert result["after"] < result["before"] - 0.1
        assert result["after"] == pytest.approx(results[0]["after"], abs=0.2)
        assert 0 < result["processor_seconds"]
        assert 0 < result["peak_mb"]
        assert result["steps"] >= 1


@pytest.mark.slow
def test_a_job_of_the_gpu_runs_in_a_process_of_its_own(benchmark, tiny_job):
    system = {**benchmark.GPU_SYSTEMS["small"]}
    job = tiny_job(system, nf4=True)
    result = benchmark._run_child(job, "small")
    assert result["tokens"] == benchmark.summarise([result])["tokens"]
    assert result["steps"] == 5


def test_mixes_are_what_they_are_called(benchmark, tiny_model):
    tokenizer = load_tokenizer(tiny_model.path)
    answers = {
        mix: [
            len(pair.input_ids) - pair.prompt_length
            for pair in benchmark.make_pairs(tokenizer, mix, 8, 1)
        ]
        for mix in ("mixed", "long")
    }
    assert min(answers["long"]) > 100
    assert min(answers["mixed"][::2]) > 100
    assert max(answers["mixed"][1::2]) < 20


def test_without_a_gpu_the_benchmark_says_what_it_did_not_run(benchmark, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main(["--device", "cuda"]) == 0
    said = capsys.readouterr().out
    assert "Not run: there is no GPU" in said
    assert "meta-llama/Llama-3.2-3B-Instruct" in said
    assert "TRL, defaults, 2 pairs" in said


def test_without_trl_the_benchmark_says_how_to_install_it(benchmark, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    kept = benchmark.drop_missing(benchmark.CPU_SYSTEMS)
    assert "trl" not in kept and "ours" in kept
    assert "pip install 'trl>=1.16,<1.17'" in capsys.readouterr().out


def test_a_missed_target_is_called_so(benchmark, capsys):
    def figures(rate: float, memory: float) -> dict:
        return {"processor_rate": rate, "peak_mb": memory}

    reached = {"mixed": {"ours": figures(200, 60), "trl": figures(100, 100)}}
    assert benchmark.judge(reached)
    assert capsys.readouterr().out.count("reached") == 2
    assert not benchmark.judge({"mixed": {"ours": figures(199, 61), "trl": figures(100, 100)}})
    assert capsys.readouterr().out.count("MISSED") == 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_system_that_the_device_does_not_have_is_refused_with_the_list(benchmark, capsys, device):
    known = {"cpu": benchmark.CPU_SYSTEMS, "cuda": benchmark.GPU_SYSTEMS}
    other = next(name for name in {**known["cpu"], **known["cuda"]} if name not in known[device])
    for wrong in ("nonsense", other):
        with pytest.raises(SystemExit) as end:
            benchmark.main(["--device", device, "--systems", wrong])
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert f"--systems {wrong}: not on {device}; it has {', '.join(known[device])}" in said
