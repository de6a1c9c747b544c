"""The options in conf and in code, and the recipes."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from mental_slm.training.config import LoraOptions, TrainingOptions
from mental_slm.training.options import FineTuningOptions

CONF = Path(__file__).resolve().parents[3] / "conf"


@pytest.fixture
def block() -> dict:
    text = (CONF / "base" / "parameters_fine_tuning.yml").read_text("utf-8")
    return yaml.safe_load(text)["fine_tuning"]


def test_conf_states_every_default_and_the_code_the_same(block):
    assert FineTuningOptions(**block).model_copy(update={"recipes": {}}) == FineTuningOptions()
    default = block["recipes"]["default"]
    assert default.keys() == TrainingOptions.model_fields.keys()
    assert default["lora"].keys() == LoraOptions.model_fields.keys()


def test_every_option_says_what_it_does():
    for options in (FineTuningOptions, LoraOptions):
        assert all(field.description for field in options.model_fields.values())


def test_the_original_recipe_holds_the_original_settings(block):
    options = FineTuningOptions(**{**block, "recipe": "original"})
    assert (options.lora.r, options.lora.alpha, options.lora.dropout) == (256, 512, 0.05)
    assert options.lora.targets == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (options.learning_rate, options.schedule, options.warmup) == (1e-5, "linear", 0.0)
    assert (options.batch_size, options.gradient_accumulation_steps) == (2, 16)
    assert (options.num_epochs, options.max_length) == (2, 512)
    assert (options.optimizer, options.weight_decay) == ("adamw_8bit", 0.01)
    assert options.quantisation == "nf4"


def test_what_is_said_outside_the_recipes_wins_key_by_key(block):
    said = {"recipe": "original", "learning_rate": 3e-4, "lora": {"r": 8}}
    options = FineTuningOptions(**{**block, **said})
    assert options.learning_rate == 3e-4
    assert (options.lora.r, options.lora.alpha) == (8, 512)
    assert options.num_epochs == 2
    assert FineTuningOptions.model_validate(options.model_dump()) == options


@pytest.mark.parametrize("env", ["llama", "qwen", "deepseek"])
def test_a_model_environment_adapts_the_default_recipe_and_no_other(block, env):
    text = (CONF / env / "parameters.yml").read_text("utf-8")
    own = yaml.safe_load(text)["fine_tuning"]
    assert own.keys() == {"recipes"}
    assert own["recipes"].keys() == {"default"}
    block["recipes"]["default"] |= own["recipes"]["default"]
    assert FineTuningOptions(**block).learning_rate == 2e-4
    assert FineTuningOptions(**{**block, "recipe": "original"}).learning_rate == 1e-5


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"recipe": "best"}, "there is no 'best'; fine_tuning.recipes holds default, original"),
        ({"recipes": {"default": {}, "mine": {"lora": {"rank": 3}}}}, "mine.lora.rank: Extra"),
        ({"launcher": {"processes": 2}}, r"launcher\n.*set fine_tuning.gradient_acc.*_steps=2"),
        ({"recipes": {"default": {"recipe": "x"}}}, "default: a recipe holds no recipe"),
    ],
)
def test_a_wrong_recipe_is_refused(block, said, message):
    with pytest.raises(ValidationError, match=message):
        FineTuningOptions(**{**block, **said})


def test_an_unknown_recipe_without_recipes_is_refused():
    with pytest.raises(ValidationError, match="there is no 'original'; .* holds none"):
        FineTuningOptions(recipe="original")
