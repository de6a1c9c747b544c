"""What a judge reads: requests in the Batch format, and the ids under which replies are kept."""

from string import Template
from typing import Any

from mental_slm.fingerprints import digest
from mental_slm.prompts import ANCHORED_SCORES, Prompts

from .options import JudgeModel
from .samples import Sample

LOWEST, HIGHEST = 0, 5

Request = dict[str, Any]


def schema_of(order: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON schema of a reply: every criterion, in this order, a whole number from 0 to 5."""
    score = {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))}
    return {
        "type": "object",
        "properties": {criterion: score for criterion in order},
        "required": list(order),
        "additionalProperties": False,
    }


def render_request(
    sample: Sample, judge: JudgeModel, identity: str, prompts: Prompts, max_tokens: int
) -> Request:
    """Render the first request about a sample. It names no system.

    Args:
        sample: What is judged.
        judge: Who judges.
        identity: Digest of all that makes this judge reply as it does; see :func:`.asking.identify`.
        prompts: The rubric.
        max_tokens: Longest reply.
    """
    wording = prompts.judge
    asked = Template(wording.question).substitute(
        post=sample.post, question=sample.question, answer=sample.answer
    )
    messages = [
        {
            "role": "system",
            "content": Template(wording.system).substitute(criteria=_criteria(sample, prompts)),
        },
        {"role": "user", "content": asked},
    ]
    body = {
        "model": judge.model or judge.name,
        "temperature": 0,
        "max_tokens": max_tokens,
        "messages": messages,
        **_response_format(judge, sample.order),
    }
    return _request(sample, identity, prompts, body, attempt=1)


def render_repair(
    request: Request, sample: Sample, identity: str, prompts: Prompts, reply: str, fault: str
) -> Request:
    """Render the next request after an unusable reply: the same talk, and what was wrong with it."""
    attempt = int(request["custom_id"].rpartition("-")[2]) + 1
    told = Template(prompts.judge.repair).substitute(fault=fault)
    # only the last reply is shown: a long row of bad examples teaches a model to go on like that
    messages = [
        *request["body"]["messages"][:2],
        {"role": "assistant", "content": reply},
        {"role": "user", "content": told},
    ]
    return _request(sample, identity, prompts, {**request["body"], "messages": messages}, attempt)


def _request(
    sample: Sample, identity: str, prompts: Prompts, body: dict[str, Any], attempt: int
) -> Request:
    """Give a request its id: ``<text_id>-<digest of all that the reply depends on>-<attempt>``.

    The text id comes first so that everything ever asked about a text can be deleted by it.
    """
    made_of = [
        sample.item_id,
        sample.system,
        sample.repeat,
        digest(sample.answer),
        prompts.judge_version,
        identity,
        body,
    ]
    return {
        "custom_id": f"{sample.text_id}-{digest(made_of)}-{attempt}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


def _criteria(sample: Sample, prompts: Prompts) -> str:
    blocks = []
    for name in sample.order:
        criterion = prompts.judge.criteria[name]
        lines = [f"{name}: {criterion.question}"]
        lines += [f"  {score} = {criterion.anchors[score]}" for score in ANCHORED_SCORES]
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _response_format(judge: JudgeModel, order: tuple[str, ...]) -> dict[str, Any]:
    if judge.response_format == "none":
        return {}
    if judge.response_format == "json_object":
        return {"response_format": {"type": "json_object"}}
    schema = {"name": "judgement", "strict": True, "schema": schema_of(order)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
