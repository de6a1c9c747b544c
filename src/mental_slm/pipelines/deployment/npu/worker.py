"""The only module that loads the vendor's libraries: onnxruntime-qnn in a process of its own.

``python -m mental_slm.pipelines.deployment.npu.worker config.json result.json``

Tasks (``config["task"]``):

* ``convert``: ``graph`` -> ``target``, an IR container (what the SDK's converter makes).
* ``prepare``: ``graph`` -> ``target``, compiled for ``soc_model`` and ``htp_arch``: a container
  where ``container`` is true, else a context binary behind a small graph (``target`` is that
  graph; the binary lies beside it).
* ``emulate``: runs the ``steps`` of each sample through the context graphs of ``prepared`` on this
  machine and writes the logits to ``target``; ``folder`` holds manifest and position tables.

The options are those documented for the execution provider, but for two: ``dump_qnn_ir_dlc`` is
meant for debugging, and that lists of chips give a container (with a comma at the end: for one chip)
is stated nowhere. Both are tested with the one minor version that the package extra allows.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from mental_slm.pipelines.deployment.npu.static_decoder import Kind, graph_name
from mental_slm.storage import write_text

PROVIDER = "QNNExecutionProvider"


def main(config_file: Path, result_file: Path) -> int:
    """Run one task; returns the exit status."""
    config = json.loads(config_file.read_text("utf-8"))
    tasks = {"convert": convert, "prepare": prepare, "emulate": emulate}
    result = {**tasks[config["task"]](config), **versions()}
    write_text(result_file, json.dumps(result, indent=2) + "\n")
    return 0


def convert(config: dict[str, Any]) -> dict[str, Any]:
    """Make an IR container; its own name is a hash, so it is renamed."""
    import onnxruntime_qnn

    target = Path(config["target"])
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        provider = {
            "backend_type": "ir",
            "dump_qnn_ir_dlc": "1",
            "dump_qnn_ir_dlc_dir": folder,
            "qnn_ir_backend_path": os.path.join(onnxruntime_qnn.LIB_DIR_FULL_PATH, "libQnnIr.so"),
        }
        _open(Path(config["graph"]), provider, {})
        made = list(Path(folder).glob("*.dlc"))
        if len(made) != 1:
            raise RuntimeError(
                f"{config['graph']}: {len(made)} containers instead of one; a graph with an "
                "operator that the provider does not know falls into pieces"
            )
        shutil.move(made[0], target)
    return {"graph_name": made[0].stem}


def prepare(config: dict[str, Any]) -> dict[str, Any]:
    """Compile a graph for a chip."""
    target = Path(config["target"])
    comma = "," if config["container"] else ""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        context = Path(folder) / f"{target.stem}.onnx"
        provider = {
            **_htp(),
            "soc_model": f"{config['soc_model']}{comma}",
            "htp_arch": f"{config['htp_arch']}{comma}",
            "enable_htp_prepare_only": "1",
        }
        session = {
            "ep.context_enable": "1",
            "ep.context_file_path": str(context),
            "ep.context_embed_mode": "0",
        }
        _open(Path(config["graph"]), provider, session)
        binary = next(Path(folder).glob("*.bin"))
        if config["container"]:
            shutil.move(binary, target)
        else:
            shutil.move(binary, target.parent / binary.name)
            shutil.move(context, target)
    return {} if config["container"] else _stamp(target)


def emulate(config: dict[str, Any]) -> dict[str, Any]:
    """Run the compiled graphs on this machine."""
    import numpy as np

    from mental_slm.pipelines.deployment.npu.runner import Step, run_parts

    def open_graph(part: int, kind: Kind) -> Any:
        graph = Path(config["prepared"]) / f"{graph_name(part, kind)}.onnx"
        chip = {name: str(config[name]) for name in ("soc_model", "htp_arch")}
        return _open(graph, {**_htp(), **chip}, {})

    samples = [
        [Step(step["kind"], step["start"], tuple(step["token_ids"])) for step in steps]
        for steps in config["samples"]
    ]
    logits = run_parts(Path(config["folder"]), samples, open_graph)
    np.savez(config["target"], *logits)
    return {"samples": len(logits)}


def versions() -> dict[str, str]:
    """Return the versions of the tools."""
    from importlib.metadata import version

    return {name: version(name) for name in ("onnxruntime", "onnxruntime-qnn")}


def _open(graph: Path, provider: dict[str, str], session: dict[str, str]) -> Any:
    import onnxruntime
    import onnxruntime_qnn

    if PROVIDER not in {device.ep_name for device in onnxruntime.get_ep_devices()}:
        onnxruntime.register_execution_provider_library(
            PROVIDER, onnxruntime_qnn.get_library_path()
        )
    device = next(d for d in onnxruntime.get_ep_devices() if d.ep_name == PROVIDER)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in {"session.disable_cpu_ep_fallback": "1", **session}.items():
        options.add_session_config_entry(key, value)
    # inputs and outputs stay float32, whatever the graph computes in
    options.add_provider_for_devices([device], {**provider, "offload_graph_io_quantization": "0"})
    return onnxruntime.InferenceSession(str(graph), options)


def _htp() -> dict[str, str]:
    import onnxruntime_qnn

    return {"backend_path": onnxruntime_qnn.get_qnn_htp_path()}


def _stamp(context: Path) -> dict[str, Any]:
    """Return what the compiled graph says about itself: versions, chip and architecture."""
    import onnx

    properties = onnx.load(context, load_external_data=False).metadata_props
    return {"stamp": {entry.key: entry.value for entry in properties}}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
