"""Exported graphs compute what the model computes, in both families."""

import json
import shutil

import numpy as np
import pytest

from mental_slm.language_model.loading import load_model
from mental_slm.language_model.onnx_decoding import OnnxDecoder
from mental_slm.pipelines.deployment.export import export_decoder
from mental_slm.pipelines.deployment.nodes import export_onnx
from mental_slm.pipelines.deployment.parity import compare_logits

KINDS = ("llama-tied", "llama-untied", "qwen2-tied", "qwen2-untied")
TOKENS = np.random.default_rng(0).integers(3, 49152, 40).tolist()


def torch_logits(folder, rows):
    import torch

    with torch.inference_mode():
        return load_model(folder)(torch.tensor(rows)).logits.numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_float_graph_equals_the_model_whole_and_step_by_step(kind, model_of, exported) -> None:
    expected = torch_logits(model_of(kind).path, [TOKENS])[0]
    graph, _ = exported(kind)
    decoder = OnnxDecoder(graph.path / graph.model_file, threads=1)
    whole, _ = decoder.forward(TOKENS, decoder.empty_cache())
    assert np.abs(whole - expected).max() < 1e-4
    cache = decoder.empty_cache()
    for position, token in enumerate(TOKENS):
        logits, cache = decoder.forward([token], cache)
        assert np.abs(logits[0] - expected[position]).max() < 1e-4


def test_mapped_weights_give_the_same_answer(exported) -> None:
    for graph in exported("llama-untied"):
        plain, mapped = (
            OnnxDecoder(graph.path / graph.model_file, threads=1, mapped=mapped)
            for mapped in (False, True)
        )
        assert plain.decode(TOKENS, 5).token_ids == mapped.decode(TOKENS, 5).token_ids


def test_decoding_ends_at_a_stop_token(exported) -> None:
    graph, _ = exported("llama-tied")
    decoder = OnnxDecoder(graph.path / graph.model_file, threads=1)
    free = decoder.decode(TOKENS, 6)
    assert (free.finish_reason, len(free.token_ids), len(free.step_seconds)) == ("length", 6, 5)
    stopped = decoder.decode(TOKENS, 6, stops={free.token_ids[2]})
    first = free.token_ids.index(free.token_ids[2])
    assert stopped.finish_reason == "stop"
    assert stopped.token_ids == free.token_ids[: first + 1]


@pytest.mark.parametrize("kind", KINDS)
def test_int8_loses_little(kind, model_of, exported) -> None:
    expected = torch_logits(model_of(kind).path, [TOKENS])[0]
    _, graph = exported(kind)
    decoder = OnnxDecoder(graph.path / graph.model_file, threads=1)
    found, _ = decoder.forward(TOKENS, decoder.empty_cache())
    numbers = compare_logits([expected], [found])
    assert 0 < numbers["kl_share"] < 0.005
    assert numbers["kl"] < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_each_matrix_is_stored_once(kind, exported, model_of) -> None:
    import onnx

    fp32, int8 = exported(kind)
    parameters = model_of(kind).parameters
    data = (fp32.path / "model.onnx.data").stat().st_size
    assert data == pytest.approx(4 * parameters, rel=0.001)
    assert int8.size_bytes < 1.2 * parameters  # one byte a weight, four per block of 32, the graph
    graph = onnx.load(int8.path / "model.onnx", load_external_data=False).graph
    assert not [node for node in graph.node if node.op_type in ("MatMul", "Gather")][4:]
    weights = {i.name for i in graph.initializer if np.prod(i.dims) > 1000}
    assert all(name.endswith(("_Q8", "_scales")) for name in weights)


def test_graph_is_plain_onnx_with_its_weights_outside(exported) -> None:
    import onnx

    graph, _ = exported("qwen2-tied")
    assert (graph.path / "model.onnx").stat().st_size < 200_000
    model = onnx.load(graph.path / "model.onnx", load_external_data=False)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 20}
    inputs = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    assert inputs["input_ids"] == ["batch", "sequence"]
    assert inputs["past_key_values.1.value"] == ["batch", 2, "past", 16]
    assert [value.name for value in model.graph.output][:3] == [
        "logits",
        "present.0.key",
        "present.0.value",
    ]


def test_batch_rows_do_not_mix(model_of, exported) -> None:
    import onnxruntime

    rows = [TOKENS[:9], TOKENS[9:18]]
    graph, _ = exported("qwen2-untied")
    session = onnxruntime.InferenceSession(str(graph.path / graph.model_file))
    feeds = {
        value.name: np.zeros((2, 2, 0, 16), np.float32)
        for value in session.get_inputs()
        if value.name != "input_ids"
    }
    (logits,) = session.run(["logits"], {"input_ids": np.array(rows), **feeds})
    assert np.abs(logits - torch_logits(model_of("qwen2-untied").path, rows)).max() < 1e-4


def test_same_model_same_bytes_and_nothing_printed(model_of, exported, options, tmp_path, capfd):
    again = export_onnx(model_of("llama-untied"), options, tmp_path)
    assert again.digest == exported("llama-untied")[0].digest
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("use_sliding_window", True),
        ("model_type", "gpt2"),
        ("rope_parameters", {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused(key, value, model_of, tmp_path) -> None:
    shutil.copytree(model_of("qwen2-tied").path, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=rf"config\.json: {key}"):
        export_decoder(tmp_path / "model", tmp_path, 20, tmp_path / "log")


def test_weights_of_another_shape_are_refused(model_of, tmp_path) -> None:
    shutil.copytree(model_of("llama-tied").path, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 32}))
    with pytest.raises(ValueError, match="gate_proj.weight has shape"):
        export_decoder(tmp_path / "model", tmp_path, 20, tmp_path / "log")
