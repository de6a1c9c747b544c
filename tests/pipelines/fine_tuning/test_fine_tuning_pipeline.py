import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.plotly import JSONDataset as FigureDataset
from pydantic import ValidationError

from mental_slm.datasets import ModelDataset, PeftAdapterDataset
from mental_slm.fingerprints import digest_folder
from mental_slm.language_model.chat import encode_pair
from mental_slm.language_model.loading import load_model, load_model_nf4, load_tokenizer
from mental_slm.pipelines.fine_tuning import create_pipeline
from mental_slm.pipelines.fine_tuning.merging import MergeLost, merge
from mental_slm.pipelines.fine_tuning.nodes import audit_tokens, merge_adapter, train_adapter
from mental_slm.training.batches import read_pairs
from mental_slm.training.options import FineTuningOptions, MergeOptions


@pytest.fixture(scope="module")
def options() -> FineTuningOptions:
    settings = {"max_steps": 8, "save_steps": 4, "eval_steps": 4, "logging_steps": 2}
    return FineTuningOptions(
        **settings,
        warmup=0.0,
        learning_rate=2e-2,
        lora={"r": 4, "alpha": 8, "dropout": 0.0},
        validation_pairs=6,
    )


@pytest.fixture(scope="module")
def inputs(model_cache, tiny_options, options, make_pairs, tmp_path_factory) -> dict:
    return {
        "pairs_train": make_pairs(40, "train"),
        "pairs_val": make_pairs(8, "val"),
        "params:fine_tuning": options,
        "params:model": tiny_options,
        "model_cache": model_cache,
        "fine_tuning_workspace": tmp_path_factory.mktemp("work"),
    }


@pytest.fixture(scope="module")
def results(inputs, tmp_path_factory) -> dict:
    """Run the whole pipeline once, with the datasets of the catalog in a folder of its own."""
    data = tmp_path_factory.mktemp("data")
    catalog = DataCatalog(
        {name: MemoryDataset(value, copy_mode="assign") for name, value in inputs.items()}
    )
    catalog["base_model"] = ModelDataset(filepath=data / "base_model", link=True)
    catalog["adapter"] = PeftAdapterDataset(filepath=data / "adapter")
    catalog["merged_model"] = ModelDataset(filepath=data / "merged_model")
    for name in ("token_audit", "training_log", "merge_report", "training_plan"):
        catalog[name] = JSONDataset(filepath=str(data / f"{name}.json"))
    for name in ("loss_curve", "token_lengths"):
        catalog[name] = FigureDataset(filepath=str(data / f"{name}.json"))
    SequentialRunner().run(create_pipeline(), catalog)
    return {name: catalog.load(name) for name in create_pipeline().all_outputs()}


def test_training_learns_and_keeps_the_best_adapter(results):
    losses = [entry["loss"] for entry in results["training_log"] if "loss" in entry]
    assert losses[-1] < losses[0] - 0.3
    validation = [e["validation_loss"] for e in results["training_log"] if "validation_loss" in e]
    assert len(validation) == 2
    assert results["adapter"].validation_loss == min(validation)
    entry = results["training_log"][0]
    assert entry.keys() == {
        "step", "loss", "learning_rate", "grad_norm",
        "tokens", "tokens_per_second", "seconds_left", "peak_memory_mb",
    }  # fmt: skip


def test_the_best_adapter_is_chosen_by_the_first_validation_pairs_by_id(results, inputs):
    tokenizer = load_tokenizer(results["base_model"].path)
    few = sorted(inputs["pairs_val"], key=lambda pair: pair["pair_id"])[:6]
    assert few != inputs["pairs_val"][:6]
    read = read_pairs(inputs["fine_tuning_workspace"] / "training" / "validation.jsonl")
    assert read == [encode_pair(tokenizer, pair["messages"]) for pair in few]


def test_the_report_shows_what_the_adapter_is_worth(results):
    report = results["merge_report"]
    assert report["adapter_loss"] < report["base_loss"] - 0.3
    assert report["difference"] <= 1e-4
    assert results["token_audit"]["train"]["kept"] == 40


def test_the_curves_show_what_the_log_says(results):
    curves = {trace.name: trace for trace in results["loss_curve"].data}
    keys = {
        "training": "loss",
        "validation": "validation_loss",
        "learning rate": "learning_rate",
        "gradient norm": "grad_norm",
        "tokens/s": "tokens_per_second",
    }
    assert curves.keys() == keys.keys()
    for name, key in keys.items():
        logged = [(e["step"], e[key]) for e in results["training_log"] if key in e]
        assert list(zip(curves[name].x, curves[name].y, strict=True)) == logged
        assert len(logged) > 1


def test_the_audit_shows_frames_and_lengths_but_no_post(results, inputs):
    audit = results["token_audit"]
    text = json.dumps(audit, ensure_ascii=False)
    for pair in inputs["pairs_train"] + inputs["pairs_val"]:
        assert pair["post"] not in text
        assert pair["response"] not in text
    assert audit["stop"] == {"token": "<|im_end|>", "id": 2, "learned_in": 48}
    frames = audit["frames"]
    assert frames.keys() == {pair["task"] for pair in inputs["pairs_train"]}
    for frame in frames.values():
        assert re.search(r"<post, \d+ words>", frame["read"])
        assert frame["read"].endswith("<|im_start|>assistant\n")
        assert re.fullmatch(r"<answer, \d+ words><\|im_end\|>", frame["learned"])
    assert audit["train"]["without_label"] == audit["val"]["without_label"] == 0
    assert sum(audit["train"]["length_histogram"]) == 40
    bars = {trace.name: sum(trace.y) for trace in results["token_lengths"].data}
    assert bars == {
        "training pairs": 40, "training answers": 40, "validation pairs": 8, "validation answers": 8,
    }  # fmt: skip


def test_the_audit_logs_what_to_plan_with(results, inputs, options, caplog):
    caplog.set_level(logging.INFO)
    audit_tokens(inputs["pairs_train"], inputs["pairs_val"], results["base_model"], options)
    train = results["token_audit"]["train"]
    said = (
        f"plan.tokens={train['tokens']},fine_tuning.plan.answer_share={train['answer_share']:.2f}"
    )
    assert f"--params fine_tuning.{said}" in caplog.text


def test_merged_logits_equal_unmerged_logits_of_plain_peft(results, inputs):
    from peft import AutoPeftModelForCausalLM

    config = json.loads((results["adapter"].path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(results["base_model"].path.resolve())
    apart = AutoPeftModelForCausalLM.from_pretrained(results["adapter"].path, dtype=torch.float32)
    together = load_model(results["merged_model"].path)
    validation = Path(inputs["fine_tuning_workspace"]) / "training" / "validation.jsonl"
    ids = torch.tensor([read_pairs(validation)[0].input_ids])
    with torch.no_grad():
        torch.testing.assert_close(
            apart.eval()(input_ids=ids).logits, together(input_ids=ids).logits, rtol=0, atol=1e-3
        )
        base = load_model(results["base_model"].path)(input_ids=ids).logits
    assert (base - together(input_ids=ids).logits).abs().max() > 0.1


def test_merged_logits_equal_unmerged_logits_on_dequantised_weights(results, inputs, tmp_path):
    from peft import PeftModel

    base, adapter = results["base_model"], results["adapter"]
    check = read_pairs(Path(inputs["fine_tuning_workspace"]) / "training" / "validation.jsonl")
    options = MergeOptions(base="dequantised", tolerance=1e-4)
    report = merge(base, adapter, check, options, tmp_path / "model")
    assert report["base"] == "dequantised"
    assert report["base_loss"] != results["merge_report"]["base_loss"]
    trained = PeftModel.from_pretrained(load_model_nf4(base.path, dtype="float32"), adapter.path)
    for module in trained.modules():  # see summed_loss: evaluation mode repacks 4-bit weights
        module.training = "Linear4bit" in type(module).__name__
    ids = torch.tensor([check[0].input_ids])
    with torch.no_grad():
        torch.testing.assert_close(
            load_model(tmp_path / "model")(input_ids=ids).logits,
            trained(input_ids=ids).logits,
            rtol=0,
            atol=1e-3,
        )


def test_the_merged_model_is_a_whole_model_that_knows_where_to_stop(results):
    merged = results["merged_model"]
    assert merged.digest not in ("", results["base_model"].digest)
    assert merged.digest == digest_folder(merged.path)
    assert not list(merged.path.glob("*.bin"))
    tokenizer = load_tokenizer(merged.path)
    stops = json.loads((merged.path / "generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in stops
    card = (merged.path / "README.md").read_text()
    assert results["adapter"].digest in card
    assert f"{results['merge_report']['merged_loss']:.4f}" in card


def test_finished_work_is_used_again_until_something_changes(results, inputs, options, caplog):
    caplog.set_level(logging.INFO)
    arguments = [inputs[name] for name in ("pairs_train", "pairs_val")]
    rest = [inputs["params:model"], inputs["fine_tuning_workspace"]]
    made = [*arguments, results["base_model"], results["training_plan"]]
    adapter, log = train_adapter(*made, options, *rest)
    assert adapter.at(results["adapter"].path) == results["adapter"]
    assert log == results["training_log"]
    assert "adapter: re-using the result" in caplog.text
    merged, report = merge_adapter(results["base_model"], adapter, arguments[1], options, *rest)
    assert merged.at(results["merged_model"].path) == results["merged_model"]
    assert report == results["merge_report"]
    assert "merged model: re-using the result" in caplog.text
    looser = options.model_copy(update={"merge": MergeOptions(tolerance=0.5)})
    merge_adapter(results["base_model"], adapter, arguments[1], looser, *rest)
    assert "merged model: doing it again, because of new options" in caplog.text
    caplog.clear()
    train_adapter(*made, looser, *rest)
    assert "adapter: re-using the result" in caplog.text


def test_a_lossy_merge_and_a_foreign_adapter_are_refused(results, inputs, tmp_path):
    base, adapter = results["base_model"], results["adapter"]
    validation = Path(inputs["fine_tuning_workspace"]) / "training" / "validation.jsonl"
    check = read_pairs(validation)
    lossy = MergeOptions(dtype="bfloat16", tolerance=1e-7)
    with pytest.raises(MergeLost, match=r"more than fine_tuning.merge.tolerance"):
        merge(base, adapter, check, lossy, tmp_path / "model")
    with pytest.raises(ValueError, match=r"was trained on random-llama .*, not on other"):
        merge(replace(base, name="other", digest="0"), adapter, check, lossy, tmp_path / "model")


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({"learning_rat": 1.0}, "learning_rat"),
        ({"lora": {"rank": 4}}, "lora.rank"),
        ({"merge": {"format": "bin"}}, "merge.format"),
        ({"lora": {"targets": ["lm_head"]}}, "lora"),
    ],
)
def test_an_unknown_option_is_refused(block, key):
    with pytest.raises(ValidationError) as error:
        FineTuningOptions.model_validate(block)
    assert ".".join(str(part) for part in error.value.errors()[0]["loc"]) == key


def test_nodes_have_verb_names_and_tags():
    nodes = {node.name: node.tags for node in create_pipeline().nodes}
    assert set(nodes) == {
        "obtain_base_model",
        "audit_tokens",
        "draw_token_lengths",
        "plan_training",
        "train_adapter",
        "draw_loss_curve",
        "merge_adapter",
    }
    assert {"gpu", "slow"} <= nodes["train_adapter"]
