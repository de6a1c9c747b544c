"""From options and a model's config to a plan."""

import math
from typing import Any

from mental_slm.training.hardware import CARDS, Hardware, detect
from mental_slm.training.options import FineTuningOptions
from mental_slm.training.plan import PLANNED, ModelShape, Planner, TrainingPlan


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
        origin=options.plan.origin,
        processes=options.launcher.processes,
    ).make()
