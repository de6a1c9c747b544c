"""The nodes of the judge, as a part of the evaluation pipeline."""

from kedro.pipeline import Node

from mental_slm.pipelines.evaluation.judge import nodes


def judge_nodes() -> list[Node]:
    """Build the nodes: plan, estimate, ask, score, draw."""
    return [
        Node(
            nodes.plan_judging,
            inputs=[
                "evaluation_items",
                "generations_base",
                "generations_tuned",
                "prompts",
                "params:evaluation",
            ],
            outputs="judge_samples",
            name="plan_judging",
        ),
        Node(
            nodes.estimate_judging,
            inputs=[
                "judge_samples",
                "prompts",
                "base_model",
                "evaluation_workspace",
                "params:evaluation",
            ],
            outputs="judge_estimate",
            name="estimate_judging",
        ),
        Node(
            nodes.judge_answers,
            inputs=[
                "judge_samples",
                "prompts",
                "judge_estimate",
                "base_model",
                "evaluation_workspace",
                "teacher_api_key",
                "judge_api_key",
                "params:evaluation",
                "params:model",
            ],
            outputs=["judge_replies", "judge_summary"],
            name="judge_answers",
            tags=["gpu", "network", "slow"],
        ),
        Node(
            nodes.score_judgements,
            inputs=["judge_replies", "judge_summary", "params:evaluation"],
            outputs=["judge_scores", "judge_metrics"],
            name="score_judgements",
        ),
        Node(
            nodes.draw_judge,
            inputs="judge_metrics",
            outputs="judge_figure",
            name="draw_judge",
        ),
    ]
