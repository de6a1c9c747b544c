"""Teacher requests in the Batch format, and the ids by which answers find their posts."""

from collections.abc import Iterator
from typing import Any

from mental_slm.fingerprints import digest
from mental_slm.prompts import Prompts
from mental_slm.records import Table

from .options import AugmentationOptions
from .template_teacher import MODEL as TEMPLATE_MODEL


def rows_of(posts: Table) -> Iterator[Any]:
    """Iterate over rows as named tuples (whose attributes pandas' stubs cannot type)."""
    yield from posts.itertuples()


def visible_label(row: Any) -> str | None:
    """Return the label that the teacher may see: none for test posts."""
    return None if row.split == "test" else str(row.label)


def custom_id(row: Any, prompts: Prompts, options: AugmentationOptions) -> str:
    """Return the id of a request: ``<text_id>-<digest of all else that its answer depends on>``.

    The text id comes first so that everything ever asked about a text can be deleted by it.
    """
    if options.teacher == "template":
        asked = [prompts.template_version]
    else:
        asked = [prompts.teacher_version, *_sampling(options).values()]
    return f"{row.text_id}-{digest([row.task, visible_label(row), *asked])}"


def render_request(row: Any, prompts: Prompts, options: AugmentationOptions) -> dict[str, Any]:
    """Render the request about one post, with its personal data masked.

    Args:
        row: A post with ``task``, ``masked``, ``text_id``, ``label`` and ``split``.
        prompts: The wording.
        options: Model and sampling.
    """
    content = prompts.teacher_prompt(row.task, row.masked, visible_label(row))
    sampling = {"model": TEMPLATE_MODEL} if options.teacher == "template" else _sampling(options)
    return {
        "custom_id": custom_id(row, prompts, options),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            **sampling,
            "messages": [
                {"role": "system", "content": prompts.teacher.system},
                {"role": "user", "content": content},
            ],
        },
    }


def _sampling(options: AugmentationOptions) -> dict[str, Any]:
    return {
        "model": options.model,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "seed": options.seed,
    }
