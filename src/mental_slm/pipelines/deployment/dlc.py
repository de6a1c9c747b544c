"""What stands between an ONNX graph and a Qualcomm deep learning container on this machine."""

import importlib.util
import shutil

#: Converters of the vendor's SDK, the newer name first.
SDK_TOOLS = ("qairt-converter", "snpe-onnx-to-dlc")
#: The same libraries as a Python package.
PACKAGE = "onnxruntime_qnn"


def missing_for_dlc() -> str:
    """Say what is missing; a converter that is present is named as well."""
    tool = next((tool for tool in SDK_TOOLS if shutil.which(tool)), None)
    if tool is None and importlib.util.find_spec(PACKAGE) is not None:
        tool = PACKAGE
    graph = "a graph with static shapes (the exported one has dynamic shapes)"
    if tool is not None:
        return f"{graph}; the converter is here: {tool}"
    return (
        f"{graph}, and a converter: `pip install onnxruntime-qnn` (Linux x86-64) or the vendor's "
        f"SDK with {' or '.join(SDK_TOOLS)} on PATH"
    )
