"""A search that takes seconds."""

import pytest

from mental_slm.pipelines.sweep.options import SweepOptions
from mental_slm.training.options import FineTuningOptions

RECIPES = {
    "default": {"learning_rate": 1e-3, "lora": {"r": 8, "alpha": 16, "dropout": 0.0}},
    "original": {
        "learning_rate": 1e-5,
        "optimizer": "adamw_8bit",
        "batch_size": 2,
        "lora": {"r": 64, "alpha": 128, "targets": ["q_proj", "v_proj"]},
    },
}


@pytest.fixture(scope="session")
def fine_tuning() -> FineTuningOptions:
    return FineTuningOptions(recipes=RECIPES, compute="float32", max_length=256)


@pytest.fixture(scope="session")
def make_options():
    """Return a factory of options of a search with few steps."""

    def make(**changes) -> SweepOptions:
        few = {"n_trials": 5, "max_steps": 4, "validations": 2, "validation_pairs": 6}
        space = {"learning_rate": {"low": 1e-4, "high": 3e-2}, "r": [4, 8], "unpruned_trials": 2}
        return SweepOptions.model_validate({**few, **space, **changes})

    return make


@pytest.fixture(scope="session")
def make_search(make_pairs, tiny_model, tiny_options, fine_tuning, make_options):
    """Return a factory of searches over made-up pairs."""
    from mental_slm.pipelines.sweep.search import Search

    def make(workspace, around=fine_tuning, **changes) -> Search:
        return Search.prepare(
            make_pairs(20),
            make_pairs(10, "val"),
            tiny_model,
            tiny_options,
            around,
            make_options(**changes),
            workspace,
        )

    return make
