"""What makes containers: onnxruntime-qnn, or the vendor's SDK. One contract for both.

:func:`make_containers` fills the ``target`` of a :class:`Job`: for every graph ``<graph>.dlc`` and,
per chip, ``<soc>/<graph>.dlc`` (compiled), with a manifest. What the chosen back end lacks on this
machine, :func:`missing_for` says in a sentence beforehand.
"""

import importlib.util
import json
import os
import platform
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mental_slm.datasets.dlc import CHIPS
from mental_slm.pipelines.deployment.npu.child import run_command, run_worker
from mental_slm.pipelines.deployment.npu.options import NpuOptions
from mental_slm.pipelines.deployment.npu.qdq import SCHEMES
from mental_slm.pipelines.deployment.npu.static_decoder import (
    KINDS,
    POSITIONS_FILE,
    graph_name,
    read_geometry,
)
from mental_slm.pipelines.deployment.npu.static_decoder import MANIFEST_FILE as STATIC_MANIFEST
from mental_slm.storage import write_text

SCRIPT = "convert.sh"
MANIFEST_FILE = "manifest.json"
SDK_TOOLS = {
    "qairt": ("qairt-converter", "qairt-quantizer", "snpe-dlc-graph-prepare"),
    "snpe": ("snpe-onnx-to-dlc", "snpe-dlc-quantize", "snpe-dlc-graph-prepare"),
}


@dataclass(frozen=True)
class Job:
    """Containers to make.

    Attributes:
        static: Folder of the float graphs.
        quantised: Folder of the quantised graphs.
        calibration: Folder of the calibration set.
        target: An existing, empty folder.
        logs: For what the tools print.
        options: ``scheme``, ``soc``, ``sdk_tools`` and ``step_time_limit`` count.
    """

    static: Path
    quantised: Path
    calibration: Path
    target: Path
    logs: Path
    options: NpuOptions

    def graphs(self) -> list[str]:
        """Return the names of all graphs."""
        parts = range(len(read_geometry(self.static).parts()))
        return [graph_name(part, kind) for part in parts for kind in KINDS]


def missing_for(options: NpuOptions) -> str:
    """Say in one sentence what the chosen back end lacks on this machine; empty if nothing."""
    if options.backend == "none":
        return "deployment.npu.backend is none."
    if options.backend == "qairt-sdk":
        tools = [tool for tool in SDK_TOOLS[options.sdk_tools] if not shutil.which(tool)]
        return f"not run: {', '.join(tools)} not on PATH; {SCRIPT} is ready." if tools else ""
    machine = (platform.system(), platform.machine())
    if machine != ("Linux", "x86_64"):
        return (
            f"onnxruntime-qnn makes containers on Linux x86-64 only, this is {' '.join(machine)}."
        )
    if importlib.util.find_spec("onnxruntime_qnn") is None:
        return "onnxruntime-qnn is not installed: pip install 'mental-slm[qualcomm]'."
    return ""


def make_containers(job: Job, missing: str) -> None:
    """Fill the job's target: containers where possible, and what a program needs to run them.

    Args:
        job: What to make.
        missing: From :func:`missing_for`; the SDK's script is written nevertheless.

    Raises:
        VendorStepFailed: Names the step that crashed, hung or refused.
    """
    facts: dict[str, Any] = {}
    if job.options.backend == "qairt-sdk":
        facts = make_with_sdk(job, run=not missing)
    elif not missing:
        facts = make_with_ort_qnn(job)
    for name in (STATIC_MANIFEST, POSITIONS_FILE):
        shutil.copyfile(job.quantised / name, job.target / name)
    manifest = {
        "backend": job.options.backend,
        "scheme": job.options.scheme,
        "soc": {soc: asdict(CHIPS[soc]) for soc in job.options.soc},
        "not_run_because": missing,
        **facts,
    }
    write_text(job.target / MANIFEST_FILE, json.dumps(manifest, indent=2) + "\n")


def make_with_ort_qnn(job: Job) -> dict[str, Any]:
    """Make containers with onnxruntime-qnn, each step in a process of its own.

    Beside each compiled container lies the same as a context binary (``<graph>.onnx`` and
    ``<graph>_qnn.bin``), the documented form, which can also be run in emulation here.

    Raises:
        VendorStepFailed: Names the step.
    """
    facts: dict[str, Any] = {"tools": {}, "stamps": {}}
    limit = job.options.step_time_limit
    for graph in job.graphs():
        source = str(job.quantised / f"{graph}.onnx")

        def run(step: str, **config: Any) -> dict[str, Any]:
            logs = job.logs / step.replace(" ", "_")
            return run_worker(step, config, logs, limit)

        made = run(
            f"convert {graph}",
            task="convert",
            graph=source,
            target=str(job.target / f"{graph}.dlc"),
        )
        facts["tools"] = {name: made[name] for name in ("onnxruntime", "onnxruntime-qnn")}
        for soc in job.options.soc:
            chip = CHIPS[soc]
            (job.target / soc).mkdir(exist_ok=True)
            for container, suffix in ((True, ".dlc"), (False, ".onnx")):
                made = run(
                    f"prepare {graph} for {soc} as {'container' if container else 'context'}",
                    task="prepare",
                    graph=source,
                    target=str(job.target / soc / f"{graph}{suffix}"),
                    soc_model=chip.soc_model,
                    htp_arch=chip.htp_arch,
                    container=container,
                )
            facts["stamps"][f"{soc}/{graph}"] = made["stamp"]
    return facts


def make_with_sdk(job: Job, run: bool) -> dict[str, Any]:
    """Write down how the vendor's SDK makes containers, and let it do so.

    The SDK quantises by itself, from the float graphs and the same calibration set.

    Args:
        job: What to make.
        run: False where the SDK is not on PATH.

    Raises:
        VendorStepFailed: Names the tool.
    """
    write_script(job)
    if not run:
        return {"script": SCRIPT}
    commands = sdk_commands(job, str(job.static), str(job.calibration), str(job.target))
    for soc in job.options.soc:
        (job.target / soc).mkdir()
    for number, (folder, command) in enumerate(commands):
        step = f"{command[0]} ({Path(command[-1]).name})"
        log = job.logs / f"{number:03d}_{command[0]}.log"
        run_command(step, command, log, job.options.step_time_limit, cwd=Path(folder))
    for unquantised in job.target.glob("*.float.dlc"):
        unquantised.unlink()
    return {"script": SCRIPT, "tools": list(_tools(job))}


def sdk_commands(
    job: Job, static: str, calibration: str, target: str
) -> list[tuple[str, list[str]]]:
    """Return the SDK's command lines, each with the folder it runs in.

    Args:
        job: What to make.
        static: Folder of the float graphs, as it stands in the commands.
        calibration: Of the calibration set; lists are relative, so the quantiser runs inside.
        target: Of the containers.
    """
    converter, quantiser, preparer = _tools(job)
    bits = SCHEMES[job.options.scheme]
    commands = []
    for graph in job.graphs():
        unquantised, quantised = f"{target}/{graph}.float.dlc", f"{target}/{graph}.dlc"
        commands.append(
            (
                target,
                [
                    converter,
                    "--input_network",
                    f"{static}/{graph}.onnx",
                    "--output_path",
                    unquantised,
                ],
            )
        )
        precision = {
            "--act_bitwidth": str(bits.activations),
            "--weights_bitwidth": str(bits.weights),
            "--bias_bitwidth": "32",
        }
        flags = ["--use_per_channel_quantization"]
        if job.options.sdk_tools == "qairt":
            precision |= {
                "--act_quantizer_calibration": "min-max",
                "--act_quantizer_schema": "asymmetric",
                "--param_quantizer_calibration": "min-max",
                "--param_quantizer_schema": "symmetric",
            }
            flags += ["--use_per_row_quantization"]
            flags += ["--pack_4_bit_weights"] if bits.weights == 4 else []
        commands.append(
            (
                f"{calibration}/{graph}",
                [
                    quantiser,
                    *(word for pair in precision.items() for word in pair),
                    *flags,
                    *("--input_list", "input_list.txt"),
                    *("--input_dlc", unquantised),
                    *("--output_dlc", quantised),
                ],
            )
        )
        commands += [
            (
                target,
                [
                    preparer,
                    *("--htp_socs", soc),
                    *("--input_dlc", quantised),
                    *("--output_dlc", f"{target}/{soc}/{graph}.dlc"),
                ],
            )
            for soc in job.options.soc
        ]
    return commands


def write_script(job: Job) -> None:
    """Write the SDK's command lines as a shell script that needs only two folders."""
    places = ("$STATIC", "$CALIBRATION", "$HERE")
    lines = [
        "#!/bin/sh",
        "# Makes the containers with the vendor's SDK (its tools on PATH):",
        "#   STATIC=<folder of the float graphs> CALIBRATION=<calibration set> sh convert.sh",
        "set -eu",
        ': "${STATIC:?folder of the float graphs (part0_prompt.onnx ...)}"',
        ': "${CALIBRATION:?folder of the calibration set (calibration.json ...)}"',
        'STATIC=$(cd "$STATIC" && pwd)',
        'CALIBRATION=$(cd "$CALIBRATION" && pwd)',
        'HERE=$(cd "$(dirname "$0")" && pwd)',
        *(f'mkdir -p "$HERE/{soc}"' for soc in job.options.soc),
    ]
    for folder, command in sdk_commands(job, *places):
        words = " ".join(f'"{word}"' if "$" in word else shlex.quote(word) for word in command)
        lines.append(f'(cd "{folder}" && {words})')
    lines.append('rm -f "$HERE"/*.float.dlc')
    write_text(job.target / SCRIPT, "\n".join(lines) + "\n")
    os.chmod(job.target / SCRIPT, 0o755)


def _tools(job: Job) -> tuple[str, str, str]:
    return SDK_TOOLS[job.options.sdk_tools]
