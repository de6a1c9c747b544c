"""The project's own catalog datasets. Importing them loads nothing heavy."""

from mental_slm.datasets.chat_jsonl import ChatJSONLDataset
from mental_slm.datasets.dlc import DLCDataset
from mental_slm.datasets.markdown import MarkdownDataset
from mental_slm.datasets.model import ModelDataset
from mental_slm.datasets.onnx import ONNXDataset
from mental_slm.datasets.peft_adapter import PeftAdapterDataset
from mental_slm.datasets.remote_file import RemoteFileDataset
from mental_slm.datasets.workspace import WorkspaceDataset

__all__ = [
    "ChatJSONLDataset",
    "DLCDataset",
    "MarkdownDataset",
    "ModelDataset",
    "ONNXDataset",
    "PeftAdapterDataset",
    "RemoteFileDataset",
    "WorkspaceDataset",
]
