"""Weight-only INT8: every constant matrix in blocks of 8-bit integers, activations in float32.

The integers come from ONNX Runtime's own block quantiser (``MatMulNBits``, contrib operator set).
Dynamic quantisation of activations (``quantize_dynamic``) ruins a small model (KL 0.51 nats against
0.004 for weight-only on SmolLM2-135M), so it is not offered.

A tied head shares its integers with the embedding: the head is a ``MatMulNBits`` and the embedding a
``GatherBlockQuantized`` over the same tensor, so that a vocabulary of 150,000 is stored once.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mental_slm.pipelines.deployment.export import GRAPH_FILE, save_graph

CONTRIB = "com.microsoft"
BITS = 8


def quantise_graph(source: Path, target: Path, block_size: int, accuracy_level: int) -> None:
    """Write an INT8 copy of an exported decoder.

    Weights are read, quantised and written one by one; the peak of memory is the largest of them.

    Args:
        source: Folder of the float graph.
        target: An existing, empty folder.
        block_size: Weights that share one scale; a power of two of at least 16.
        accuracy_level: Arithmetic of ``MatMulNBits``: 0 lets the runtime choose, 1 is float32,
            4 quantises activations to 8 bits per block on the fly (fastest on CPUs with VNNI).
    """
    import onnx
    import onnx_ir as ir

    model = ir.load(source / GRAPH_FILE)
    graph = model.graph
    for node in list(graph):
        if node.op_type == "MatMul" and node.inputs[1].is_initializer():
            _replace(graph, node, node.inputs[1], False, block_size, accuracy_level)
        elif node.op_type == "MatMul" and _transposed_weight(node) is not None:
            _replace(graph, node, _transposed_weight(node), True, block_size, accuracy_level)
    _share_embedding(graph, block_size)
    _drop_unused(graph)
    graph.opset_imports[CONTRIB] = 1
    save_graph(model, target)
    onnx.checker.check_model(str(target / GRAPH_FILE))


def quantise_matrix(
    weight: np.ndarray[Any, Any], block_size: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Quantise ``[in, out]`` to unsigned 8 bits around 128, in blocks along ``in``.

    Returns:
        Integers ``[out, blocks, block_size]`` and scales ``[out, blocks]``.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        DefaultWeightOnlyQuantizer,
    )

    config = DefaultWeightOnlyQuantConfig(block_size=block_size, is_symmetric=True, bits=BITS)
    packed, scales, _ = DefaultWeightOnlyQuantizer(config).qbits_block_quant(weight)
    return packed, scales.reshape(weight.shape[1], -1)


def _replace(
    graph: Any, node: Any, weight: Any, stored_out_in: bool, block_size: int, accuracy_level: int
) -> None:
    """Put a ``MatMulNBits`` in the place of a ``MatMul`` with a constant."""
    import onnx_ir as ir

    shape = [int(size) for size in weight.shape]
    outputs, inputs = shape if stored_out_in else shape[::-1]
    blocks = -(-inputs // block_size)
    pair = _LazyPair(weight.const_value, stored_out_in, block_size)
    packed = _initializer(
        graph, f"{weight.name}_Q8", pair.packed, (outputs, blocks, block_size), ir.DataType.UINT8
    )
    scales = _initializer(
        graph, f"{weight.name}_scales", pair.scales, (outputs, blocks), ir.DataType.FLOAT
    )
    new = ir.node(
        "MatMulNBits",
        inputs=[node.inputs[0], packed, scales],
        attributes={
            "K": inputs,
            "N": outputs,
            "bits": BITS,
            "block_size": block_size,
            "accuracy_level": accuracy_level,
        },
        domain=CONTRIB,
        name=f"{node.name}_Q8",
        num_outputs=1,
    )
    _substitute(graph, node, new)


def _share_embedding(graph: Any, block_size: int) -> None:
    """Let the embedding look up rows of the head's integers, where both are one matrix."""
    import onnx_ir as ir

    for node in list(graph):
        table = node.inputs[0] if node.op_type == "Gather" else None
        packed = graph.initializers.get(f"{table.name}_Q8") if table is not None else None
        if packed is None:
            continue
        rows, width = (int(size) for size in table.shape)
        if width % block_size:
            continue  # the head's rows are padded to whole blocks, the embedding's must not be
        flat = ir.node(
            "Reshape",
            inputs=[packed, _constant(graph, "embedding_shape", np.array([rows, width]))],
            name="embedding_rows",
            num_outputs=1,
        )
        new = ir.node(
            "GatherBlockQuantized",
            inputs=[flat.outputs[0], node.inputs[1], graph.initializers[f"{table.name}_scales"]],
            attributes={
                "bits": BITS,
                "block_size": block_size,
                "gather_axis": 0,
                "quantize_axis": 1,
            },
            domain=CONTRIB,
            name=f"{node.name}_Q8",
            num_outputs=1,
        )
        graph.insert_before(node, flat)
        _substitute(graph, node, new)


class _LazyPair:
    """Integers and scales of one weight, computed when they are written."""

    def __init__(self, weight: Any, stored_out_in: bool, block_size: int):
        self._weight = weight
        self._stored_out_in = stored_out_in
        self._block_size = block_size

    def packed(self) -> np.ndarray[Any, Any]:
        return self._quantise()[0]

    def scales(self) -> np.ndarray[Any, Any]:
        return self._quantise()[1]

    def _quantise(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        # done once for the integers and once for the scales: half a second more per 100M weights
        # against holding the integers of the whole model
        weight = self._weight.numpy()
        return quantise_matrix(
            np.ascontiguousarray(weight.T) if self._stored_out_in else weight, self._block_size
        )


def _initializer(graph: Any, name: str, make: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    import onnx_ir as ir

    tensor = ir.LazyTensor(
        lambda: ir.Tensor(make(), name=name), dtype=dtype, shape=ir.Shape(shape), name=name
    )
    value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
    value.const_value = tensor
    graph.register_initializer(value)
    return value


def _constant(graph: Any, name: str, array: np.ndarray[Any, Any]) -> Any:
    import onnx_ir as ir

    value = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(array.shape))
    value.const_value = ir.Tensor(array.astype(np.int64), name=name)
    graph.register_initializer(value)
    return value


def _transposed_weight(node: Any) -> Any | None:
    producer = node.inputs[1].producer()
    if producer is None or producer.op_type != "Transpose":
        return None
    return producer.inputs[0] if producer.inputs[0].is_initializer() else None


def _substitute(graph: Any, old: Any, new: Any) -> None:
    graph.insert_before(old, new)
    output, replacement = old.outputs[0], new.outputs[0]
    replacement.type, replacement.shape = output.type, output.shape
    name = output.name
    output.replace_all_uses_with(replacement, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    replacement.name = name


def _drop_unused(graph: Any) -> None:
    for node in reversed(list(graph)):
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
