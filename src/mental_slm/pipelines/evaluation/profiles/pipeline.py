"""The nodes of the emotion profiles, as part of the evaluation pipeline."""

from kedro.pipeline import Node

from mental_slm.pipelines.evaluation.profiles.nodes import (
    draw_profiles,
    generate_profiles,
    score_profiles,
    select_profile_items,
    summarise_profiles,
)


def profile_nodes() -> list[Node]:
    """Return the nodes: both models profile the same texts, floors and ceilings stand beside."""
    return [
        Node(
            select_profile_items,
            inputs=["pairs_test", "params:evaluation"],
            outputs="profile_items",
            name="select_profile_items",
        ),
        _generate("base", "base_model"),
        _generate("tuned", "merged_model"),
        Node(
            score_profiles,
            inputs=[
                "profile_items",
                "profile_generations_base",
                "profile_generations_tuned",
                "pairs_train",
                "studemo_annotation",
            ],
            outputs="profile_scores",
            name="score_profiles",
        ),
        Node(
            summarise_profiles,
            inputs=[
                "profile_scores",
                "pairs_train",
                "studemo_annotation",
                "params:evaluation",
            ],
            outputs="profile_metrics",
            name="summarise_profiles",
        ),
        Node(
            draw_profiles,
            inputs="profile_metrics",
            outputs="profile_figure",
            name="draw_profiles",
        ),
    ]


def _generate(system: str, model: str) -> Node:
    """The same function asks base and tuned, so that both see the same prompts."""
    return Node(
        generate_profiles,
        inputs=[
            "profile_items",
            model,
            "params:evaluation",
            "params:model",
            "evaluation_workspace",
        ],
        outputs=f"profile_generations_{system}",
        name=f"generate_profiles_{system}",
        tags=["gpu", "slow"],
    )
