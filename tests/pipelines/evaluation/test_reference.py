"""The reference system, asked over real HTTP on loopback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai_server import Answer, OpenAIServer
from pydantic import ValidationError

from mental_slm.openai_client import EndpointOptions
from mental_slm.pipelines.evaluation.options import BertScoreOptions, EvaluationOptions
from mental_slm.pipelines.evaluation.reference import nodes
from mental_slm.pipelines.evaluation.reference.options import ReferenceOptions
from mental_slm.tasks import answer_line

MakePairs = Callable[[int, str], list[dict[str, Any]]]


def _options(reference: ReferenceOptions | None) -> EvaluationOptions:
    return EvaluationOptions(
        environment="test",
        data="sample",
        max_items_per_task=None,
        max_new_tokens=6,
        batch_size=8,
        dtype="float32",
        bertscore=BertScoreOptions(encoder="embedded", layers=6, batch_size=16),
        reference=reference,
        resamples=200,
        seed=1,
    )


def _reference(server: OpenAIServer) -> ReferenceOptions:
    endpoint = EndpointOptions(base_url=server.url, backoff_s=0.01)
    return ReferenceOptions(model="reference-model", endpoint=endpoint)


def test_it_answers_the_same_items_masked_once_and_is_scored(
    tmp_path: Path, make_pairs: MakePairs
) -> None:
    items = make_pairs(10, "test")
    private = "Write to jane.doe@example.org about it."
    items[0]["messages"][1] = {"role": "user", "content": f"{items[0]['instruction']} {private}"}
    right = {item["instruction"]: answer_line(item["phrases"][item["label"]]) for item in items}

    def reply(asked: Any) -> Answer:
        line = next((right[key] for key in right if asked.prompt.startswith(key)), "")
        return Answer(content=f"It may help to talk about it.\n{line}")

    with OpenAIServer(reply) as server:
        options = _options(_reference(server))
        records, report = nodes.ask_reference(items, items, tmp_path, None, options)
        again, _ = nodes.ask_reference(items, items, tmp_path, None, options)
        bodies = [asked.body for asked in server.asked]
    assert again == records
    assert len(bodies) == 10
    assert all("jane.doe" not in str(body) and "assistant" not in str(body) for body in bodies)
    assert {body["temperature"] for body in bodies} == {0}
    assert (tmp_path / "reference" / "disclosures.jsonl").read_text().count("127.0.0.1") == 2
    metrics = nodes.score_reference(items, records, report, options)
    assert metrics["accuracy"]["strict"]["value"] == 1
    assert metrics["accuracy"]["strict"]["low"] < 1
    assert metrics["text"]["bertscore_f1"]["n"] == 10
    assert metrics["truncated_rate"] == 0
    partly = nodes.score_reference(items, records[:5], report, options)
    assert partly["accuracy"]["strict"]["value"] == 0.5
    assert partly["n"] == {"items": 10, "unanswered": 5}

    forgotten = items[0]["text_id"]
    journal = tmp_path / "reference" / "journal.jsonl"
    assert forgotten in journal.read_text()
    nodes.ask_reference([], items[1:], tmp_path, None, _options(None))
    assert forgotten not in journal.read_text()
    assert items[1]["text_id"] in journal.read_text()


def test_nobody_is_asked_by_default(tmp_path: Path, make_pairs: MakePairs) -> None:
    items = make_pairs(2, "test")
    records, report = nodes.ask_reference(items, items, tmp_path, None, _options(None))
    assert records == []
    assert nodes.score_reference(items, records, report, _options(None))["asked"] is False


def test_another_machine_needs_the_switch() -> None:
    with pytest.raises(ValidationError, match="allow_cloud: test posts .* api.openai.com"):
        ReferenceOptions(model="gpt-4o")
    assert ReferenceOptions(model="gpt-4o", allow_cloud=True).known_prices == {}
