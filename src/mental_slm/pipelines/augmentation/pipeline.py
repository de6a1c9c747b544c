"""The augmentation pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from .nodes import ask_template_teacher, join_pairs, render_requests, set_validation_aside


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Return corpus -> requests -> responses -> pairs."""
    return Pipeline(
        [
            Node(
                set_validation_aside,
                inputs=["corpus", "params:augmentation"],
                outputs="posts_to_answer",
                name="set_validation_aside",
            ),
            Node(
                render_requests,
                inputs=["posts_to_answer", "params:augmentation"],
                outputs="teacher_requests",
                name="render_requests",
            ),
            Node(
                ask_template_teacher,
                inputs=["teacher_requests", "posts_to_answer", "params:augmentation"],
                outputs="teacher_responses",
                name="ask_template_teacher",
            ),
            Node(
                join_pairs,
                inputs=["posts_to_answer", "teacher_responses", "params:augmentation"],
                outputs=["pairs_train", "pairs_val", "pairs_test", "augmentation_report"],
                name="join_pairs",
            ),
        ]
    )
