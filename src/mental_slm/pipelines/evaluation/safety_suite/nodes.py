"""Nodes of the safety suite: ask, judge, check, try for recited posts, summarise, draw."""

import logging
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.safety_suite.suite import Suite, load_suite
from mental_slm.records import Table
from mental_slm.references import ModelRef

logger = logging.getLogger(__name__)


def answer_safety_prompts(
    items: list[dict[str, Any]],
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Let a model answer the suite, turn by turn, continuing a killed run where it stopped.

    Args:
        items: Test items; the system message of the first one is what the device uses.
        model: The base or the merged model.
        options: Decoding settings and the share of the suite that is asked.
        model_options: Number of threads.
        workspace: Folder of the journal.

    Returns:
        One record per answer, and a report: model, settings, suite, truncated answers.
    """
    from mental_slm.pipelines.evaluation.answering import settings_of
    from mental_slm.pipelines.evaluation.safety_suite.conversations import hold_conversations

    suite = _suite(options)
    logger.info("%s: %d of %d safety prompts", model.name, len(suite.prompts), suite.total)
    answers = hold_conversations(
        suite,
        items[0]["messages"][0]["content"],
        model,
        options,
        model_options,
        workspace / "safety",
    )
    description = model.to_json()
    del description["path"]  # where it lies on this machine says nothing about the result
    decoding = options.model_copy(update={"max_new_tokens": options.safety.max_new_tokens})
    report = {
        "model": description,
        "settings": settings_of(decoding),
        "suite": {"version": suite.version, "digest": suite.digest},
        "answers": len(answers),
        "truncated": sum(answer["finish_reason"] == "length" for answer in answers),
    }
    return answers, report


def judge_safety_answers(
    answers_base: list[dict[str, Any]],
    answers_tuned: list[dict[str, Any]],
    api_key: SecretStr | None,
    options: EvaluationOptions,
    workspace: Path,
) -> dict[str, Any]:
    """Let the configured judge answer yes/no questions about every answer.

    Returns:
        ``rows`` of ``safety_scores`` and ``failures``, the number of unusable replies; no rows and
        None where no judge is configured.

    Raises:
        EndpointError: No server, no access, or nothing but failures.
    """
    judge = options.safety.judge
    if judge is None:
        return {"rows": [], "failures": None}
    from mental_slm.pipelines.evaluation.safety_suite.judging import ask_judge

    answers = {"base": _by_prompt(answers_base), "tuned": _by_prompt(answers_tuned)}
    journal = workspace / "safety" / "judge.jsonl"
    rows, failures = ask_judge(_suite(options), answers, judge, api_key, journal)
    return {"rows": rows, "failures": failures}


def check_safety(
    answers_base: list[dict[str, Any]],
    answers_tuned: list[dict[str, Any]],
    judgements: dict[str, Any],
    options: EvaluationOptions,
) -> Table:
    """Put all answers through the rules, and the risk detector through all prompts.

    Returns:
        One row per system, prompt and check (columns :data:`.checking.COLUMNS`): ids and verdicts,
        no text.

    Raises:
        ValueError: A prompt lacks an answer.
    """
    import pandas as pd

    from mental_slm.pipelines.evaluation.safety_suite import checking

    suite = _suite(options)
    rows = [
        *checking.check_answers(suite, "base", _by_prompt(answers_base)),
        *checking.check_answers(suite, "tuned", _by_prompt(answers_tuned)),
        *checking.check_baselines(suite),
        *checking.check_detector(load_suite()),
        *judgements["rows"],
    ]
    texts = [c for c in checking.COLUMNS if c not in ("level", "held_out", "passed")]
    return pd.DataFrame(rows, columns=[*checking.COLUMNS]).astype(dict.fromkeys(texts, "string"))


def check_memorisation(
    pairs_train: list[dict[str, Any]],
    base_model: ModelRef,
    merged_model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
) -> dict[str, Any]:
    """Try whether base and tuned model recite training posts.

    Returns:
        ``base`` and ``tuned``: for each tried post its id and the tokens continued word for word.
    """
    from mental_slm.language_model.loading import use_threads
    from mental_slm.pipelines.evaluation.answering import resolve_dtype
    from mental_slm.pipelines.evaluation.safety_suite.memorisation import count_recited

    use_threads(model_options.threads)
    dtype = resolve_dtype(options.dtype)
    wanted = options.safety.memorisation
    return {
        name: count_recited(pairs_train, model, dtype, wanted)
        for name, model in (("base", base_model), ("tuned", merged_model))
    }


def summarise_safety(
    scores: Table,
    pairs_test: list[dict[str, Any]],
    report_base: dict[str, Any],
    report_tuned: dict[str, Any],
    judgements: dict[str, Any],
    memorisation: dict[str, Any],
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Condense the scores to rates with intervals, and let them pass the release gate or fail it.

    Args:
        scores: From :func:`check_safety`.
        pairs_test: Test posts, on which the detector's firing rate is measured.
        report_base: Model and settings behind the answers of the base model.
        report_tuned: The same for the tuned model.
        judgements: For the number of unusable replies.
        memorisation: From :func:`check_memorisation`.
        options: Thresholds, resamples, seed.

    Returns:
        ``safety_metrics``; see :mod:`.metrics` for the shape.

    Raises:
        ValueError: The answers were made with another version of the suite, or under settings that
            differ between the models.
    """
    from mental_slm.pipelines.evaluation.safety_suite import metrics
    from mental_slm.pipelines.evaluation.safety_suite.checking import measure_on_posts

    suite = _suite(options)
    if report_base["settings"] != report_tuned["settings"]:
        raise ValueError(
            "safety answers: base and tuned were asked under different settings; run "
            "`kedro run --pipelines evaluation` from the start"
        )
    for report in (report_base, report_tuned):
        if report["suite"]["digest"] != suite.digest:
            raise ValueError(
                f"safety answers: made with suite {report['suite']['digest']}, this one is "
                f"{suite.digest}; run `kedro run --pipelines evaluation` from the start"
            )
    result = metrics.summarise(
        scores,
        suite,
        {"base": report_base, "tuned": report_tuned},
        measure_on_posts(pairs_test),
        memorisation,
        judgements["failures"],
        options.safety,
        options.resamples,
        options.seed,
    )
    gate = result["gate"]
    logger.info(
        "safety: release gate %s%s",
        "passed" if gate["passed"] else "failed: ",
        ", ".join(failure["name"] for failure in gate["failures"]),
    )
    return result


def draw_safety(safety_metrics: dict[str, Any]) -> Any:
    """Draw the share of passing answers per check (a plotly figure)."""
    from mental_slm.pipelines.evaluation.safety_suite import figures

    return figures.draw_checks(safety_metrics)


def _suite(options: EvaluationOptions) -> Suite:
    return load_suite().draw(options.safety.max_per_category)


def _by_prompt(answers: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Put the answers of each dialogue in order."""
    found: dict[str, list[str]] = {}
    for record in sorted(answers, key=lambda record: int(record["turn"])):
        found.setdefault(record["prompt_id"], []).append(record["answer"])
    return found
