"""The project's own catalog datasets. Importing them loads nothing heavy."""

from mental_slm.datasets.api_key import APIKeyDataset
from mental_slm.datasets.chat_jsonl import ChatJSONLDataset
from mental_slm.datasets.dlc import DLCDataset
from mental_slm.datasets.markdown import MarkdownDataset, MarkdownFolderDataset
from mental_slm.datasets.model import ModelDataset
from mental_slm.datasets.onnx import ONNXDataset
from mental_slm.datasets.peft_adapter import PeftAdapterDataset
from mental_slm.datasets.prompts import PromptsDataset
from mental_slm.datasets.remote_file import RemoteFileDataset
from mental_slm.datasets.runtime_model import RuntimeModelDataset
from mental_slm.datasets.workspace import WorkspaceDataset

__all__ = [
    "APIKeyDataset",
    "ChatJSONLDataset",
    "DLCDataset",
    "MarkdownDataset",
    "MarkdownFolderDataset",
    "ModelDataset",
    "ONNXDataset",
    "PeftAdapterDataset",
    "PromptsDataset",
    "RemoteFileDataset",
    "RuntimeModelDataset",
    "WorkspaceDataset",
]
