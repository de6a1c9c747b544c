"""The fine-tuning pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.fine_tuning.nodes import (
    audit_tokens,
    draw_loss_curve,
    draw_token_lengths,
    merge_adapter,
    obtain_base_model,
    plan_training,
    train_adapter,
)


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: audit the pairs, plan and train the adapter, merge it into its base."""
    return Pipeline(
        [
            Node(
                obtain_base_model,
                inputs=["params:model", "model_cache"],
                outputs="base_model",
                name="obtain_base_model",
                tags=["network"],
            ),
            Node(
                audit_tokens,
                inputs=["pairs_train", "pairs_val", "base_model", "params:fine_tuning"],
                outputs="token_audit",
                name="audit_tokens",
            ),
            Node(
                draw_token_lengths,
                inputs="token_audit",
                outputs="token_lengths",
                name="draw_token_lengths",
            ),
            Node(
                plan_training,
                inputs=["params:fine_tuning", "params:model"],
                outputs=["training_plan", "training_plan_table"],
                name="plan_training",
                tags=["plan"],
            ),
            Node(
                train_adapter,
                inputs=[
                    "pairs_train",
                    "pairs_val",
                    "base_model",
                    "training_plan",
                    "params:fine_tuning",
                    "params:model",
                    "fine_tuning_workspace",
                ],
                outputs=["adapter", "training_log"],
                name="train_adapter",
                tags=["gpu", "slow"],
            ),
            Node(
                draw_loss_curve,
                inputs="training_log",
                outputs="loss_curve",
                name="draw_loss_curve",
            ),
            Node(
                merge_adapter,
                inputs=[
                    "base_model",
                    "adapter",
                    "pairs_val",
                    "params:fine_tuning",
                    "params:model",
                    "fine_tuning_workspace",
                ],
                outputs=["merged_model", "merge_report"],
                name="merge_adapter",
                tags=["gpu", "slow"],
            ),
        ]
    )
