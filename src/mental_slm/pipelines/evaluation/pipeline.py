"""The evaluation pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.evaluation.nodes import (
    collect_scores,
    draw_accuracy,
    draw_bertscore,
    file_metrics,
    generate_answers,
    score_answers,
    score_baselines,
    select_items,
    summarise_scores,
)


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: base and tuned model answer the same items, baselines stand beside."""
    return Pipeline(
        [
            Node(
                select_items,
                inputs=["pairs_test", "params:evaluation"],
                outputs="evaluation_items",
                name="select_items",
            ),
            _generate("base", "base_model"),
            _generate("tuned", "merged_model"),
            Node(
                score_answers,
                inputs=[
                    "evaluation_items",
                    "generations_base",
                    "generations_tuned",
                    "params:evaluation",
                ],
                outputs=["answer_scores", "bertscore_description"],
                name="score_answers",
            ),
            Node(
                score_baselines,
                inputs=["evaluation_items", "pairs_train", "params:evaluation"],
                outputs="baseline_scores",
                name="score_baselines",
            ),
            Node(
                collect_scores,
                inputs=["answer_scores", "baseline_scores"],
                outputs="scores",
                name="collect_scores",
            ),
            Node(
                summarise_scores,
                inputs=[
                    "scores",
                    "evaluation_items",
                    "generation_report_base",
                    "generation_report_tuned",
                    "bertscore_description",
                    "params:evaluation",
                ],
                outputs="metrics",
                name="summarise_scores",
            ),
            Node(
                file_metrics,
                inputs=["metrics", "params:evaluation"],
                outputs="all_metrics",
                name="file_metrics",
            ),
            Node(draw_accuracy, inputs="metrics", outputs="accuracy_figure", name="draw_accuracy"),
            Node(
                draw_bertscore,
                inputs="metrics",
                outputs="bertscore_figure",
                name="draw_bertscore",
            ),
        ]
    )


def _generate(system: str, model: str) -> Node:
    """The same function answers for base and tuned, so that both see the same prompts."""
    return Node(
        generate_answers,
        inputs=[
            "evaluation_items",
            model,
            "params:evaluation",
            "params:model",
            "evaluation_workspace",
        ],
        outputs=[f"generations_{system}", f"generation_report_{system}"],
        name=f"generate_{system}",
        tags=["gpu", "slow"],
    )
