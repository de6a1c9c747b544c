"""Every environment keeps its promises: own name, valid options, own paths, thin files."""

import inspect
import re
import typing
from itertools import combinations, takewhile
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project
from kedro.framework.project import pipelines as registered
from kedro.pipeline import Pipeline
from kedro.validation.type_extractor import TypeExtractor
from pydantic import BaseModel

PROJECT = Path(__file__).resolve().parents[1]
CONF = PROJECT / "conf"
ENVIRONMENTS = sorted(
    folder.name
    for folder in CONF.iterdir()
    if folder.is_dir() and folder.name not in ("base", "local")
)
MODEL_ENVIRONMENTS = ("deepseek", "llama", "qwen")
ALL = ("base", *ENVIRONMENTS)

#: Pipelines whose results belong to one model; those before them serve all models, and the
#: comparison reads all models.
PER_MODEL = ("fine_tuning", "sweep", "evaluation", "deployment")
#: Folders in which every model has a place of its own, under its own name.
SHARED = {"model_cache", "all_metrics", "all_scores"}


def loader(env: str, **runtime_params: Any) -> OmegaConfigLoader:
    from mental_slm.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

    return CONFIG_LOADER_CLASS(
        str(CONF), env=env, runtime_params=runtime_params, **CONFIG_LOADER_ARGS
    )


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    configure_project("mental_slm")
    return dict(registered)


@pytest.fixture(scope="module")
def all_nodes(pipelines) -> Pipeline:
    """Return every node, those of pipelines that run only when asked for included."""
    return sum(pipelines.values(), start=Pipeline([]))


def catalog(env: str, **runtime_params: Any) -> dict[str, dict[str, Any]]:
    """Return the entries of an environment's catalog, templates left out."""
    entries = loader(env, **runtime_params)["catalog"]
    return {name: entry for name, entry in entries.items() if not name.startswith("_")}


def path_of(entry: dict[str, Any]) -> str | None:
    return entry.get("filepath") or entry.get("path")


def test_the_model_environments_exist() -> None:
    assert set(MODEL_ENVIRONMENTS) <= set(ENVIRONMENTS)


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_environment_names_itself(env: str) -> None:
    # without this its results would land in another model's folders
    assert loader(env)["globals"]["model"] == env


@pytest.mark.parametrize("env", MODEL_ENVIRONMENTS)
def test_model_environments_take_public_data_unless_told_otherwise(env: str) -> None:
    assert loader(env)["globals"]["data"] == "public"
    assert loader(env, data="sample")["globals"]["data"] == "sample"


@pytest.mark.parametrize("env", MODEL_ENVIRONMENTS)
def test_environment_is_thin(env: str) -> None:
    """At most 30 lines that are not blank, comments included, over all files of the folder."""
    text = "".join(path.read_text("utf-8") for path in sorted((CONF / env).rglob("*.yml")))
    assert len([line for line in text.splitlines() if line.strip()]) <= 30


@pytest.mark.parametrize("env", MODEL_ENVIRONMENTS)
def test_headers_show_how_to_run_and_override(env: str) -> None:
    for path in sorted((CONF / env).glob("parameters*.yml")):
        lines = path.read_text("utf-8").splitlines()
        header = "\n".join(takewhile(lambda line: line.startswith("#"), lines))
        assert f"kedro run --env {env}" in header, path
        assert "--params" in header, path


def options_of(pipeline: Pipeline) -> list[tuple[str, str, type[BaseModel]]]:
    """Return (node, parameter, options class) as Kedro will validate them."""
    found = []
    for node in pipeline.nodes:
        parameters = list(inspect.signature(node.func).parameters)
        bound = (
            node._inputs
            if isinstance(node._inputs, dict)
            else dict(zip(parameters, node.inputs, strict=False))
        )
        # raises where an annotation cannot be resolved; Kedro would then skip the validation
        hints = typing.get_type_hints(node.func)
        for argument, name in bound.items():
            if name.startswith("params:"):
                found.append((node.name, name.removeprefix("params:"), hints.get(argument)))
    return found


def test_a_sweep_runs_only_when_asked_for(pipelines) -> None:
    line = {node.name.split(".")[0] for node in pipelines["__default__"].nodes}
    assert line == set(pipelines) - {"__default__", "sweep"}
    assert len(pipelines["sweep"].nodes) > 3


def test_kedro_reads_the_options_of_every_node(pipelines, all_nodes, caplog) -> None:
    # where it cannot ("Could not extract type hints"), it warns and goes on without validation;
    # conf/logging.yml keeps that quiet
    caplog.set_level("WARNING", logger="kedro.validation")
    found = TypeExtractor(pipelines).extract_types_from_pipelines()
    assert not caplog.messages
    assert found == {name: options for _, name, options in options_of(all_nodes)}


@pytest.mark.parametrize("env", ALL)
def test_parameters_satisfy_the_options_of_every_node(env: str, all_nodes) -> None:
    parameters = loader(env)["parameters"]
    for node, name, options in options_of(all_nodes):
        assert isinstance(options, type) and issubclass(options, BaseModel), (node, name)
        value: Any = parameters
        for key in name.split("."):
            value = value[key]
        options.model_validate(value)  # unknown, missing and ill-typed keys raise


@pytest.mark.parametrize("env", ALL)
def test_every_parameter_is_used(env: str, all_nodes) -> None:
    used = {name.split(".")[0] for _, name, _ in options_of(all_nodes)}
    assert set(loader(env)["parameters"]) <= used


@pytest.mark.parametrize("env", ALL)
def test_every_input_can_be_had(env: str, all_nodes) -> None:
    known = set(catalog(env))
    free = {name for name in all_nodes.inputs() if not name.startswith("params:")}
    assert free <= known


def test_environments_never_share_a_path_after_augmentation(pipelines) -> None:
    names = {
        name for one in PER_MODEL for node in pipelines[one].nodes for name in node.outputs
    } | {name for name in catalog("base") if name.endswith("_workspace")}
    shared_stages = {
        name for one in ("ingestion", "augmentation") for name in pipelines[one].datasets()
    }
    names -= shared_stages | SHARED
    paths = {
        env: {
            name: path
            for name, entry in catalog(env, data="sample").items()
            if name in names and (path := path_of(entry))
        }
        for env in ALL
    }
    assert len(paths["base"]) > 10
    for one, other in combinations(ALL, 2):
        shared = set(paths[one].values()) & set(paths[other].values())
        assert not shared, f"{one} and {other} both write {sorted(shared)}"


@pytest.mark.parametrize("env", ALL)
def test_editions_of_the_data_never_share_a_path(env: str) -> None:
    inputs = {"prompts", "teacher_api_key", "judge_api_key", "published_results", "device_anchors"}
    reads_all = {"comparison_table", "comparison_figure"} | inputs | SHARED
    sample, public = catalog(env, data="sample"), catalog(env, data="public")
    same = [
        name
        for name in sample
        if name not in reads_all and path_of(sample[name]) == path_of(public[name])
    ]
    assert not same


@pytest.mark.parametrize("env", ALL)
def test_every_persisted_dataset_has_a_layer(env: str) -> None:
    layers = {
        "raw", "intermediate", "primary", "feature",
        "model_input", "models", "model_output", "reporting",
    }  # fmt: skip
    for name, entry in catalog(env).items():
        if entry["type"].endswith("MemoryDataset"):
            continue
        assert entry["metadata"]["kedro-viz"]["layer"] in layers, name


def test_credentials_come_from_the_environment_only() -> None:
    assert [path.parent.name for path in CONF.glob("*/credentials*") if path.is_file()] in (
        ["base"],
        ["base", "local"],
        ["local", "base"],
    )
    for line in (CONF / "base" / "credentials.yml").read_text("utf-8").splitlines():
        value = line.split("#")[0].partition(":")[2].strip()
        assert not value or re.fullmatch(r"\$\{oc\.env:[A-Z_]+,null\}", value), line


@pytest.mark.parametrize("env", ALL)
def test_credentials_are_there_under_every_environment(env: str, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "made-up")
    assert loader(env)["credentials"]["hugging_face"]["token"] == "made-up"
