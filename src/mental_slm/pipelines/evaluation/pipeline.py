"""The evaluation pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.evaluation.judge.pipeline import judge_nodes
from mental_slm.pipelines.evaluation.labels.nodes import (
    collect_label_probabilities,
    parse_labels,
    score_baselines,
    score_likelihoods,
    select_validation_items,
)
from mental_slm.pipelines.evaluation.nodes import (
    collect_scores,
    draw_accuracy,
    draw_bertscore,
    draw_reliability,
    file_metrics,
    generate_answers,
    score_answers,
    select_items,
    summarise_scores,
)
from mental_slm.pipelines.evaluation.profiles.pipeline import profile_nodes
from mental_slm.pipelines.evaluation.reference.pipeline import reference_nodes
from mental_slm.pipelines.evaluation.report.pipeline import report_nodes
from mental_slm.pipelines.evaluation.safety_suite.pipeline import safety_nodes


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
                parse_labels,
                inputs=["evaluation_items", "generations_base", "generations_tuned"],
                outputs="answer_labels",
                name="parse_labels",
            ),
            Node(
                select_validation_items,
                inputs=["pairs_val", "params:evaluation"],
                outputs="validation_items",
                name="select_validation_items",
            ),
            _score_likelihoods("base", "base_model"),
            _score_likelihoods("tuned", "merged_model"),
            Node(
                score_baselines,
                inputs=[
                    "evaluation_items",
                    "validation_items",
                    "pairs_train",
                    "params:evaluation",
                ],
                outputs=["baseline_labels", "label_probabilities_baselines"],
                name="score_baselines",
            ),
            Node(
                collect_label_probabilities,
                inputs=[
                    "label_probabilities_base",
                    "label_probabilities_tuned",
                    "label_probabilities_baselines",
                ],
                outputs="label_probabilities",
                name="collect_label_probabilities",
            ),
            Node(
                collect_scores,
                inputs=[
                    "answer_labels",
                    "baseline_labels",
                    "label_probabilities",
                    "answer_scores",
                    "params:evaluation",
                ],
                outputs="scores",
                name="collect_scores",
            ),
            Node(
                summarise_scores,
                inputs=[
                    "scores",
                    "label_probabilities",
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
                inputs=["evaluation_metrics", "scores", "params:evaluation"],
                outputs=["all_metrics", "all_scores"],
                name="file_metrics",
            ),
            Node(draw_accuracy, inputs="metrics", outputs="accuracy_figure", name="draw_accuracy"),
            Node(
                draw_bertscore,
                inputs="metrics",
                outputs="bertscore_figure",
                name="draw_bertscore",
            ),
            Node(
                draw_reliability,
                inputs="metrics",
                outputs="reliability_figure",
                name="draw_reliability",
            ),
            *judge_nodes(),
            *profile_nodes(),
            *reference_nodes(),
            *safety_nodes(),
            *report_nodes(),
        ]
    )


def _generate(system: str, model: str) -> Node:
    """The same function answers for base and tuned, so that both see the same prompts."""
    return Node(
        generate_answers,
        inputs=[
            "evaluation_items",
            "pairs_test",
            model,
            "params:evaluation",
            "params:model",
            "evaluation_workspace",
        ],
        outputs=[f"generations_{system}", f"generation_report_{system}"],
        name=f"generate_{system}",
        tags=["gpu", "slow"],
    )


def _score_likelihoods(system: str, model: str) -> Node:
    return Node(
        score_likelihoods,
        inputs=[
            "evaluation_items",
            "validation_items",
            model,
            "params:evaluation",
            "params:model",
            "evaluation_workspace",
        ],
        outputs=f"label_probabilities_{system}",
        name=f"score_likelihoods_{system}",
        tags=["gpu", "slow"],
    )
