"""The nodes of the reference system, as a part of the evaluation pipeline."""

from kedro.pipeline import Node

from mental_slm.pipelines.evaluation.reference import nodes


def reference_nodes() -> list[Node]:
    """Build the nodes: ask, score."""
    return [
        Node(
            nodes.ask_reference,
            inputs=[
                "evaluation_items",
                "pairs_test",
                "evaluation_workspace",
                "teacher_api_key",
                "params:evaluation",
            ],
            outputs=["generations_reference", "reference_report"],
            name="ask_reference",
            tags=["network", "slow"],
        ),
        Node(
            nodes.score_reference,
            inputs=[
                "evaluation_items",
                "generations_reference",
                "reference_report",
                "params:evaluation",
            ],
            outputs="reference_metrics",
            name="score_reference",
        ),
    ]
