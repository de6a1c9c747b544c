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
    graph: Any = model.graph
    _map_weights(graph, source)
    for node in list(graph):
        if node.op_type == "MatMul" and node.inputs[1].is_initializer():
            _replace_product(graph, node, node.inputs[1], False, block_size, accuracy_level)
        elif node.op_type == "MatMul" and _transposed_weight(node) is not None:
            weight = _transposed_weight(node)
            _replace_product(graph, node, weight, True, block_size, accuracy_level)
        elif node.op_type == "Gather" and node.inputs[0].is_initializer():
            _replace_lookup(graph, node, block_size)
    _drop_unused(graph)
    graph.opset_imports[CONTRIB] = 1
    save_graph(model, target)
    onnx.checker.check_model(str(target / GRAPH_FILE))


def _map_weights(graph: Any, folder: Path) -> None:
    """Map the weights beside the graph into memory ourselves.

    ``onnx_ir`` refuses a weight file with several hard links, which is how artefacts are published.
    """
    import onnx_ir as ir

    for value in graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            mapped = _mapped(value.const_value, folder)
            value.const_value = ir.Tensor(mapped, name=value.const_value.name)


def _mapped(weight: Any, folder: Path) -> np.ndarray[Any, Any]:
    return np.memmap(
        folder / weight.location,
        dtype=weight.dtype.numpy(),
        mode="r",
        offset=weight.offset or 0,
        shape=weight.shape.numpy(),
    )


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


def _replace_product(
    graph: Any, node: Any, weight: Any, stored_out_in: bool, block_size: int, accuracy_level: int
) -> None:
    """Put a ``MatMulNBits`` in the place of a ``MatMul`` with a constant."""
    import onnx_ir as ir

    outputs, inputs = weight.shape if stored_out_in else reversed(weight.shape)
    packed, scales = _quantised(graph, weight, stored_out_in, block_size)
    new = ir.node(
        "MatMulNBits",
        inputs=[node.inputs[0], packed, scales],
        attributes={
            "K": int(inputs),
            "N": int(outputs),
            "bits": BITS,
            "block_size": block_size,
            "accuracy_level": accuracy_level,
        },
        domain=CONTRIB,
        name=f"{node.name}_Q8",
        num_outputs=1,
    )
    _substitute(graph, node, new)


def _replace_lookup(graph: Any, node: Any, block_size: int) -> None:
    """Put a ``GatherBlockQuantized`` in the place of the ``Gather`` of the embedding."""
    import onnx_ir as ir

    table = node.inputs[0]
    rows, width = (int(size) for size in table.shape)
    if width % block_size:
        return  # rows of a product are padded to whole blocks, those of a lookup cannot be
    packed, scales = _quantised(graph, table, True, block_size)
    flat = ir.node(
        "Reshape",
        inputs=[packed, _constant(graph, "embedding_shape", np.array([rows, width]))],
        name="embedding_rows",
        num_outputs=1,
    )
    new = ir.node(
        "GatherBlockQuantized",
        inputs=[flat.outputs[0], node.inputs[1], scales],
        attributes={"bits": BITS, "block_size": block_size, "gather_axis": 0, "quantize_axis": 1},
        domain=CONTRIB,
        name=f"{node.name}_Q8",
        num_outputs=1,
    )
    graph.insert_before(node, flat)
    _substitute(graph, node, new)


def _quantised(graph: Any, weight: Any, stored_out_in: bool, block_size: int) -> tuple[Any, Any]:
    """Return the integers and scales of a weight; the second user of a weight shares the first's."""
    import onnx_ir as ir

    names = f"{weight.name}_Q8", f"{weight.name}_scales"
    if names[0] not in graph.initializers:
        outputs, inputs = weight.shape if stored_out_in else reversed(weight.shape)
        shape = int(outputs), -(-int(inputs) // block_size)
        pair = _LazyPair(weight.const_value, stored_out_in, block_size)
        _initializer(graph, names[0], pair.packed, (*shape, block_size), ir.DataType.UINT8)
        _initializer(graph, names[1], pair.scales, shape, ir.DataType.FLOAT)
    return graph.initializers[names[0]], graph.initializers[names[1]]


class _LazyPair:
    """Integers and scales of one weight, computed when they are written, integers first."""

    def __init__(self, weight: Any, stored_out_in: bool, block_size: int):
        self._weight = weight
        self._stored_out_in = stored_out_in
        self._block_size = block_size
        self._scales: np.ndarray[Any, Any] | None = None

    def packed(self) -> np.ndarray[Any, Any]:
        weight = self._weight.numpy()
        packed, self._scales = quantise_matrix(
            np.ascontiguousarray(weight.T) if self._stored_out_in else weight, self._block_size
        )
        return packed

    def scales(self) -> np.ndarray[Any, Any]:
        if self._scales is None:
            self.packed()
        assert self._scales is not None
        return self._scales


def _initializer(graph: Any, name: str, make: Any, shape: tuple[int, ...], dtype: Any) -> None:
    import onnx_ir as ir

    tensor = ir.LazyTensor(
        lambda: ir.Tensor(make(), name=name), dtype=dtype, shape=ir.Shape(shape), name=name
    )
    value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
    value.const_value = tensor
    graph.register_initializer(value)


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
