"""Quantised graphs: bits where they belong, shared encodings, gates that keep bad work aside."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from mental_slm.pipelines.deployment.npu.nodes import quantise_for_npu
from mental_slm.pipelines.deployment.npu.parity import (
    check_emulated,
    check_quantised,
    check_static,
    compare_step,
    render_table,
    stop_if_broken,
)
from mental_slm.pipelines.deployment.npu.qdq import SCHEMES, quantise_decoder
from mental_slm.pipelines.deployment.npu.runner import Step, cpu_opener, plan_steps, run_parts
from mental_slm.pipelines.deployment.npu.static_decoder import read_geometry
from mental_slm.pipelines.deployment.parity import ParityBroken, compare_logits
from mental_slm.pipelines.deployment.task_metric import Question

TOKENS = np.random.default_rng(0).integers(3, 49152, 40).tolist()


@pytest.fixture(scope="module")
def quantised(npu_line, tmp_path_factory):
    """Return a maker of the quantised graphs of a scheme."""
    made: dict[str, Path] = {}
    calibration = npu_line.workspace / "calibration" / "made"

    def make(scheme: str) -> Path:
        if scheme not in made:
            made[scheme] = tmp_path_factory.mktemp(scheme)
            quantise_decoder(npu_line.static.path, calibration, made[scheme], scheme)
        return made[scheme]

    return make


def run(folder: Path, decoded: int = 8) -> list[np.ndarray]:
    samples = [plan_steps(TOKENS, decoded, read_geometry(folder))]
    return run_parts(folder, samples, cpu_opener(folder, threads=1))


def encodings(path: Path) -> dict[str, tuple[int, list[int]]]:
    """Return integer type and shape of the scale of each dequantised tensor."""
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    return {
        node.input[0]: (weights[node.input[2]].data_type, list(weights[node.input[1]].dims))
        for node in graph.node
        if node.op_type == "DequantizeLinear"
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bits_per_channel_and_the_head_in_eight(scheme: str, quantised) -> None:
    types = {4: onnx.TensorProto.INT4, 8: onnx.TensorProto.INT8}
    activation = {8: onnx.TensorProto.UINT8, 16: onnx.TensorProto.UINT16}
    bits = SCHEMES[scheme]
    found = encodings(quantised(scheme) / "part1_prompt.onnx")
    layer = found["layers.1.mlp.down_proj.weight_quantized"]
    assert layer == (types[bits.weights], [64]), "one scale per output channel"
    assert found["lm_head.weight_quantized"] == (types[8], [49152])
    assert found["logits_QuantizeLinear_Output"] == (activation[bits.activations], [])


def test_fewer_bits_lose_more(npu_line, quantised) -> None:
    exact = run(npu_line.static.path)
    lost = {s: compare_logits(exact, run(quantised(s)))["kl_share"] for s in SCHEMES}
    assert 0 < lost["a16w8"] < 0.01
    assert lost["a16w8"] < lost["a16w4"]
    assert lost["a16w8"] < lost["a8w8"]


def test_decode_graph_is_what_quantising_it_would_give(npu_line, quantised, tmp_path) -> None:
    """Quantised by itself with the same ranges, the decode graph computes the same."""
    from mental_slm.pipelines.deployment.npu.qdq import _quantise_graph

    ranges = npu_line.workspace / "calibration" / "made"
    own = Path(shutil.copytree(quantised("a16w8"), tmp_path / "own"))
    calibration = Path(shutil.copytree(ranges, tmp_path / "calibration"))
    for part in (0, 1):
        shutil.copy(
            calibration / f"part{part}_prompt.ranges", calibration / f"part{part}_decode.ranges"
        )
        graph = f"part{part}_decode.onnx"
        (own / graph).unlink()
        _quantise_graph(npu_line.static.path / graph, own / graph, calibration, SCHEMES["a16w8"])
    assert np.array_equal(run(own)[0], run(quantised("a16w8"))[0])


def test_both_graphs_of_a_part_share_one_file_of_weights(quantised) -> None:
    folder = quantised("a16w8")
    assert sorted(path.name for path in folder.glob("*.data")) == [
        "part0_prompt.onnx.data",
        "part1_prompt.onnx.data",
    ]
    first, second = (
        onnx.load(folder / f"part1_{kind}.onnx", load_external_data=False).graph
        for kind in ("prompt", "decode")
    )
    assert [t.name for t in first.initializer] == [t.name for t in second.initializer]
    dims = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in second.input}
    assert dims["past_key_1"] == [1, 2, 16, 63]


def test_the_table_of_the_line(npu_line) -> None:
    static, quantised = npu_line.report["rows"]
    assert (static["step"], static["against"]) == ("static fp32", "torch")
    assert static["max_logit_difference"] < 1e-4
    assert (quantised["step"], quantised["against"]) == ("QDQ a16w8", "static fp32")
    assert quantised["cosine"] > 0.999
    assert quantised["perplexity_before"] == pytest.approx(static["perplexity"])
    assert all(gate["passed"] for gate in npu_line.report["gates"])
    json.dumps(npu_line.report, allow_nan=False)


def test_finished_work_is_used_again(npu_line, options, one_thread, make_pairs, caplog) -> None:
    caplog.set_level(logging.INFO)
    again, _ = quantise_for_npu(
        npu_line.static,
        npu_line.model,
        npu_line.calibration,
        make_pairs(10, "test"),
        options,
        one_thread,
        npu_line.workspace,
    )
    assert again == npu_line.quantised
    assert "quantised graphs (a16w8): re-using the result" in caplog.text


def test_a_broken_gate_keeps_the_work_aside(
    npu_line, options, one_thread, make_pairs, tmp_path: Path
) -> None:
    workspace = Path(shutil.copytree(npu_line.workspace, tmp_path / "work"))
    strict = options.npu.parity.model_copy(update={"quantised_min_cosine": 1.0})
    options = options.model_copy(update={"npu": options.npu.model_copy(update={"parity": strict})})
    arguments = (make_pairs(10, "test"), options, one_thread, workspace)
    with pytest.raises(ParityBroken, match=r"quantised_min_cosine: 0\.9.*allowed 1") as caught:
        quantise_for_npu(npu_line.static, npu_line.model, npu_line.calibration, *arguments)
    assert "| QDQ a16w8 | static fp32 |" in str(caught.value)
    assert "rejected/qdq_a16w8" in str(caught.value)
    assert (workspace / "rejected" / "qdq_a16w8" / "made" / "part1_decode.onnx").is_file()
    assert "| QDQ a16w8 |" in (workspace / "rejected" / "qdq_a16w8" / "parity.md").read_text()
    assert not (workspace / "qdq_a16w8").exists()


def test_comparison_by_hand() -> None:
    steps = [Step("prompt", 0, (0, 1))]
    before, after = np.log([[0.25, 0.75], [0.5, 0.5]]), np.log([[0.5, 0.5], [0.5, 0.5]])
    row = compare_step("a", "b", [steps], [before], [after])
    a, b = before[0], after[0]
    assert row["lowest_cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert row["cosine"] == pytest.approx((1 + row["lowest_cosine"]) / 2)
    assert row["perplexity"] == pytest.approx(2)
    assert row["perplexity_before"] == pytest.approx(4 / 3)
    assert row["task_items"] == 0
    assert "| a | b | 2 |" in render_table([row])
    question = Question([0], (0, 1), 1)
    asked_before, asked_after = np.log([[0.25, 0.75]]), np.log([[0.6, 0.4]])
    asked = compare_step(
        "a", "b", [steps], [before, asked_before], [after, asked_after], [question]
    )
    numbers = {"task_items": 1, "task_accuracy": 0.0, "task_accuracy_before": 1.0}
    assert asked | numbers == asked
    assert asked["cosine"] == row["cosine"]  # of the question only the label counts


@pytest.mark.parametrize(
    "key", ["max_logit_difference", "cosine", "kl_share", "decided_task_agreement"]
)
def test_no_number_passes_no_gate(key: str, npu_line, options) -> None:
    row = {**npu_line.report["rows"][1], key: float("nan")}
    limits = options.npu.parity.model_copy(update={"static_max_difference": 1e9})
    gates = [
        gate
        for check in (check_static, check_quantised, check_emulated)
        for gate in check(row, limits)
    ]
    assert not all(gate["passed"] for gate in gates)
    with pytest.raises(ParityBroken, match="nan, allowed"):
        stop_if_broken([row], gates, "here")
