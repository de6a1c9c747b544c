"""Nodes of the judge: plan, estimate, ask, score, draw."""

import logging
import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.prompts import Prompts
from mental_slm.records import Table
from mental_slm.references import ModelRef

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]

#: What six scores take as JSON, for the estimate.
EXPECTED_TOKENS = 50

_FAMILY = re.compile(
    r"gpt|claude|gemini|gemma|qwen|llama|mi[sx]tral|deepseek|smollm|phi|olmo", re.IGNORECASE
)


def plan_judging(
    items: Rows,
    generations_base: Rows,
    generations_tuned: Rows,
    prompts: Prompts,
    options: EvaluationOptions,
) -> list[Any]:
    """Choose the answers to be judged, and put attacks, references, anchors and repeats beside them.

    Personal data is masked here, so that all judges, near and far, read the same.

    Returns:
        A list of :class:`.samples.Sample`.

    Raises:
        ValueError: An item has no answer of a model; names system and id.
    """
    from .samples import make_samples

    generations = {"base": generations_base, "tuned": generations_tuned}
    return list(make_samples(items, generations, prompts, options.judge, options.seed))


def estimate_judging(
    samples: list[Any],
    prompts: Prompts,
    base_model: ModelRef,
    workspace: Path,
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Tell what each judge behind an address will cost before any is asked.

    Returns:
        Judge to requests, tokens and US dollars of all first requests, those included that its
        journal can answer.

    Raises:
        ValueError: A judge has a budget, but the price of its model is not known.
    """
    from mental_slm.language_model.tokens import token_counter
    from mental_slm.openai_client import estimate

    from . import asking

    estimates: dict[str, Any] = {}
    for judge in options.judge.judges:
        if judge.kind != "endpoint":
            continue
        identity = asking.identify(judge, base_model, "float32")
        expected = estimate(
            asking.first_requests(samples, judge, identity, prompts, options.judge),
            token_counter(workspace / "tokenizer.json"),
            judge.known_prices,
            EXPECTED_TOKENS,
        )
        if judge.budget_usd is not None and expected.unpriced_models:
            raise ValueError(
                f"evaluation.judge.judges: {judge.name} has no price for {judge.model}; add one to "
                "its prices, or set its budget_usd: null"
            )
        logger.info(
            "Judge %s: %d requests to %s, about %s prompt tokens, %s $ expected (budget %s $)",
            judge.name,
            expected.requests,
            judge.endpoint.host,
            f"{expected.prompt_tokens:,}",
            "?" if expected.cost_usd is None else f"{expected.cost_usd:.2f}",
            judge.budget_usd,
        )
        estimates[judge.name] = expected.to_json()
    return estimates


def judge_answers(
    samples: list[Any],
    prompts: Prompts,
    judge_estimate: dict[str, Any],
    base_model: ModelRef,
    workspace: Path,
    openai_key: SecretStr | None,
    judge_key: SecretStr | None,
    options: EvaluationOptions,
    model_options: ModelOptions,
) -> tuple[Rows, Rows]:
    """Let every judge score every sample; nothing that was replied before is asked again.

    Args:
        samples: What is judged.
        prompts: The rubric.
        judge_estimate: Logged by the node before; here so that no request precedes it.
        base_model: The judge of kind ``in_process``.
        workspace: Where the journals of replies lie.
        openai_key: For judges with ``api_key: openai``.
        judge_key: For judges with ``api_key: judge``.
        options: Judges and re-asks.
        model_options: Number of threads.

    Returns:
        Replies, one row per judge and sample with scores and failures by criterion; and for each
        judge what asking took.
    """
    from mental_slm.pipelines.evaluation.answering import resolve_dtype

    from . import asking

    folder = workspace / "judge"
    keys = {"none": None, "openai": openai_key, "judge": judge_key}
    makers = {base_model.name, *(sample.teacher for sample in samples)}
    replies: Rows = []
    summaries: Rows = []
    for judge in options.judge.judges:
        dtype = resolve_dtype(options.dtype)
        asker = (
            asking.in_process_asker(base_model, dtype, model_options)
            if judge.kind == "in_process"
            else asking.server_asker(judge, keys[judge.api_key], folder / "disclosures.jsonl")
        )
        identity = asking.identify(judge, base_model, dtype)
        journal = folder / f"{judge.name}.jsonl"
        rows, summary = asking.ask_judge(
            samples, judge, identity, asker, journal, prompts, options.judge
        )
        replies += rows
        summaries.append(summary | {"relatives": _relatives(judge.model, makers)})
    return replies, summaries


def _relatives(model: str | None, makers: set[str]) -> list[str]:
    """Return those who wrote answers or references and are of one family with the judge."""
    family = _FAMILY.search(model or "")
    if family is None:
        return []
    return sorted(name for name in makers if family[0].lower() in name.lower())


def score_judgements(
    replies: Rows, judge_summary: Rows, options: EvaluationOptions
) -> tuple[Table, dict[str, Any]]:
    """Make the table of scores and the metrics, with intervals, attacks and checks on the judge.

    Returns:
        One row per judge, answer, criterion and repeat, without text; and the metrics, see
        :mod:`.metrics` for the shape.
    """
    from . import metrics
    from .scoring import tabulate

    scores = tabulate(replies)
    settings = metrics.Settings(options.judge, options.data, options.resamples, options.seed)
    return scores, metrics.summarise(scores, replies, judge_summary, settings)


def draw_judge(judge_metrics: dict[str, Any]) -> Any:
    """Draw the mean score of every system by criterion, with 95 % intervals (a plotly figure)."""
    from . import figures

    return figures.draw_judge(judge_metrics)
