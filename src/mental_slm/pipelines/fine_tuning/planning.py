"""What a plan is made from: the config of a model that need not be here, the options, a device."""

import json
import math
from pathlib import Path
from typing import Any

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.fine_tuning.options import FineTuningOptions
from mental_slm.training.hardware import CARDS, Hardware, detect
from mental_slm.training.plan import PLANNED, ModelShape, Planner, TrainingPlan

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


def describe_hardware(options: FineTuningOptions) -> Hardware:
    """Return the device to plan for: the one at hand, or the one that the options name."""
    asked = options.plan
    hardware = detect() if asked.card == "auto" else CARDS[asked.card]
    if asked.memory_gb is not None:
        hardware = hardware.model_copy(update={"memory_gb": asked.memory_gb})
    if options.compute != "auto":
        hardware = hardware.model_copy(update={"bf16": options.compute == "bfloat16"})
    return hardware


def make_plan(
    name: str, config: dict[str, Any], options: FineTuningOptions, hardware: Hardware
) -> TrainingPlan:
    """Plan a training.

    Args:
        name: Of the base model.
        config: Its ``config.json``.
        options: The training.
        hardware: What it runs on.

    Raises:
        PlanImpossible: Nothing fits; names the smallest change that would.
    """
    training = options.training()
    if training.max_steps is None:
        tokens = math.ceil(options.plan.tokens * training.num_epochs)
    else:
        rows = training.batch_size * training.gradient_accumulation_steps
        tokens = training.max_steps * rows * training.max_length
    return Planner(
        model=name,
        shape=ModelShape.of(config),
        options=training,
        asked={name: options.asked()[name] for name in PLANNED},
        hardware=hardware,
        margin=options.plan.margin,
        tokens=tokens,
        answer_share=options.plan.answer_share,
        processes=options.launcher.processes,
    ).make()
