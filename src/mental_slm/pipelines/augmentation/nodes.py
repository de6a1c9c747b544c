"""The story of augmentation: mask, ask a teacher, join, filter, pair, report."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mental_slm.prompts import Prompts
from mental_slm.records import Table
from mental_slm.tasks import SPLITS

from .options import AugmentationOptions

logger = logging.getLogger(__name__)

Rows = list[dict[str, Any]]


def set_validation_aside(corpus: Table, options: AugmentationOptions) -> Table:
    """Move a share of the train posts to validation where the publishers gave none.

    Dreaddit, for example, comes as train and test only, and a test set must never choose an
    adapter. The choice follows the digest of the text, so that equal texts of two datasets move
    together and no row order or seed matters.

    Returns:
        A copy of the corpus with the new splits.
    """
    table = corpus.copy()
    own_validation = set(table.loc[table["split"] == "val", "dataset"])
    position = table["text_id"].map(lambda text_id: int(text_id[:8], 16) / 16**8)
    moved = (
        (table["split"] == "train")
        & ~table["dataset"].isin(own_validation)
        & (position < options.validation_share)
    )
    # a text that two datasets share must not stand in validation here and in train there
    moved |= (table["split"] == "train") & table["text_id"].isin(table.loc[moved, "text_id"])
    table.loc[moved, "split"] = "val"
    logger.info("Set %d of %d train posts aside for validation", moved.sum(), len(table))
    return table


def mask_posts(posts: Table, options: AugmentationOptions) -> tuple[Table, dict[str, int]]:
    """Choose the posts to ask about and mask the personal data that a teacher must not see.

    Returns:
        The posts with a column ``masked``, and how many items of each kind were masked.
    """
    from collections import Counter

    from mental_slm.privacy import scrub

    if options.max_posts is not None:
        rank = posts.groupby(["task", "split"])["text_id"].rank(method="first")
        posts = posts.loc[rank.sort_values(kind="stable").index[: options.max_posts]].sort_index()
    masked, found = {}, Counter[str]()
    for text_id, text in zip(posts["text_id"], posts["text"], strict=True):
        if text_id not in masked:
            masked[text_id], counts = scrub(text)
            found.update(counts)
    table = posts.assign(masked=posts["text_id"].map(masked)).reset_index(drop=True)
    logger.info("Masked %d items of personal data in %d texts", found.total(), len(masked))
    return table, dict(sorted(found.items()))


def render_requests(posts: Table, prompts: Prompts, options: AugmentationOptions) -> Rows:
    """Render one teacher request per post, in the format of the OpenAI Batch API.

    Returns:
        Requests in the order of the corpus. Equal requests have equal ids wherever they are made.
    """
    from .requests import render_request, rows_of

    return [render_request(row, prompts, options) for row in rows_of(posts)]


def estimate_cost(requests: Rows, workspace: Path, options: AugmentationOptions) -> dict[str, Any]:
    """Tell what the answers will cost before anybody is asked.

    Returns:
        Requests, tokens and US dollars, expected and at most; zero for a teacher that is free.

    Raises:
        ValueError: A budget is set, but the price of the model is not known.
    """
    if not options.asks_a_server:
        return {"teacher": options.teacher, "requests": len(requests), "cost_usd": 0.0}
    from mental_slm.language_model.tokens import token_counter
    from mental_slm.openai_client import estimate

    expected = estimate(
        requests,
        token_counter(workspace / "tokenizer.json"),
        options.known_prices,
        options.expected_output_tokens,
        batch=options.teacher == "openai_batch",
    )
    if options.budget_usd is not None and expected.unpriced_models:
        raise ValueError(
            f"augmentation.prices: no price for {', '.join(expected.unpriced_models)}; add one, or set "
            "augmentation.budget_usd: null"
        )
    logger.info(
        "%d requests to %s: about %s prompt and %s answer tokens, %s $ expected (budget %s $)",
        expected.requests,
        options.provider,
        f"{expected.prompt_tokens:,}",
        f"{expected.completion_tokens:,}",
        "?" if expected.cost_usd is None else f"{expected.cost_usd:.2f}",
        options.budget_usd,
    )
    return {"teacher": options.teacher, **expected.to_json()}


def ask_teacher(
    requests: Rows,
    posts: Table,
    prompts: Prompts,
    cost_estimate: dict[str, Any],
    forgotten: dict[str, Any],
    workspace: Path,
    api_key: SecretStr | None,
    options: AugmentationOptions,
) -> tuple[Rows, dict[str, Any]]:
    """Let the teacher answer; nothing that was answered before is asked again.

    Args:
        requests: In the Batch format.
        posts: What they are about.
        prompts: The wording.
        cost_estimate: Printed by the node before; here so that no request precedes it.
        forgotten: Texts whose answers are deleted first.
        workspace: Where the journal of answers lies.
        api_key: Of the server, if it wants one.
        options: Who answers, and how.

    Returns:
        Responses in the Batch format, in the order of the requests, and what asking took.
    """
    from . import teachers

    journal = workspace / teachers.JOURNAL
    teachers.forget_answers(journal, forgotten["text_ids"])
    if options.teacher == "template":
        answers = teachers.ask_template(requests, posts, prompts, options)
    elif options.teacher == "recorded":
        answers = teachers.read_recordings(requests, options.recorded)
    else:
        _note_disclosure(workspace, requests, options)
        answers = teachers.ask_server(requests, journal, api_key, options)
    summary = {"teacher": options.teacher, "provider": None, **answers.summary}
    if options.asks_a_server:
        summary |= {"provider": options.provider, "expected_cost_usd": cost_estimate["cost_usd"]}
    return answers.responses, summary


def _note_disclosure(workspace: Path, requests: Rows, options: AugmentationOptions) -> None:
    """Write down what goes to which provider before it goes (ids only, one line per run)."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "provider": options.provider,
        "on_this_machine": options.is_local,
        "model": options.model,
        "custom_ids": [request["custom_id"] for request in requests],
    }
    with (workspace / "disclosures.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def join_answers(
    posts: Table, responses: Rows, prompts: Prompts, options: AugmentationOptions
) -> tuple[Rows, dict[str, Any]]:
    """Join answers to posts by ``custom_id``, one to one.

    Returns:
        One row per answered post, in the order of the corpus, and both anti-joins.

    Raises:
        ValueError: Two answers carry one ``custom_id``, or no post got an answer.
    """
    from .joining import join

    joined, report = join(posts, responses, prompts, options)
    if not joined:
        raise ValueError(
            "teacher_responses: no answer belongs to any post of the corpus. With recorded answers: "
            "were they made for these posts, prompts and options?"
        )
    return joined, report


def filter_answers(
    joined: Rows, prompts: Prompts, workspace: Path, options: AugmentationOptions
) -> tuple[Rows, Rows, dict[str, Any]]:
    """Keep the answers that are good enough to learn from; put the others aside with a reason.

    Returns:
        Accepted rows, rejected rows (with ``reason``), and counts by task and reason.
    """
    from mental_slm.language_model.tokens import token_counter

    from .filtering import filter_rows

    count_tokens = token_counter(workspace / "tokenizer.json")
    accepted, rejected, report = filter_rows(joined, prompts, count_tokens, options.filters)
    logger.info("%d answers accepted, %d rejected", len(accepted), len(rejected))
    return accepted, rejected, report


def make_pairs(
    posts: Table, accepted: Rows, profiles: Table, prompts: Prompts, options: AugmentationOptions
) -> tuple[Rows, Rows, Rows]:
    """Make the instruction pairs: from accepted answers, and from the emotion profiles.

    A test post is always kept, if need be without a reference: what a teacher wrote must not
    decide what models are tested on.

    Returns:
        Train, validation and test pairs.
    """
    from .joining import make_pair
    from .profiles import make_profile_pairs
    from .requests import rows_of

    answers = {row["record_id"]: row for row in accepted}
    pairs: dict[str, Rows] = {split: [] for split in SPLITS}
    for row in rows_of(posts):
        answer = answers.get(row.record_id)
        if answer is not None or row.split == "test":
            pairs[row.split].append(make_pair(row, answer, prompts, options))
    for pair in make_profile_pairs(profiles, prompts, options):
        pairs[pair["split"]].append(pair)
    return pairs["train"], pairs["val"], pairs["test"]


def report_augmentation(
    pairs_train: Rows,
    pairs_val: Rows,
    pairs_test: Rows,
    masked: dict[str, int],
    asking: dict[str, Any],
    joining: dict[str, Any],
    filtering: dict[str, Any],
) -> tuple[dict[str, Any], str, Any, Any, Any, Any]:
    """Count what was made and draw it.

    Returns:
        The counts, the report in Markdown, and figures of pairs, rejections, lengths and quality.
    """
    from . import figures, report

    pairs = [*pairs_train, *pairs_val, *pairs_test]
    counts = report.count_pairs(pairs) | {
        "masked": masked,
        "asking": asking,
        "joining": joining,
        "filtering": filtering,
    }
    return (
        counts,
        report.write_report(counts),
        figures.draw_pairs(counts),
        figures.draw_rejections(counts),
        figures.draw_lengths(counts),
        figures.draw_quality(counts),
    )
