"""ONNX graphs with their weights and sidecars."""

from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from mental_slm.datasets.reference import ReferenceDataset
from mental_slm.references import OnnxRef, Reference


class ONNXDataset(ReferenceDataset[OnnxRef]):
    """A folder with an ONNX graph, its external weights and what lies beside them.

    Inputs and outputs are read from the graph when it is saved and noted, so that the preview
    needs no ``onnx``.
    """

    reference_type: ClassVar[type[Reference]] = OnnxRef

    def _inspect(self, reference: OnnxRef) -> dict[str, Any]:
        import onnx

        path = reference.path / reference.model_file
        if not path.is_file():
            raise ValueError(f"{reference.model_file} is missing")
        try:
            model = onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf's own error class is no public part of onnx
            raise ValueError(f"{reference.model_file} is cut off or no ONNX graph") from error
        opset = next((entry.version for entry in model.opset_import if not entry.domain), None)
        if opset != reference.opset:
            raise ValueError(
                f"{reference.model_file} has opset {opset}, its reference says {reference.opset}"
            )
        check_external_data(model, reference.path)
        return {
            "inputs": [describe_value(value) for value in model.graph.input],
            "outputs": [describe_value(value) for value in model.graph.output],
        }


def check_external_data(model: Any, folder: Path) -> None:
    """Check that the weights outside the graph are there, inside the folder and whole.

    Args:
        model: An ``onnx.ModelProto`` loaded without its external data.
        folder: Where the graph lies.

    Raises:
        ValueError: Names the file at fault.
    """
    ends: dict[str, int] = {}
    for tensor in model.graph.initializer:
        places = {entry.key: entry.value for entry in tensor.external_data}
        if "location" in places:
            end = int(places.get("offset", 0)) + int(places.get("length", 0))
            ends[places["location"]] = max(end, ends.get(places["location"], 0))
    for name, end in ends.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"weights at {name}, outside the folder of the graph")
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing, which holds weights of the graph")
        if (size := (folder / name).stat().st_size) < end:
            raise ValueError(f"{name} has {size} bytes, the graph needs {end}")


def describe_value(value: Any) -> str:
    """Return an input or output (``onnx.ValueInfoProto``) as ``name: type[dimensions]``."""
    from onnx import TensorProto

    tensor = value.type.tensor_type
    dimensions = (str(dim.dim_param or dim.dim_value) for dim in tensor.shape.dim)
    kind = TensorProto.DataType.Name(tensor.elem_type).lower()
    return f"{value.name}: {kind}[{', '.join(dimensions)}]"
