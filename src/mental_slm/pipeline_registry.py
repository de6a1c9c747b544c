"""The project's pipelines, found by folder name."""

import re
from pkgutil import iter_modules

from click import ClickException
from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from mental_slm import pipelines

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

    Raises:
        ClickException: There is no pipeline of an asked name; names those there are.
    """
    try:
        found = find_pipelines(raise_errors=True)
    except ImportError as error:
        there = sorted(one.name for one in iter_modules(pipelines.__path__))
        asked = re.search(rf"'{re.escape(pipelines.__name__)}\.([^']*)'", str(error))
        if not asked or asked[1] in there:
            raise
        raise ClickException(
            f"--pipelines {asked[1]}: there is none; use {', '.join(there)}"
        ) from error
    named = {
        name: Pipeline(pipeline, namespace=name, prefix_datasets_with_namespace=False)
        for name, pipeline in found.items()
    }
    line = (one for name, one in named.items() if name not in ON_REQUEST)
    return {**named, "__default__": sum(line, start=Pipeline([]))}
