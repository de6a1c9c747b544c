"""The project's pipelines, found by folder name."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

#: Pipelines that run only when asked for by name.
ON_REQUEST = ("sweep",)


def register_pipelines() -> dict[str, Pipeline]:
    """Collect every folder of ``mental_slm.pipelines`` that offers ``create_pipeline``.

    Each gets its own name as namespace, so that kedro-viz folds it into one box and a node is
    called by its full name (``fine_tuning.train_adapter``). Datasets keep their names: they are
    what the pipelines share.

    Returns:
        Pipelines by name; ``__default__`` is the whole line, from raw files to the comparison,
        without those that are asked for by name.
    """
    pipelines = {
        name: Pipeline(pipeline, namespace=name, prefix_datasets_with_namespace=False)
        for name, pipeline in find_pipelines(raise_errors=True).items()
    }
    line = (one for name, one in pipelines.items() if name not in ON_REQUEST)
    return {**pipelines, "__default__": sum(line, start=Pipeline([]))}
