"""LoRA adapters in the PEFT format."""

from typing import Any, ClassVar

from mental_slm.datasets.reference import ReferenceDataset, read_json
from mental_slm.datasets.safetensors_file import count_weights
from mental_slm.references import AdapterRef, Reference


class PeftAdapterDataset(ReferenceDataset[AdapterRef]):
    """An adapter folder: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Example of a catalog entry::

        adapter:
          type: mental_slm.datasets.PeftAdapterDataset
          filepath: data/06_models/smollm2/adapter
          versioned: true
    """

    reference_type: ClassVar[type[Reference]] = AdapterRef

    def _inspect(self, reference: AdapterRef) -> dict[str, Any]:
        config = read_json(reference.path / "adapter_config.json")
        weights = count_weights(reference.path / "adapter_model.safetensors")
        return {"parameters": weights, "adapter_config": config}
