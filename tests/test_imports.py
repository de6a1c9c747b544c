"""Imports run one way, and looking at the project loads nothing heavy."""

import ast
import graphlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src" / "mental_slm"

#: From the bottom to the top; a unit imports from its own layer and those below it.
LAYERS = (
    {
        "tasks",
        "references",
        "safety",
        "openai_client",
        "storage",
        "fingerprints",
        "options",
        "privacy",
        "statistics",
        "emotions",
    },
    {"prompts", "label_metrics", "published", "device_results"},
    {"records", "datasets"},
    {"language_model", "training"},
    {"pipelines", "cli", "sample", "standin", "config_loader", "headlines", "hooks"},
    {"settings", "pipeline_registry", "__main__", "__init__"},
)
RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}

#: What takes seconds to import and what neither the pipelines nor the catalog need.
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "onnx",
    "onnxruntime",
    "bitsandbytes",
    "datasets",
    "bert_score",
    "sklearn",
)

#: What the pipelines can be listed without as well; the catalog's own datasets need some of it.
SLOW = ("pandas", "numpy", "pyarrow", "scipy", "plotly", "ftfy", "pooch", "openai")


def imported(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, also inside functions."""
    package = ("mental_slm", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            # `from mental_slm import storage` and `from mental_slm.storage import X` alike
            yield from (f"{base}.{alias.name}" for alias in node.names)


def unit(module: str) -> str:
    """Return the unit of a module: ``pipelines.evaluation``, ``datasets``, ``storage``."""
    parts = [*module.split(".")[1:], "__init__"]
    return ".".join(parts[:2]) if parts[0] == "pipelines" and len(parts) > 2 else parts[0]


def internal_imports() -> Iterator[tuple[str, str, Path]]:
    """Yield (importing unit, imported unit, file) for all imports within the package."""
    for path in sorted(SOURCE.rglob("*.py")):
        importing = unit(".".join(("mental_slm", *path.relative_to(SOURCE).with_suffix("").parts)))
        for name in imported(path):
            if name.split(".")[0] != "mental_slm":
                continue
            target = unit(name)
            if target.split(".")[0] not in RANK:  # `from mental_slm import __version__`
                target = "__init__"
            if target not in (importing, "__init__"):
                yield importing, target, path.relative_to(PROJECT)


def test_every_unit_has_a_layer() -> None:
    found = {
        path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))
    }
    assert found <= set(RANK), "give the new unit a place in LAYERS"


def test_imports_point_downwards() -> None:
    upwards = [
        f"{path}: {source} imports {target}"
        for source, target, path in internal_imports()
        if RANK[target.split(".")[0]] > RANK[source.split(".")[0]]
    ]
    assert not upwards


def test_imports_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for source, target, _ in internal_imports():
        graph.setdefault(source, set()).add(target)
    assert [*graphlib.TopologicalSorter(graph).static_order()]


def test_no_one_imports_a_pipeline() -> None:
    found = [
        f"{path}: {source} imports {target}"
        for source, target, path in internal_imports()
        if target.startswith("pipelines.")
    ]
    assert not found


def test_training_is_a_plain_program() -> None:
    found = [
        str(path.relative_to(PROJECT))
        for path in sorted((SOURCE / "training").rglob("*.py"))
        if any(name.split(".")[0].startswith("kedro") for name in imported(path))
    ]
    assert not found


PROBE = """
import json, sys
from pathlib import Path
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

project = Path(sys.argv[1])
bootstrap_project(project)
registered = dict(pipelines)
listed = [*sys.modules]
with KedroSession.create(project_path=project, env=sys.argv[2]) as session:
    catalog = session.load_context().catalog
    names = [name for name in catalog.keys() if catalog[name] is not None]
found = {"pipelines": [*registered], "datasets": names, "listed": listed, "seen": [*sys.modules]}
print(json.dumps(found))
"""


@pytest.mark.parametrize("env", ["base", "qwen"])
def test_looking_at_the_project_imports_nothing_heavy(env: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(PROJECT), env],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert {"ingestion", "augmentation", "fine_tuning", "evaluation", "deployment"} <= {
        *seen["pipelines"]
    }
    assert "corpus" in seen["datasets"]
    assert not [name for name in HEAVY if name in seen["seen"]]
    assert "mental_slm.pipelines.ingestion.nodes" in seen["listed"]
    assert not [name for name in (*HEAVY, *SLOW) if name in seen["listed"]]
