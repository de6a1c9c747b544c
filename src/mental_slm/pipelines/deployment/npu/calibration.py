"""The calibration set: what the graphs see when they read real training rows.

A set is a folder with, for each graph, ``<graph>/<sample>/<input>.raw`` (C order, no header),
``<graph>/input_list.txt`` (one line per sample, ``name:=path`` relative to the list: the form that
the vendor's quantiser reads) and, above them, a manifest with dtype and shape of every input, the
ids of the rows and the SHA-256 of every file. Keys and values of earlier positions are those the
float model computed. One set feeds every quantiser.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mental_slm.fingerprints import digest_file
from mental_slm.pipelines.deployment.npu.runner import Feeds, Step, cpu_opener, run_parts
from mental_slm.pipelines.deployment.npu.static_decoder import graph_name
from mental_slm.storage import write_text

MANIFEST_FILE = "calibration.json"
LIST_FILE = "input_list.txt"
SEPARATOR = ":="


class CalibrationDamaged(ValueError):
    """A calibration set is not what its manifest or the graph says."""


def draw_rows(pairs: Sequence[dict[str, Any]], rows: int, seed: int) -> list[dict[str, Any]]:
    """Draw training pairs evenly over the tasks; the same seed draws the same rows.

    Raises:
        ValueError: There is no pair with a response.
    """
    by_task: dict[str, list[dict[str, Any]]] = {}
    for pair in sorted(pairs, key=lambda pair: str(pair["pair_id"])):
        if pair["response"]:
            by_task.setdefault(pair["task"], []).append(pair)
    if not by_task:
        raise ValueError("pairs_train: no pair has a response; calibration needs training rows")
    draw = random.Random(seed)
    waiting = [draw.sample(by_task[task], len(by_task[task])) for task in sorted(by_task)]
    drawn: list[dict[str, Any]] = []
    while len(drawn) < rows and any(waiting):
        drawn += [group.pop() for group in waiting if group]
    return drawn[:rows]


def write_calibration(
    static_folder: Path,
    samples: Sequence[Sequence[Step]],
    target: Path,
    threads: int,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Run texts through the float graphs and keep what each graph was fed.

    Args:
        static_folder: Of the float graphs.
        samples: Steps of each text.
        target: An existing, empty folder.
        threads: CPU threads.
        facts: Goes into the manifest (row ids, seed).

    Returns:
        The manifest.
    """
    graphs: dict[str, dict[str, Any]] = {}
    lists: dict[str, list[str]] = {}

    def capture(part: int, _: int, step: Step, feeds: Feeds) -> None:
        graph = graph_name(part, step.kind)
        lines = lists.setdefault(graph, [])
        folder = target / graph / f"{len(lines):03d}"
        folder.mkdir(parents=True)
        for name, values in feeds.items():
            np.ascontiguousarray(values).tofile(folder / f"{name}.raw")
        lines.append(" ".join(f"{name}{SEPARATOR}{folder.name}/{name}.raw" for name in feeds))
        graphs[graph] = {
            "samples": len(lines),
            "inputs": {
                name: {"dtype": str(values.dtype), "shape": list(values.shape)}
                for name, values in feeds.items()
            },
        }

    run_parts(static_folder, samples, cpu_opener(static_folder, threads), capture)
    for graph, lines in lists.items():
        write_text(target / graph / LIST_FILE, "\n".join(lines) + "\n")
    files = sorted(path for path in target.rglob("*") if path.is_file())
    manifest = {
        **facts,
        "graphs": graphs,
        "files": {path.relative_to(target).as_posix(): digest_file(path) for path in files},
    }
    write_text(target / MANIFEST_FILE, json.dumps(manifest, indent=2) + "\n")
    return manifest


def read_samples(folder: Path, graph_file: Path) -> Iterator[Feeds]:
    """Check the samples of one graph and yield them one by one.

    Args:
        folder: Of the set.
        graph_file: The ONNX graph that they are for.

    Raises:
        CalibrationDamaged: Names list, line and file, and what is wrong.
    """
    graph = graph_file.stem
    expected = _inputs_of(folder, graph, graph_file)
    digests = _manifest(folder)["files"]
    for number, line in enumerate(_lines(folder / graph / LIST_FILE), 1):
        where = f"{folder / graph / LIST_FILE}, line {number}"
        feeds = {}
        for item in line.split():
            name, path = _split_item(item, where)
            if name not in expected:
                raise CalibrationDamaged(f"{where}: {graph} has no input {name}")
            dtype, shape = expected[name]
            file = folder / graph / path
            relative = PurePosixPath(graph, path).as_posix()
            feeds[name] = _read_raw(file, dtype, shape, digests.get(relative), where)
        if missing := sorted(set(expected) - set(feeds)):
            raise CalibrationDamaged(f"{where}: nothing for the input {missing[0]}")
        yield feeds


def _inputs_of(
    folder: Path, graph: str, graph_file: Path
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return dtype and shape of each input of a graph, after comparing them with the manifest's."""
    import onnx

    entry = _manifest(folder)["graphs"].get(graph)
    if entry is None:
        raise CalibrationDamaged(f"{folder / MANIFEST_FILE}: no samples for {graph}")
    inputs = {}
    for value in onnx.load(graph_file, load_external_data=False).graph.input:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        noted = entry["inputs"].get(value.name)
        wanted = {"dtype": str(dtype), "shape": list(shape)}
        if noted != wanted:
            raise CalibrationDamaged(
                f"{folder / MANIFEST_FILE}: {graph} takes {value.name} as {_say(wanted)}, the set "
                f"holds {_say(noted)}; make the set again (remove {folder})"
            )
        inputs[value.name] = dtype, shape
    return inputs


def _say(entry: dict[str, Any] | None) -> str:
    return f"{entry['dtype']}{entry['shape']}" if entry else "nothing"


def _split_item(item: str, where: str) -> tuple[str, str]:
    name, separator, path = item.partition(SEPARATOR)
    if not separator:
        raise CalibrationDamaged(f"{where}: {item!r} is not name{SEPARATOR}path")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise CalibrationDamaged(
            f"{where}: the path of {name} must be relative to the list and stay below it"
        )
    return name, path


def _read_raw(
    file: Path, dtype: np.dtype[Any], shape: tuple[int, ...], sha256: str | None, where: str
) -> np.ndarray[Any, Any]:
    if not file.is_file():
        raise CalibrationDamaged(f"{where}: {file.name} is missing in {file.parent}")
    needed = int(np.prod(shape)) * dtype.itemsize
    if (found := file.stat().st_size) != needed:
        raise CalibrationDamaged(
            f"{where}: {file.name} has {found} bytes, {dtype}{list(shape)} needs {needed}; was it "
            "written in another dtype?"
        )
    if digest_file(file) != sha256:
        raise CalibrationDamaged(f"{where}: {file.name} is not the file of the manifest")
    return np.fromfile(file, dtype).reshape(shape)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise CalibrationDamaged(f"{path} is missing")
    lines = path.read_text("utf-8").splitlines()
    return [line for line in lines if line.strip() and line[0] not in "#%"]


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        manifest = dict(json.loads(path.read_text("utf-8")))
        if not {"graphs", "files"} <= set(manifest):
            raise ValueError("graphs or files is missing")
    except (OSError, ValueError, TypeError) as error:
        raise CalibrationDamaged(f"{path}: damaged ({error})") from error
    return manifest
