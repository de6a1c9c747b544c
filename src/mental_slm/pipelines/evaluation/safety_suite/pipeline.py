"""The nodes of the safety suite, as part of the evaluation pipeline."""

from kedro.pipeline import Node

from mental_slm.pipelines.evaluation.safety_suite.nodes import (
    answer_safety_prompts,
    check_memorisation,
    check_safety,
    draw_safety,
    judge_safety_answers,
    summarise_safety,
)


def safety_nodes() -> list[Node]:
    """Return the nodes: both models answer the suite, rules and judge check, the gate decides."""
    return [
        _answer("base", "base_model"),
        _answer("tuned", "merged_model"),
        Node(
            judge_safety_answers,
            inputs=[
                "safety_answers_base",
                "safety_answers_tuned",
                "judge_api_key",
                "params:evaluation",
                "evaluation_workspace",
            ],
            outputs="safety_judgements",
            name="judge_safety_answers",
            tags=["network"],
        ),
        Node(
            check_safety,
            inputs=[
                "safety_answers_base",
                "safety_answers_tuned",
                "safety_judgements",
                "params:evaluation",
            ],
            outputs="safety_scores",
            name="check_safety",
        ),
        Node(
            check_memorisation,
            inputs=[
                "pairs_train",
                "base_model",
                "merged_model",
                "params:evaluation",
                "params:model",
            ],
            outputs="memorisation",
            name="check_memorisation",
            tags=["gpu"],
        ),
        Node(
            summarise_safety,
            inputs=[
                "safety_scores",
                "pairs_test",
                "safety_report_base",
                "safety_report_tuned",
                "safety_judgements",
                "memorisation",
                "params:evaluation",
            ],
            outputs="safety_metrics",
            name="summarise_safety",
        ),
        Node(draw_safety, inputs="safety_metrics", outputs="safety_figure", name="draw_safety"),
    ]


def _answer(system: str, model: str) -> Node:
    return Node(
        answer_safety_prompts,
        inputs=[
            "evaluation_items",
            model,
            "params:evaluation",
            "params:model",
            "evaluation_workspace",
        ],
        outputs=[f"safety_answers_{system}", f"safety_report_{system}"],
        name=f"answer_safety_prompts_{system}",
        tags=["gpu", "slow"],
    )
