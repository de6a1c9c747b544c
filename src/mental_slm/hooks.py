"""What happens around a run: guards before it, a record of it, a summary after it."""

import json
import linecache
import logging
import os
import platform
import re
import resource
import subprocess
import threading
import time
import traceback
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from click import ClickException
from filelock import FileLock, Timeout
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.validation.exceptions import ParameterValidationError
from pydantic import BaseModel

from mental_slm.datasets import RemoteFileDataset
from mental_slm.fingerprints import digest_file
from mental_slm.headlines import headlines
from mental_slm.storage import write_text

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
PIPELINES = PACKAGE / "pipelines"
LOCK_FILE = ".kedro-lock"
HEARTBEAT_SECONDS = 60
#: Set to anything but 0, every error keeps its traceback.
TRACEBACK = "MENTAL_SLM_TRACEBACK"
#: What says that a program is wrong, whoever raises it.
FAULTS = (TypeError, LookupError, AttributeError, NameError, AssertionError, NotImplementedError)
#: Files above this are described by size only; big artefacts carry a digest in their reference.
HASHED_BYTES = 64 * 2**20
PACKAGES = (
    "kedro",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "pandas",
    "onnx",
    "onnxruntime",
    "bert-score",
)


class RunGuard:
    """Stops a run that could not end well, before its first node."""

    def __init__(self) -> None:
        self._params: dict[str, Any] = {}
        self._project = Path.cwd()
        self._lock: FileLock | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check that the environment writes to its own folders."""
        self._params = read_parameters(context)
        self._project = Path(context.project_path)
        check_model_name(context.config_loader["globals"], context.env)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Check parameters, inputs and the base model, and keep a second run out of the folder."""
        check_parameter_blocks(self._params, run_params.get("runtime_params") or {})
        if "model_cache" in pipeline.inputs():
            check_base_model(self._params)
        check_evaluated(pipeline, catalog)
        self._lock = lock_project(self._project)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Let the next run in."""
        self._release()

    @hook_impl(trylast=True)  # other plugins are to see the error itself
    def on_pipeline_error(self, error: Exception) -> None:
        """Let the next run in; an error that explains itself ends in its message alone.

        Raises:
            ClickException: The message of an error that our own code raised on purpose.
        """
        self._release()
        if is_expected(error) and os.environ.get(TRACEBACK, "0") == "0":
            logger.debug("where the error came from", exc_info=error)
            raise ClickException(str(error)) from error

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def is_expected(error: BaseException) -> bool:
    """Tell whether a message says what is wrong, so that a traceback would only bury it.

    So it is where a ``raise`` statement of this package ended the run: it names the file, row or
    option and the remedy. What Python or a library raised, and whatever is a fault of the program,
    keeps its traceback.
    """
    if isinstance(error, DatasetError):
        cause = error.__cause__
        return cause is None or isinstance(cause, FileNotFoundError) or is_expected(cause)
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, FAULTS) or not frames:
        return False
    file, line = frames[-1].filename, frames[-1].lineno or 0
    is_ours = Path(file).is_relative_to(PACKAGE)
    return is_ours and linecache.getline(file, line).lstrip().startswith("raise ")


def read_parameters(context: KedroContext) -> dict[str, Any]:
    """Return the validated parameters.

    Raises:
        ClickException: One line per wrong parameter: its full key, what is wrong, the value.
    """
    try:
        return context.params
    except ParameterValidationError as error:
        raise ClickException("\n".join(explain_validation(str(error)))) from error


def explain_validation(report: str) -> list[str]:
    """Turn Kedro's report of pydantic errors into one line per parameter.

    The report holds, per block, ``- Parameter '<block>': ...``, then for every wrong field its key
    on a line of its own and, indented, ``<message> [type=..., input_value=<value>, ...]``.
    """
    lines, block, key = [], "", ""
    for line in report.splitlines():
        if header := re.match(r"- Parameter '([^']+)'", line):
            block = header[1]
        elif found := re.match(r"  (\S.*?) \[type=(\w+), input_value=(.*), input_type=", line):
            message = "unknown parameter" if found[2] == "extra_forbidden" else found[1]
            lines.append(
                f"{block}.{key}: {message} (got {found[3]}); "
                f"see conf/base/parameters_{block}.yml for what there is"
            )
        elif line and not line.startswith(" "):
            key = line
    return lines or [report]


def check_model_name(config: dict[str, Any], env: str | None) -> None:
    """Make sure that an environment's outputs go to a folder of its own name.

    Raises:
        ClickException: ``globals.model`` is missing or names another environment.
    """
    model = config.get("model")
    if not model:
        raise ClickException("conf/base/globals.yml: `model` is missing; set it to a folder name")
    if env not in (None, "base", "local") and model != env:
        raise ClickException(
            f"conf/{env}/globals.yml: set `model: {env}` (it is {model!r}), or two models would "
            "write to the same files"
        )


def check_parameter_blocks(params: dict[str, Any], runtime_params: dict[str, Any]) -> None:
    """Refuse a block of parameters that no pipeline reads.

    Keys inside a block are checked by its options class; a mistyped block would pass silently.

    Raises:
        ClickException: Names the block and the known ones.
    """
    # the folders, not the registry: `--pipelines x` registers x alone
    known = {"model", *(module.name for module in iter_modules([str(PIPELINES)]))}
    unknown = sorted(set(params) - known - {"data"})
    if unknown:
        where = "--params" if set(unknown) & set(runtime_params) else "conf"
        raise ClickException(
            f"{where}: unknown parameter block {', '.join(unknown)}; "
            f"known: {', '.join(sorted(known))} (and `data`)"
        )


def check_base_model(params: dict[str, Any]) -> None:
    """Make sure before any work that the base model can be had.

    Raises:
        ClickException: Says which file, package or variable is missing.
    """
    from mental_slm.language_model.options import ModelOptions
    from mental_slm.language_model.source import ModelUnavailable, check_source

    try:
        # Kedro hands over a validated block as an object, an unvalidated one as a dictionary
        check_source(ModelOptions.model_validate(params["model"]))
    except ModelUnavailable as error:
        raise ClickException(str(error)) from error


def check_evaluated(pipeline: Pipeline, catalog: DataCatalog) -> None:
    """Make sure that a comparison or a deployment on its own finds what the evaluation measures.

    Raises:
        ClickException: No model, or not this one, has been evaluated yet.
    """
    needed = {"all_metrics", "all_scores"} & pipeline.inputs()
    if not all(catalog.exists(name) for name in needed):
        raise ClickException(
            "no model has been evaluated yet, so there is nothing to compare; make it with: "
            "kedro run --pipelines evaluation"
        )
    needed = {"metrics", "safety_metrics"} & pipeline.inputs()
    if not all(catalog.exists(name) for name in needed):
        raise ClickException(
            "this model has not been evaluated yet, and its card says how good and how safe it is; "
            "run first: kedro run --pipelines evaluation (in the same environment)"
        )


def lock_project(project: Path) -> FileLock:
    """Take the project's lock; the system frees it when the process ends, however it ends.

    Raises:
        ClickException: Another run holds it.
    """
    lock = FileLock(project / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ClickException(
            f"another `kedro run` is at work in {project}; wait for it to end, or use a second "
            "clone of the project"
        ) from error
    return lock


class RunRecorder:
    """Logs progress and timings, writes the run manifest and says where things are."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._begin: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._saved: list[str] = []
        self._nodes = 0
        self._heartbeat: threading.Event | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the context for the manifest."""
        self._context = context

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Start a fresh record."""
        self._begin, self._seconds, self._saved = {"": time.monotonic()}, {}, []
        self._nodes = len(pipeline.nodes)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Announce the node and start its clock."""
        self._begin[node.name] = time.monotonic()
        logger.info("[%d/%d] %s", len(self._seconds) + 1, self._nodes, node.name)
        self._heartbeat = threading.Event()
        threading.Thread(target=_beat, args=(node.name, self._heartbeat), daemon=True).start()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Stop the node's clock."""
        self._stop_heartbeat()
        self._seconds[node.name] = time.monotonic() - self._begin[node.name]
        if self._seconds[node.name] >= 1:
            logger.info("        %s took %s", node.name, duration(self._seconds[node.name]))

    @hook_impl
    def on_node_error(self, node: Node) -> None:
        """Name the node that failed; Kedro adds the error and how to go on."""
        self._stop_heartbeat()
        logger.error("%s failed; what was finished before it is kept", node.name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remember what was written."""
        self._saved.append(dataset_name)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Write the manifest and print the summary."""
        if self._context is None:
            return
        seconds = time.monotonic() - self._begin[""]
        manifest = self._manifest(run_params, pipeline, catalog, seconds)
        names = self._context.config_loader["globals"]
        path = (
            Path(self._context.project_path)
            / f"data/08_reporting/{names['model']}/{names['data']}/run_manifest.json"
        )
        write_text(path, json.dumps(manifest, indent=2, default=str) + "\n")
        logger.info("%s", summarise(manifest, path, Path(self._context.project_path)))

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.set()
            self._heartbeat = None

    def _manifest(
        self,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: DataCatalog,
        seconds: float,
    ) -> dict[str, Any]:
        assert self._context is not None
        project = Path(self._context.project_path)
        return {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "env": run_params.get("env"),
            "globals": dict(self._context.config_loader["globals"]),
            "pipelines": run_params.get("pipeline_names") or run_params.get("pipeline_name"),
            "parameters": {
                name: block.model_dump(mode="json") if isinstance(block, BaseModel) else block
                for name, block in self._context.params.items()
            },
            "git": describe_git(project),
            "python": platform.python_version(),
            "packages": describe_packages(),
            "seconds": round(seconds, 1),
            "seconds_by_node": {name: round(took, 2) for name, took in self._seconds.items()},
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "inputs": describe_datasets(sorted(pipeline.inputs()), catalog, project),
            "outputs": describe_datasets(self._saved, catalog, project),
        }


def _beat(name: str, stop: threading.Event) -> None:
    begin = time.monotonic()
    while not stop.wait(HEARTBEAT_SECONDS):
        logger.info("        %s: at work for %s", name, duration(time.monotonic() - begin))


def duration(seconds: float) -> str:
    """Return a time as a person says it: ``8.3 s`` or ``2 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def describe_git(project: Path) -> dict[str, Any]:
    """Return commit and cleanliness of the checkout, or say that there is none."""
    try:
        commit = _git(project, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(project, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _git(project: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=project, check=True, capture_output=True, text=True
    ).stdout.strip()


def describe_packages() -> dict[str, str]:
    """Return the versions of the packages that decide results."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def describe_datasets(
    names: list[str], catalog: DataCatalog, project: Path
) -> dict[str, dict[str, Any]]:
    """Describe files and folders behind datasets: where, how big, which digest."""
    described = {}
    for name in names:
        path = _path_of(catalog.get(name))
        if path is not None:
            described[name] = _describe_path(_newest_version(path), project)
    return described


def _path_of(dataset: Any) -> Path | None:
    """Return where a dataset keeps its data, None for memory, parameters and files not fetched."""
    if isinstance(dataset, RemoteFileDataset):
        return dataset.load().local_copy()
    filepath = getattr(dataset, "_filepath", None)
    return None if filepath is None else Path(str(filepath))


def _newest_version(path: Path) -> Path:
    """Step into Kedro's versioned layout ``<path>/<version>/<name>``, where there is one."""
    versions = sorted(path.glob(f"*/{path.name}")) if path.is_dir() else []
    return versions[-1] if versions else path


def _describe_path(path: Path, project: Path) -> dict[str, Any]:
    shown = str(path.relative_to(project)) if path.is_relative_to(project) else str(path)
    if path.is_file():
        size = path.stat().st_size
        digest = digest_file(path) if size <= HASHED_BYTES else None
        return {"path": shown, "bytes": size, "sha256": digest}
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    reference = path / "reference.json"
    digest = json.loads(reference.read_text("utf-8")).get("digest") if reference.exists() else None
    return {"path": shown, "bytes": sum(file.stat().st_size for file in files), "digest": digest}


def summarise(manifest: dict[str, Any], path: Path, project: Path) -> str:
    """Return the few lines that end a run: the artefacts and the headline numbers."""
    lines = [
        f"Done in {duration(manifest['seconds'])}, peak memory {manifest['peak_memory_mb']} MB.",
        "Artefacts:",
    ]
    for name, facts in manifest["outputs"].items():
        lines.append(f"  {name:<22} {_size(facts['bytes']):>9}  {facts['path']}")
    lines.append(f"  {'run manifest':<22} {'':>9}  {path.relative_to(project)}")
    numbers = headlines(read_reports(manifest, project))
    if numbers:
        lines += ["Headline numbers:", *(f"  {line}" for line in numbers)]
    if page := manifest["outputs"].get("evaluation_report_html"):
        lines.append(f"What they mean: {page['path']}")
    return "\n".join(lines)


def read_reports(manifest: dict[str, Any], project: Path) -> dict[str, dict[str, Any]]:
    """Read the JSON reports that this run wrote, by dataset name."""
    files = {name: project / facts["path"] for name, facts in manifest["outputs"].items()}
    reports = {
        name: json.loads(file.read_text("utf-8"))
        for name, file in files.items()
        if file.suffix == ".json" and file.is_file()
    }
    return {name: report for name, report in reports.items() if isinstance(report, dict)}


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
