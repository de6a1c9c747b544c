from pathlib import Path

import pytest
from click import ClickException

from mental_slm.config_loader import EditionConfigLoader

CONF = Path(__file__).parents[1] / "conf"
STRATEGY = {"parameters": "soft", "globals": "soft"}


def load(env: str, **runtime_params: str) -> EditionConfigLoader:
    return EditionConfigLoader(
        str(CONF),
        env=env,
        base_env="base",
        default_run_env="base",
        runtime_params=runtime_params,
        merge_strategy=STRATEGY,
    )


def test_the_runtime_parameter_chooses_the_edition_everywhere():
    assert load("base")["globals"]["data"] == "sample"
    public = load("base", data="public")
    assert public["globals"]["data"] == "public"
    assert "/public/" in public["catalog"]["pairs_train"]["filepath"]


def test_a_model_environment_defaults_to_the_public_edition():
    assert load("qwen")["globals"] == {"model": "qwen", "data": "public"}
    assert load("qwen", data="sample")["globals"]["data"] == "sample"


def test_an_unknown_edition_is_refused():
    with pytest.raises(
        ClickException, match="data=publik: unknown edition; use one of sample, public"
    ):
        load("base", data="publik")


def test_an_unknown_environment_is_refused_with_those_there_are():
    with pytest.raises(ClickException, match="--env nope: there is no folder conf/nope; .*qwen"):
        load("nope")
