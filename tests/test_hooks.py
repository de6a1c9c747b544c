import json
import subprocess
import sys
import time

import pytest
from click import ClickException
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from mental_slm import hooks


@pytest.mark.parametrize("env", [None, "base", "local"])
def test_base_environments_keep_the_base_name(env):
    hooks.check_model_name({"model": "smollm2"}, env)


def test_an_environment_without_its_own_model_name_is_refused():
    hooks.check_model_name({"model": "qwen"}, "qwen")
    with pytest.raises(ClickException, match="conf/mine/globals.yml: set `model: mine`"):
        hooks.check_model_name({"model": "smollm2"}, "mine")
    with pytest.raises(ClickException, match="`model` is missing"):
        hooks.check_model_name({}, None)


def test_a_mistyped_parameter_block_is_named():
    hooks.check_parameter_blocks({"model": {}, "fine_tuning": {}, "data": "sample"}, {})
    with pytest.raises(ClickException, match="--params: unknown parameter block fine_tunning"):
        hooks.check_parameter_blocks({"fine_tunning": {}}, {"fine_tunning": {}})


def test_wrong_parameters_are_told_in_one_line_each():
    report = (
        "Parameter validation failed:\n"
        "- Parameter 'fine_tuning': Failed to instantiate FineTuningOptions for parameter "
        "'fine_tuning': 2 validation errors for FineTuningOptions\n"
        "lora.rank_typo\n"
        "  Extra inputs are not permitted [type=extra_forbidden, input_value=4, input_type=int]\n"
        "    For further information visit a page\n"
        "max_steps\n"
        "  Input should be greater than 0 [type=greater_than, input_value=-1, input_type=int]\n"
    )
    first, second = hooks.explain_validation(report)
    assert first.startswith("fine_tuning.lora.rank_typo: unknown parameter (got 4); see conf/base/")
    assert second.startswith("fine_tuning.max_steps: Input should be greater than 0 (got -1)")
    assert hooks.explain_validation("something else") == ["something else"]


def test_the_base_model_is_checked_before_any_work():
    model = {"name": "Qwen/Qwen2.5-3B-Instruct", "source": "hub"}
    with pytest.raises(ClickException, match="model.path=DIR"):
        hooks.check_base_model({"model": model})


def test_a_comparison_of_nothing_says_what_to_run(tmp_path):
    catalog = DataCatalog.from_config(
        {
            "all_metrics": {
                "type": "partitions.PartitionedDataset",
                "path": str(tmp_path),
                "dataset": "json.JSONDataset",
            }
        }
    )
    pipeline = Pipeline([Node(len, inputs="all_metrics", outputs="n", name="count")])
    with pytest.raises(ClickException, match="kedro run --pipelines evaluation"):
        hooks.check_evaluated(pipeline, catalog)
    (tmp_path / "smollm2.json").write_text("{}")
    catalog["all_metrics"].release()
    hooks.check_evaluated(pipeline, catalog)


def test_a_second_run_in_the_folder_is_refused_until_the_first_ends(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from mental_slm.hooks import lock_project\n"
        "lock = lock_project(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline().strip() == "locked"
    with pytest.raises(ClickException, match="another `kedro run` is at work"):
        hooks.lock_project(tmp_path)
    first.kill()  # the lock goes with the process, even with kill -9
    first.wait()
    hooks.lock_project(tmp_path).release()


def test_a_long_node_is_heard_from(monkeypatch, caplog):
    monkeypatch.setattr(hooks, "HEARTBEAT_SECONDS", 0.05)
    recorder = hooks.RunRecorder()
    node = Node(lambda: 1, inputs=None, outputs="x", name="rest")
    with caplog.at_level("INFO", logger="mental_slm.hooks"):
        recorder.before_pipeline_run(Pipeline([node]))
        recorder.before_node_run(node)
        time.sleep(0.2)
        recorder.after_node_run(node)
        beats = len(caplog.records)
        time.sleep(0.15)
    assert "[1/1] rest" in caplog.messages[0]
    assert any("rest: at work for" in message for message in caplog.messages)
    assert len(caplog.records) == beats  # silent once the node is done


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.26, "8.3 s"), (60, "1 min 00 s"), (125.9, "2 min 05 s")]
)
def test_durations_read_well(seconds, text):
    assert hooks.duration(seconds) == text


def test_git_state_is_told_or_said_to_be_unknown(tmp_path):
    assert hooks.describe_git(tmp_path) == {"commit": None, "dirty": None}
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *command],
            cwd=tmp_path,
            check=True,
        )
    assert hooks.describe_git(tmp_path)["dirty"] is False
    (tmp_path / "new").touch()
    assert hooks.describe_git(tmp_path)["dirty"] is True


def test_files_and_folders_are_described_and_summed_up(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"pairs": {"train": 10, "test": 2}}))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"0" * 1500)
    (folder / "reference.json").write_text(json.dumps({"digest": "abc"}))
    catalog = DataCatalog.from_config(
        {
            "augmentation_counts": {
                "type": "json.JSONDataset",
                "filepath": str(tmp_path / "report.json"),
            },
            "model": {"type": "json.JSONDataset", "filepath": str(folder)},
        }
    )
    outputs = hooks.describe_datasets(
        ["augmentation_counts", "model", "params:x"], catalog, tmp_path
    )
    assert outputs["augmentation_counts"]["sha256"] is not None
    assert outputs["model"]["digest"] == "abc"
    assert "params:x" not in outputs
    manifest = {"seconds": 61, "peak_memory_mb": 900, "outputs": outputs}
    text = hooks.summarise(manifest, tmp_path / "run_manifest.json", tmp_path)
    assert "Done in 1 min 01 s, peak memory 900 MB." in text
    assert "2 kB  model" in text
    assert "pairs: 10 train, 2 test" in text
