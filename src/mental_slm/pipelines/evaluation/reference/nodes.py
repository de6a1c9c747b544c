"""Nodes of the reference system: ask, score.

``reference_metrics``::

    asked     whether a reference system is configured; if not, nothing else but notes
    system    model and provider
    asking    counts, tokens, cost: the client's summary
    n         items, and how many have no answer (they count as wrong)
    accuracy  strict and lenient: value, low, high, n
    text      measure to value, low, high; the floors are measures too, see :mod:`..text_metrics`
    finish_reasons, truncated_rate
    notes     what to know before quoting a number
"""

import json
import logging
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mental_slm.fingerprints import digest
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.reference.options import ReferenceOptions

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]


def ask_reference(
    items: Rows,
    pairs_test: Rows,
    workspace: Path,
    api_key: SecretStr | None,
    options: EvaluationOptions,
) -> tuple[Rows, dict[str, Any]]:
    """Let the reference system answer every item, with the very messages the models see.

    Personal data is masked first. Nothing that was answered before is asked again.

    Args:
        items: Test items.
        pairs_test: All test pairs; kept answers about any other text are removed.
        workspace: Folder of the journal of responses.
        api_key: Of the server, if it wants one.
        options: The block ``reference``; null asks nobody.

    Returns:
        One record per answered item, as for the models, and what asking took.

    Raises:
        RuntimeError: Somebody pressed Ctrl-C; what was answered is kept.
        mental_slm.openai_client.EndpointError: No server, no access, or nothing but failures.
    """
    from mental_slm import openai_client

    journal = workspace / "reference" / "journal.jsonl"
    _forget_others(journal, {pair["text_id"] for pair in pairs_test})
    reference = options.reference
    if reference is None:
        return [], {"asked": False}
    requests = {item["pair_id"]: _request(item, reference) for item in items}
    _note_disclosure(journal.with_name("disclosures.jsonl"), [*requests.values()], reference)
    summary = openai_client.ask(
        [*requests.values()],
        journal,
        reference.endpoint,
        api_key=api_key,
        prices=reference.known_prices,
        budget_usd=reference.budget_usd,
    )
    if summary.stopped_by == "interrupt":
        raise RuntimeError(
            f"interrupted with {summary.asked - summary.missing} of {summary.asked} answers of the "
            "reference system; run the same command again to ask for the others"
        )
    answers = {
        entry["custom_id"]: openai_client.completion(entry)
        for entry in openai_client.read_answers(journal)
    }
    records = [
        _record(pair_id, answers[request["custom_id"]])
        for pair_id, request in requests.items()
        if answers.get(request["custom_id"]) is not None
    ]
    system = {"model": reference.model, "provider": reference.endpoint.host}
    return records, {"asked": True, "system": system, "asking": summary.to_json()}


def _forget_others(journal: Path, text_ids: set[str]) -> None:
    """Remove all answers about texts that no pair has any more."""
    from mental_slm import openai_client

    held = openai_client.held_ids(journal) if journal.is_file() else set()
    gone = {name for name in held if name.split("-")[0] not in text_ids}
    if gone:
        openai_client.forget(journal, gone)


def _request(item: dict[str, Any], reference: ReferenceOptions) -> dict[str, Any]:
    from mental_slm.privacy import scrub

    turns = [turn for turn in item["messages"] if turn["role"] != "assistant"]
    body = {
        "model": reference.model,
        "temperature": 0,
        "max_tokens": reference.max_tokens,
        "seed": reference.seed,
        "messages": [{**turn, "content": scrub(turn["content"])[0]} for turn in turns],
    }
    return {
        # the text id comes first, so that everything asked about a text can be deleted by it
        "custom_id": f"{item['text_id']}-{digest(body)}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


def _record(pair_id: str, completion: Any) -> dict[str, Any]:
    choice = completion["choices"][0]
    usage = completion.get("usage") or {}
    return {
        "pair_id": pair_id,
        "answer": choice["message"].get("content") or "",
        "finish_reason": choice.get("finish_reason"),
        "tokens": usage.get("completion_tokens"),
    }


def _note_disclosure(path: Path, requests: Rows, reference: ReferenceOptions) -> None:
    """Write down what goes to which provider before it goes (ids only)."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "provider": reference.endpoint.host,
        "on_this_machine": reference.endpoint.is_local,
        "model": reference.model,
        "custom_ids": [request["custom_id"] for request in requests],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def score_reference(
    items: Rows,
    generations_reference: Rows,
    reference_report: dict[str, Any],
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Score the answers of the reference system as those of the models.

    Args:
        items: Test items.
        generations_reference: Its answers; an item without one counts as wrong.
        reference_report: What asking took.
        options: Encoder, resamples and seed.

    Returns:
        The metrics; their shape is in the docstring of this module.
    """
    if not reference_report["asked"]:
        return {"asked": False, "notes": ["No reference system is configured."]}
    import pandas as pd

    from mental_slm import statistics as stats
    from mental_slm.pipelines.evaluation.labels.parsing import parse_lenient, parse_strict
    from mental_slm.pipelines.evaluation.text_metrics import score_texts

    answers = {generation["pair_id"]: generation for generation in generations_reference}
    posts = [item["text_id"] for item in items]
    said = [answers.get(item["pair_id"], {"answer": ""})["answer"] for item in items]
    weights = stats.bootstrap_weights(posts, options.resamples, (options.seed,))
    accuracy = {}
    for name, parse in (("strict", parse_strict), ("lenient", parse_lenient)):
        right = [
            parse(item["phrases"], answer) == item["label"]
            for item, answer in zip(items, said, strict=True)
        ]
        size = stats.effective_size(posts)
        share = sum(right) / len(right)
        accuracy[name] = {**stats.wilson(share * size, size).to_json(), "n": len(items)}
    table = pd.DataFrame(
        {
            "pair_id": [item["pair_id"] for item in items],
            "task": [item["task"] for item in items],
            "answer": said,
        }
    )
    scored, description = score_texts(table, items, options)
    text = {}
    for column in scored.columns.drop(["pair_id", "task", "answer"]):
        known = scored[column].notna().to_numpy()
        values = scored.loc[known, column].to_numpy(dtype=float)
        if known.any():
            drawn = weights[:, known]
            drawn = drawn[drawn.sum(axis=1) > 0]  # a resample may hold no item with a reference
            estimate = stats.estimate(float(values.mean()), stats.mean(values, drawn))
            text[str(column)] = {**estimate.to_json(), "n": int(known.sum())}
    reasons = Counter(str(generation["finish_reason"]) for generation in generations_reference)
    notes = []
    if len(answers) < len(items):
        notes.append(f"{len(items) - len(answers)} items without an answer count as wrong.")
    return {
        **reference_report,
        "n": {"items": len(items), "unanswered": len(items) - len(answers)},
        "accuracy": accuracy,
        "text": text,
        "bertscore": description,
        "finish_reasons": dict(sorted(reasons.items())),
        "truncated_rate": round(reasons["length"] / len(answers), 6) if answers else None,
        "notes": notes,
    }
