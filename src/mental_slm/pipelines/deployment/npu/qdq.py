"""Static graphs with quantise/dequantise pairs (QDQ), in the form that Qualcomm's NPU takes.

ONNX Runtime's own quantiser does the work, with its configuration for QNN. Ranges of activations
are minimum and maximum over the calibration set and are kept in a file, so that a second scheme
costs no second calibration. The decode graph is not quantised again: it is the quantised prompt
graph with the shapes of the decode graph, so that both have the same encodings and share one file
of weights.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mental_slm.pipelines.deployment.npu.calibration import read_samples
from mental_slm.pipelines.deployment.npu.runner import Feeds
from mental_slm.pipelines.deployment.npu.static_decoder import (
    MANIFEST_FILE,
    POSITIONS_FILE,
    graph_name,
    read_geometry,
    weights_name,
)
from mental_slm.storage import write_text


@dataclass(frozen=True)
class Bits:
    """Bits of activations, of the weights of the layers and of the head."""

    activations: int
    weights: int
    head: int


#: Four bits per channel cost the head of a language model most; it stays at eight, as in the
#: recipes that chip makers publish.
SCHEMES = {"a16w8": Bits(16, 8, 8), "a16w4": Bits(16, 4, 8), "a8w8": Bits(8, 8, 8)}


def quantise_decoder(static_folder: Path, calibration: Path, target: Path, scheme: str) -> None:
    """Quantise every part of a static decoder.

    Args:
        static_folder: Of the float graphs.
        calibration: Folder of the calibration set; ranges are kept in it.
        target: An existing, empty folder.
        scheme: A key of :data:`SCHEMES`.

    Raises:
        CalibrationDamaged: See :func:`.calibration.read_samples`.
    """
    geometry = read_geometry(static_folder)
    for part in range(len(geometry.parts())):
        prompt, decode = (graph_name(part, kind) for kind in ("prompt", "decode"))
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            # onnx refuses weights with several hard links, which is how artefacts are published
            for name in (f"{prompt}.onnx", weights_name(part)):
                shutil.copyfile(static_folder / name, Path(folder) / name)
            _quantise_graph(
                Path(folder) / f"{prompt}.onnx",
                target / f"{prompt}.onnx",
                calibration,
                SCHEMES[scheme],
            )
        reshape_graph(
            target / f"{prompt}.onnx", static_folder / f"{decode}.onnx", target / f"{decode}.onnx"
        )
    shutil.copyfile(static_folder / POSITIONS_FILE, target / POSITIONS_FILE)
    manifest = json.loads((static_folder / MANIFEST_FILE).read_text("utf-8"))
    write_text(target / MANIFEST_FILE, json.dumps({**manifest, "scheme": scheme}, indent=2) + "\n")


def reshape_graph(quantised: Path, like: Path, target: Path) -> None:
    """Write a quantised graph with the shapes of another float graph of the same layers.

    Names are the same in both, so only inputs, outputs and constant shapes differ.

    Args:
        quantised: The quantised graph; its weights are shared, not copied.
        like: The float graph whose shapes are wanted.
        target: In the folder of ``quantised``.
    """
    import onnx

    model = onnx.load(quantised, load_external_data=False)
    wanted = onnx.load(like, load_external_data=False)
    shapes = {
        tensor.name: tensor
        for tensor in wanted.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64
    }
    graph = model.graph
    graph.name = wanted.graph.name
    for field in ("input", "output"):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(getattr(wanted.graph, field))
    for tensor in graph.initializer:
        if tensor.name in shapes:
            tensor.CopyFrom(shapes[tensor.name])
    del graph.value_info[:]
    onnx.save_model(model, target)
    onnx.checker.check_model(str(target))
    onnx.shape_inference.infer_shapes_path(str(target), str(target), strict_mode=True)


def _quantise_graph(source: Path, target: Path, calibration: Path, bits: Bits) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        """Feeds the calibration set to the quantiser."""

        def __init__(self) -> None:
            self._samples: Iterator[Feeds] = read_samples(calibration, source)

        def get_next(self) -> Feeds | None:
            """Return the next sample, None after the last."""
            return next(self._samples, None)

    types = {8: (QuantType.QUInt8, QuantType.QInt8), 16: (QuantType.QUInt16, QuantType.QInt16)}
    config = get_qnn_qdq_config(
        source,
        Samples(),
        activation_type=types[bits.activations][0],
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides=_overrides(source, bits),
    )
    quantize_static(
        source,
        target,
        Samples(),
        op_types_to_quantize=config.op_types_to_quantize,
        per_channel=True,
        activation_type=config.activation_type,
        weight_type=config.weight_type,
        use_external_data_format=True,
        extra_options=config.extra_options,
        calibration_cache_path=calibration / f"{source.stem}.ranges",
    )


def _overrides(source: Path, bits: Bits) -> dict[str, list[dict[str, Any]]]:
    import onnx
    from onnxruntime.quantization import QuantType

    if bits.weights == bits.head:
        return {}
    graph = onnx.load(source, load_external_data=False).graph
    narrow = {"quant_type": QuantType.QInt4, "axis": 0, "symmetric": True}
    return {
        node.input[1]: [dict(narrow)]
        for node in graph.node
        if node.op_type == "Conv" and node.output[0] != "lm_head.product"
    }
