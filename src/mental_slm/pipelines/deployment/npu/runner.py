"""Running the graphs of a static decoder, part by part, over texts that are known beforehand.

All samples pass through one part before the next is opened, so that memory holds one part however
deep the model is. The same walk captures what calibration needs and compares one form of the graphs
with another; only the way to open a session differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mental_slm.pipelines.deployment.npu.static_decoder import (
    MASKED,
    POSITIONS_FILE,
    Array,
    Geometry,
    Kind,
    cache_names,
    graph_name,
    hidden_name,
    read_geometry,
)

#: Opens the graph of a part: anything with ``run(outputs, feeds)`` and ``get_outputs()``.
Opener = Callable[[int, Kind], Any]
Feeds = dict[str, Array]


@dataclass(frozen=True)
class Step:
    """One run of a graph.

    Attributes:
        kind: Which graph.
        start: Position of the first token.
        token_ids: At most as many as the graph takes; the rest of its block is padding.
    """

    kind: Kind
    start: int
    token_ids: tuple[int, ...]


def plan_steps(token_ids: Sequence[int], decoded: int, geometry: Geometry) -> list[Step]:
    """Cut a text into blocks for the prompt graph and single tokens for the decode graph.

    Args:
        token_ids: The whole text; at least one token more than ``decoded``.
        decoded: How many of the last tokens go through the decode graph.
        geometry: Of the graphs.

    Raises:
        ValueError: The text is too long for the context or too short for the split.
    """
    head, block = len(token_ids) - decoded, geometry.prompt_length
    last = (head - 1) // block * block  # the last block is padded: it must fit behind the cache
    if head < 1 or len(token_ids) > geometry.context or last > geometry.past("prompt"):
        raise ValueError(
            f"a text of {len(token_ids)} tokens, {decoded} of them decoded, does not fit a context "
            f"of {geometry.context}"
        )
    steps = [
        Step("prompt", start, tuple(token_ids[start : min(start + block, head)]))
        for start in range(0, head, block)
    ]
    return steps + [Step("decode", at, (token_ids[at],)) for at in range(head, len(token_ids))]


def run_parts(
    folder: Path,
    samples: Sequence[Sequence[Step]],
    open_graph: Opener,
    capture: Callable[[int, int, Step, Feeds], None] | None = None,
) -> list[Array]:
    """Run texts through all parts.

    Args:
        folder: With the manifest and the position tables.
        samples: Steps of each text.
        open_graph: Opens a graph of a part.
        capture: Sees ``part, sample, step, feeds`` of every run.

    Returns:
        Logits ``[tokens, vocabulary]`` per sample.
    """
    geometry = read_geometry(folder)
    positions = np.load(folder / POSITIONS_FILE)
    tables = {name: positions[name] for name in ("cosine", "sine")}
    entering = [[_padded_ids(step, geometry) for step in steps] for steps in samples]
    for part, layers in enumerate(geometry.parts()):
        sessions: dict[Kind, Any] = {}
        name = "input_ids" if part == 0 else hidden_name(layers.start)
        for number, steps in enumerate(samples):
            caches = _empty_caches(layers, geometry)
            for at, step in enumerate(steps):
                if step.kind not in sessions:
                    sessions[step.kind] = open_graph(part, step.kind)
                feeds = {name: entering[number][at], **position_inputs(step, geometry, tables)}
                feeds |= _past(caches, step, geometry)
                if capture:
                    capture(part, number, step, feeds)
                first, *new = run_session(sessions[step.kind], feeds)
                entering[number][at] = first
                _remember(caches, layers, new, step)
    return [_logits(steps, blocks) for steps, blocks in zip(samples, entering, strict=True)]


def run_session(session: Any, feeds: Feeds) -> list[Array]:
    """Run a graph; the first output is the logits or the hidden states, then the new cache."""
    results: list[Array] = session.run([output.name for output in session.get_outputs()], feeds)
    return results


def cpu_opener(folder: Path, threads: int) -> Opener:
    """Return a way to open the graphs of a folder with ONNX Runtime on the CPU.

    Args:
        folder: Of the graphs.
        threads: CPU threads.
    """
    import onnxruntime

    def open_graph(part: int, kind: Kind) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = folder / f"{graph_name(part, kind)}.onnx"
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    return open_graph


def position_inputs(step: Step, geometry: Geometry, tables: dict[str, Array]) -> Feeds:
    """Return the rows of the position tables and the mask of a step."""
    block, past = geometry.block(step.kind), geometry.past(step.kind)
    rows = np.minimum(np.arange(step.start, step.start + block), geometry.context - 1)
    mask = np.full((block, geometry.context), MASKED, np.float32)
    mask[:, : step.start] = 0.0
    mask[:, past:][np.tril_indices(block)] = 0.0
    return {
        **{name: table[rows][None, None] for name, table in tables.items()},
        "mask": mask[None, None],
    }


def _padded_ids(step: Step, geometry: Geometry) -> Array:
    ids = np.zeros((1, geometry.block(step.kind)), np.int32)
    ids[0, : len(step.token_ids)] = step.token_ids
    return ids


def _empty_caches(layers: range, geometry: Geometry) -> dict[str, Array]:
    groups, size, context = geometry.groups, geometry.head_size, geometry.context
    return {
        past: np.zeros(
            (1, groups, size, context) if "key" in past else (1, groups, context, size), np.float32
        )
        for past, _ in cache_names(layers)
    }


def _past(caches: dict[str, Array], step: Step, geometry: Geometry) -> Feeds:
    length = geometry.past(step.kind)
    return {
        name: np.ascontiguousarray(cache[..., :length] if "key" in name else cache[:, :, :length])
        for name, cache in caches.items()
    }


def _remember(caches: dict[str, Array], layers: range, new: list[Array], step: Step) -> None:
    """Write the keys and values of a step behind those before; of padding nothing is kept."""
    start, count = step.start, len(step.token_ids)
    for (name, _), values in zip(cache_names(layers), new, strict=True):
        if "key" in name:
            caches[name][..., start : start + count] = values[..., :count]
        else:
            caches[name][:, :, start : start + count] = values[:, :, :count]


def _logits(steps: Sequence[Step], blocks: Sequence[Array]) -> Array:
    return np.concatenate(
        [block[0, 0, : len(step.token_ids)] for step, block in zip(steps, blocks, strict=True)]
    )
