"""Kedro settings of the project."""

from mental_slm.config_loader import EditionConfigLoader
from mental_slm.hooks import RunGuard, RunRecorder

HOOKS = (RunGuard(), RunRecorder())

CONFIG_LOADER_CLASS = EditionConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # The default strategy replaces a whole block when an environment names one key of it.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}
