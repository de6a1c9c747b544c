"""The deployment pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.deployment.nodes import (
    assemble_bundle,
    check_parity,
    convert_to_dlc,
    export_onnx,
    quantise_weights,
    write_model_card,
)


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Build the pipeline: export, quantise, compare with the original, describe, bundle."""
    return Pipeline(
        [
            Node(
                export_onnx,
                inputs=["merged_model", "params:deployment", "deployment_workspace"],
                outputs="onnx_model",
                name="export_onnx",
                tags=["slow"],
            ),
            Node(
                quantise_weights,
                inputs=["onnx_model", "params:deployment", "deployment_workspace"],
                outputs="onnx_int8_model",
                name="quantise_weights",
            ),
            Node(
                check_parity,
                inputs=[
                    "merged_model",
                    "onnx_model",
                    "onnx_int8_model",
                    "pairs_test",
                    "params:deployment",
                    "params:model",
                ],
                outputs="parity_report",
                name="check_parity",
                tags=["slow"],
            ),
            Node(
                convert_to_dlc,
                inputs=["onnx_model", "params:deployment", "deployment_workspace"],
                outputs="dlc",
                name="convert_to_dlc",
            ),
            Node(
                write_model_card,
                inputs=[
                    "merged_model",
                    "adapter",
                    "token_audit",
                    "merge_report",
                    "parity_report",
                    "dlc",
                    "params:deployment",
                ],
                outputs="model_card",
                name="write_model_card",
            ),
            Node(
                assemble_bundle,
                inputs=[
                    "onnx_int8_model",
                    "merged_model",
                    "pairs_test",
                    "parity_report",
                    "dlc",
                    "model_card",
                    "params:deployment",
                    "deployment_workspace",
                ],
                outputs="bundle",
                name="assemble_bundle",
            ),
        ]
    )
