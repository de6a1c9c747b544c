"""The project's pipelines, found by folder name."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Collect every folder of ``mental_slm.pipelines`` that offers ``create_pipeline``.

    Returns:
        Pipelines by name; ``__default__`` is the whole line, from raw files to the comparison.
    """
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum(pipelines.values(), start=Pipeline([]))
    return pipelines
