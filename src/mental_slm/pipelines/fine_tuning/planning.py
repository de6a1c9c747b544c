"""The config of a model whose weights need not be here."""

import json
from pathlib import Path
from typing import Any

from mental_slm.language_model.options import ModelOptions

#: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, config.json: the embedded model.
EMBEDDED = {
    "model_type": "llama",
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}

#: The tiny model of the tests, see mental_slm.language_model.source.
RANDOM = {
    **EMBEDDED,
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def read_model_config(model: ModelOptions) -> tuple[str, dict[str, Any]]:
    """Return the name and the ``config.json`` of a model, without its weights.

    The three real models need neither a network nor an account for it: their published configs are
    part of the project. Of any other model on the hub that one file is fetched.

    Raises:
        FileNotFoundError: ``model.path`` holds no config.json.
    """
    if model.path is not None:
        file = model.path / "config.json"
        if not file.is_file():
            raise FileNotFoundError(
                f"model.path: {model.path} holds no config.json; give a folder in the Hugging Face "
                "format"
            )
        return model.path.resolve().name, json.loads(file.read_text("utf-8"))
    name = model.name.split("/")[-1]
    if model.source != "hub":
        return name, EMBEDDED if model.source == "embedded" else RANDOM
    from mental_slm.standin import FAMILIES

    for family in FAMILIES.values():
        if family.hub_id == model.name:
            return name, family.config
    from huggingface_hub import hf_hub_download

    file = Path(hf_hub_download(model.name, "config.json", revision=model.revision))
    return name, json.loads(file.read_text("utf-8"))
