"""Static graphs compute what the model computes, block by block and token by token."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mental_slm.language_model.loading import load_model
from mental_slm.pipelines.deployment.npu.runner import cpu_opener, plan_steps, run_parts
from mental_slm.pipelines.deployment.npu.static_decoder import (
    KINDS,
    build_static_decoder,
    graph_name,
    read_geometry,
)

STEPS = 16
TOKENS = np.random.default_rng(0).integers(3, 49152, 40 + STEPS).tolist()


def torch_logits(folder: Path, tokens: list[int]) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return load_model(folder)(torch.tensor([tokens])).logits[0].numpy()


def static_logits(folder: Path, tokens: list[int], decoded: int) -> np.ndarray:
    samples = [plan_steps(tokens, decoded, read_geometry(folder))]
    return run_parts(folder, samples, cpu_opener(folder, threads=1))[0]


@pytest.mark.parametrize("layers_per_part", [1, 2])
@pytest.mark.parametrize("kind", ["llama-tied", "llama-untied", "qwen2-tied", "qwen2-untied"])
def test_prompt_and_decode_graph_equal_transformers(
    kind: str, layers_per_part: int, model_of, tmp_path: Path
) -> None:
    folder = model_of(kind).path
    geometry = build_static_decoder(folder, tmp_path, 16, 64, layers_per_part)
    assert len(geometry.parts()) == 2 // layers_per_part
    found = static_logits(tmp_path, TOKENS, STEPS)  # 16 + 16 + 8 with padding, then 16 alone
    assert np.abs(found - torch_logits(folder, TOKENS)).max() < 1e-4


@pytest.mark.slow
def test_embedded_model_with_blocks_of_128(tmp_path: Path) -> None:
    from mental_slm.language_model.loading import load_tokenizer
    from mental_slm.language_model.options import ModelOptions
    from mental_slm.language_model.source import obtain_model

    options = ModelOptions(name="HuggingFaceTB/SmolLM2-135M-Instruct", source="embedded", threads=1)
    model = obtain_model(options, tmp_path / "base")
    (tmp_path / "static").mkdir()
    build_static_decoder(model.path, tmp_path / "static", 128, 256, 10)
    text = "The days are long and the nights are short. I walk by the river and count the boats. "
    tokens = load_tokenizer(model.path)(text * 9).input_ids[: 140 + STEPS]
    found = static_logits(tmp_path / "static", tokens, STEPS)
    assert len(tokens) == 140 + STEPS
    assert np.abs(found - torch_logits(model.path, tokens)).max() < 1e-4


def test_padding_and_the_split_between_graphs_change_nothing(npu_line) -> None:
    whole = static_logits(npu_line.static.path, TOKENS, 1)
    for decoded in (7, 30):
        other = static_logits(npu_line.static.path, TOKENS, decoded)
        assert np.abs(other - whole).max() < 1e-4


def test_the_last_position_of_the_context_can_be_used(npu_line) -> None:
    tokens = np.random.default_rng(1).integers(3, 49152, 64).tolist()
    expected = torch_logits(npu_line.model.path, tokens)
    for decoded in (1, 16):
        found = static_logits(npu_line.static.path, tokens, decoded)
        assert np.abs(found - expected).max() < 1e-4
    with pytest.raises(ValueError, match="65 tokens, 1 of them decoded, does not fit a context"):
        static_logits(npu_line.static.path, [*tokens, 3], 1)
    with pytest.raises(ValueError, match="does not fit"):
        static_logits(npu_line.static.path, [3, 4], 2)


def test_graphs_have_fixed_shapes_and_share_their_weights(npu_line) -> None:
    import onnx

    folder = npu_line.static.path
    for part in range(2):
        offsets = []
        for kind in KINDS:
            path = folder / f"{graph_name(part, kind)}.onnx"
            onnx.checker.check_model(str(path))
            model = onnx.load(path, load_external_data=False)
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
            values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
            known = {value.name: value.type.tensor_type.shape.dim for value in values}
            assert all(name in known for node in model.graph.node for name in node.output)
            assert all(dim.dim_value > 0 for dims in known.values() for dim in dims)
            weights = {tensor.name for tensor in model.graph.initializer}
            products = [node for node in model.graph.node if node.op_type == "MatMul"]
            assert len(products) == 2, "only queries with keys, and shares with values"
            assert not weights & {name for node in products for name in node.input}
            assert sum(node.op_type == "Conv" for node in model.graph.node) == 7 + part
            offsets.append(
                {
                    tensor.name: [entry.value for entry in tensor.external_data]
                    for tensor in model.graph.initializer
                    if tensor.external_data
                }
            )
        assert offsets[0] == offsets[1]
        assert {places[0] for places in offsets[0].values()} == {f"part{part}.data"}
    past = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    assert past["past_key_1"] == [1, 2, 16, 63]
    assert past["past_value_1"] == [1, 2, 63, 16]


def test_same_model_same_bytes(npu_line, tmp_path: Path) -> None:
    build_static_decoder(npu_line.model.path, tmp_path, 16, 64, 1)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (npu_line.static.path / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_type": "gpt2"}, "model_type"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"max_position_embeddings": 63}, "max_position_embeddings is 63, a context of 64"),
        ({"vocab_size": 7}, "weight model.embed_tokens.weight has shape"),
    ],
)
def test_what_it_does_not_compute_is_refused(settings, words, model_of, tmp_path) -> None:
    source = Path(shutil.copytree(model_of("qwen2-tied").path, tmp_path / "model"))
    config = json.loads((source / "config.json").read_text()) | settings
    (source / "config.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=words):
        build_static_decoder(source, tmp_path / "out", 16, 64, 2)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "static.json").write_text('{"geometry": {')
    with pytest.raises(ValueError, match=r"static\.json: no manifest of a static decoder"):
        read_geometry(tmp_path)
