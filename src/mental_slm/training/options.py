"""The ``fine_tuning`` block of the parameters: fine_tuning trains by it, sweep varies it."""

from typing import Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mental_slm.options import Options
from mental_slm.training.config import TrainingOptions, share_rows
from mental_slm.training.hardware import CARDS

#: Tokens of the public training pairs and the share of them in answers, as the audit counts them
#: for SmolLM2's tokenizer, the template teacher and rows of 512 (11,930 pairs: 2,448,198 tokens,
#: 30.3 %). A teacher that writes longer answers has a larger share.
TOKENS, ANSWER_SHARE = 2_450_000, 0.3


class PlanOptions(Options):
    """What the plan is made for, and how careful it is."""

    card: str = Field(
        default="auto",
        description=f"auto: the device of this machine; or one of {', '.join(CARDS)}.",
    )
    memory_gb: float | None = Field(
        default=None, gt=0, description="Memory to plan for, in GB (1e9); null: all the device has."
    )
    margin: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the memory that the plan leaves free."
    )
    tokens: int = Field(
        default=TOKENS,
        gt=0,
        description=(
            "Tokens of the training pairs, for the time. The audit logs what they really are; the "
            "plan comes before it, because it needs no model."
        ),
    )
    answer_share: float = Field(
        default=ANSWER_SHARE,
        gt=0,
        le=1,
        description="Share of them that belongs to answers; the audit logs what it really is.",
    )

    @field_validator("card")
    @classmethod
    def _card_is_known(cls, card: str) -> str:
        if card != "auto" and card not in CARDS:
            raise ValueError(f"unknown card {card!r}; use auto or one of {', '.join(CARDS)}")
        return card

    @property
    def origin(self) -> str:
        """Where the number of tokens and the share of answers come from, for the table."""
        if (self.tokens, self.answer_share) == (TOKENS, ANSWER_SHARE):
            return "audit of the public pairs; that of yours logs the options to set instead"
        return "fine_tuning.plan"


class LauncherOptions(Options):
    """On how much hardware the training runs. It changes the pace, not the result."""

    processes: int = Field(
        default=1,
        gt=0,
        description=(
            "1 trains inside this program; more start one process each (torch.distributed.run), on "
            "a GPU of its own where there are GPUs. They share the rows of each step."
        ),
    )


class MergeOptions(Options):
    """How the adapter becomes part of the model."""

    base: Literal["unquantised", "dequantised"] = Field(
        default="unquantised",
        description=(
            "What the adapter is added to. unquantised: the weights as published, better for "
            "deployment; dequantised: the NF4 weights it was trained on, multiplied out, so that "
            "the result says exactly what was trained."
        ),
    )
    dtype: Literal["bfloat16", "float32"] = Field(
        default="float32",
        description=(
            "Type of the saved weights. bfloat16 takes half the disk, but rounds small updates away: "
            "of the loss that 10 steps on SmolLM2-135M won (1.72 nats), it gave back 0.11; float32 "
            "gave back less than 1e-5."
        ),
    )
    check_pairs: int = Field(
        default=16,
        gt=0,
        description="Validation pairs on which the loss is compared before and after merging.",
    )
    tolerance: float = Field(
        default=0.01,
        gt=0,
        description="Largest allowed difference of the two losses, in nats per answer token.",
    )


class MlflowOptions(Options):
    """Where finished trainings are put on record; nowhere unless a URI is given."""

    tracking_uri: str | None = Field(
        default=None,
        description=(
            "sqlite:///FILE or the address of a server; null takes MLFLOW_TRACKING_URI, and without "
            "that nothing is recorded. Needs the extra mlflow."
        ),
    )
    experiment: str = Field(
        default="mental-slm", min_length=1, description="Name of the experiment in MLflow."
    )


class FineTuningOptions(TrainingOptions):
    """What the fine-tuning pipeline can be told.

    A recipe is a named set of these options. What is said outside the recipes wins over the chosen
    one, key by key.
    """

    recipes: dict[str, dict[str, Any]] = Field(
        default={}, description="Named sets of the options of this block."
    )
    recipe: str = Field(
        default="default",
        description="Which of the recipes to follow; what else is set here wins over it.",
    )
    batch_size: PositiveInt | Literal["auto"] = Field(  # type: ignore[assignment]
        default="auto",
        description="Packed rows per micro-batch; auto: what the plan finds fastest of what fits.",
    )
    cached_weights: bool | Literal["auto"] = Field(  # type: ignore[assignment]
        default="auto",
        description="As for the training; auto: where the plan finds room for it.",
    )
    activation_checkpointing: bool | Literal["auto"] = Field(  # type: ignore[assignment]
        default="auto",
        description="As for the training; auto: only where the plan finds no room without.",
    )
    validation_pairs: int | None = Field(
        default=500,
        gt=0,
        description=(
            "Validation pairs to choose the best adapter by, the first by id; null takes all. The "
            "1,621 public ones took a third of a training's time."
        ),
    )
    plan: PlanOptions = Field(default=PlanOptions(), description="The plan.")
    launcher: LauncherOptions = Field(default=LauncherOptions(), description="The hardware.")
    restart: bool = Field(
        default=False,
        description=(
            "true gives up the checkpoints of an unfinished training of other options; false stops "
            "and names the difference."
        ),
    )
    merge: MergeOptions = Field(default=MergeOptions(), description="The merged model.")
    mlflow: MlflowOptions = Field(default=MlflowOptions(), description="The record in MLflow.")

    @model_validator(mode="before")
    @classmethod
    def _follow_the_recipe(cls, block: Any) -> Any:
        if not isinstance(block, dict):
            return block
        recipes = block.get("recipes")
        recipe = recipes.get(block.get("recipe", "default")) if isinstance(recipes, dict) else None
        return _over(recipe, block) if isinstance(recipe, dict) else block

    @field_validator("recipes")
    @classmethod
    def _check_every_recipe(cls, recipes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, recipe in recipes.items():
            if nested := {"recipe", "recipes"} & set(recipe):
                raise ValueError(f"{name}: a recipe holds no {' or '.join(sorted(nested))}")
            try:
                cls.model_validate(recipe)
            except ValidationError as error:
                fault = error.errors()[0]
                key = ".".join([name, *map(str, fault["loc"])])
                raise ValueError(f"{key}: {fault['msg']}") from error
        return recipes

    @field_validator("recipe")
    @classmethod
    def _recipe_is_known(cls, recipe: str, info: ValidationInfo) -> str:
        recipes = info.data.get("recipes", {})
        if recipe not in recipes and (recipes or recipe != "default"):
            raise ValueError(
                f"there is no {recipe!r}; fine_tuning.recipes holds {', '.join(recipes) or 'none'}"
            )
        return recipe

    @field_validator("launcher")
    @classmethod
    def _rows_can_be_shared(
        cls, launcher: LauncherOptions, info: ValidationInfo
    ) -> LauncherOptions:
        size = info.data.get("batch_size")
        accumulation = info.data.get("gradient_accumulation_steps")
        if accumulation is not None:
            share_rows(1 if size in (None, "auto") else size, accumulation, launcher.processes)
        return launcher

    def asked(self) -> dict[str, Any]:
        """Return the part that shapes the adapter, ``auto`` where the plan chooses."""
        return self.model_dump(mode="json", include=set(TrainingOptions.model_fields))

    def training(self, decided: dict[str, Any] | None = None) -> TrainingOptions:
        """Return the options of the worker.

        Args:
            decided: What the plan chose; without it, what is ``auto`` keeps its plain default.
        """
        stated = {name: value for name, value in self.asked().items() if value != "auto"}
        return TrainingOptions(**stated | (decided or {}))


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested dictionary over another; the upper one wins."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _over(merged[key], value) if both else value
    return merged
