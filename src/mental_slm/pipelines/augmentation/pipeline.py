"""The augmentation pipeline: from the corpus to instruction pairs, by way of a teacher."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from . import nodes

_OPTIONS = "params:augmentation"
_PAIRS = ["pairs_train", "pairs_val", "pairs_test"]


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: mask, render, estimate, ask, join, filter, pair, report."""
    return Pipeline(
        [
            Node(
                nodes.set_validation_aside,
                ["corpus", _OPTIONS],
                "posts_with_validation",
                name="set_validation_aside",
            ),
            Node(
                nodes.mask_posts,
                ["posts_with_validation", _OPTIONS],
                ["posts_to_answer", "masked_items"],
                name="mask_posts",
            ),
            Node(
                nodes.render_requests,
                ["posts_to_answer", "prompts", _OPTIONS],
                "teacher_requests",
                name="render_requests",
            ),
            Node(
                nodes.estimate_cost,
                ["teacher_requests", "augmentation_workspace", _OPTIONS],
                "cost_estimate",
                name="estimate_cost",
            ),
            Node(
                nodes.ask_teacher,
                [
                    "teacher_requests",
                    "posts_to_answer",
                    "prompts",
                    "cost_estimate",
                    "forgotten",
                    "augmentation_workspace",
                    "teacher_api_key",
                    _OPTIONS,
                ],
                ["teacher_responses", "asking_summary"],
                name="ask_teacher",
                tags=["network", "slow"],
            ),
            Node(
                nodes.join_answers,
                ["posts_to_answer", "teacher_responses", "prompts", _OPTIONS],
                ["joined_answers", "joining_summary"],
                name="join_answers",
            ),
            Node(
                nodes.filter_answers,
                ["joined_answers", "prompts", "augmentation_workspace", _OPTIONS],
                ["accepted_answers", "rejected_answers", "filtering_summary"],
                name="filter_answers",
            ),
            Node(
                nodes.make_pairs,
                ["posts_to_answer", "accepted_answers", "studemo_profile", "prompts", _OPTIONS],
                _PAIRS,
                name="make_pairs",
            ),
            Node(
                nodes.report_augmentation,
                [
                    *_PAIRS,
                    "masked_items",
                    "asking_summary",
                    "joining_summary",
                    "filtering_summary",
                ],
                [
                    "augmentation_counts",
                    "augmentation_report",
                    "pairs_figure",
                    "rejections_figure",
                    "answer_lengths_figure",
                    "answer_quality_figure",
                ],
                name="report_augmentation",
            ),
        ]
    )
