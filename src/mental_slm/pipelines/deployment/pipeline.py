"""The deployment pipeline."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from mental_slm.pipelines.deployment.cpu.nodes import build_genai_model, build_gguf_files
from mental_slm.pipelines.deployment.nodes import (
    assemble_bundle,
    check_parity,
    export_onnx,
    quantise_weights,
    write_model_card,
)
from mental_slm.pipelines.deployment.npu.nodes import (
    build_static_graphs,
    collect_calibration,
    convert_to_dlc,
    quantise_for_npu,
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
                build_genai_model,
                inputs=["merged_model", "params:deployment", "deployment_workspace"],
                outputs="genai_model",
                name="build_genai_model",
            ),
            Node(
                build_gguf_files,
                inputs=["merged_model", "params:deployment", "deployment_workspace"],
                outputs="gguf_model",
                name="build_gguf_files",
            ),
            Node(
                check_parity,
                inputs=[
                    "merged_model",
                    "onnx_model",
                    "onnx_int8_model",
                    "genai_model",
                    "gguf_model",
                    "pairs_test",
                    "params:deployment",
                    "params:model",
                ],
                outputs="parity_report",
                name="check_parity",
                tags=["slow"],
            ),
            Node(
                build_static_graphs,
                inputs=["merged_model", "params:deployment", "deployment_workspace"],
                outputs="static_decoder",
                name="build_static_graphs",
            ),
            Node(
                collect_calibration,
                inputs=[
                    "static_decoder",
                    "merged_model",
                    "pairs_train",
                    "params:deployment",
                    "params:model",
                    "deployment_workspace",
                ],
                outputs="calibration",
                name="collect_calibration",
            ),
            Node(
                quantise_for_npu,
                inputs=[
                    "static_decoder",
                    "merged_model",
                    "calibration",
                    "pairs_test",
                    "params:deployment",
                    "params:model",
                    "deployment_workspace",
                ],
                outputs=["qdq_model", "qdq_parity"],
                name="quantise_for_npu",
                tags=["slow"],
            ),
            Node(
                convert_to_dlc,
                inputs=[
                    "static_decoder",
                    "qdq_model",
                    "qdq_parity",
                    "merged_model",
                    "pairs_test",
                    "params:deployment",
                    "params:model",
                    "deployment_workspace",
                ],
                outputs=["dlc", "npu_parity"],
                name="convert_to_dlc",
                tags=["slow"],
            ),
            Node(
                write_model_card,
                inputs={
                    "options": "params:deployment",
                    **{
                        name: name
                        for name in (
                            "merged_model",
                            "adapter",
                            "dlc",
                            "genai_model",
                            "gguf_model",
                            "token_audit",
                            "merge_report",
                            "parity_report",
                            "npu_parity",
                            "metrics",
                            "safety_metrics",
                            "ingestion_counts",
                            "device_anchors",
                        )
                    },
                },
                outputs="model_card",
                name="write_model_card",
            ),
            Node(
                assemble_bundle,
                inputs={
                    "options": "params:deployment",
                    "genai_int4": "genai_model",
                    "gguf": "gguf_model",
                    **{
                        name: name
                        for name in (
                            "onnx_int8_model",
                            "merged_model",
                            "pairs_test",
                            "parity_report",
                            "dlc",
                            "model_card",
                            "deployment_workspace",
                        )
                    },
                },
                outputs="bundle",
                name="assemble_bundle",
            ),
        ]
    )
