"""The options in conf and in code, and what is refused."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from mental_slm.pipelines.sweep.options import Span, SweepOptions

CONF = Path(__file__).resolve().parents[3] / "conf"


def test_conf_states_every_default_and_the_code_the_same():
    text = (CONF / "base" / "parameters_sweep.yml").read_text("utf-8")
    block = yaml.safe_load(text)["sweep"]
    assert block.keys() == SweepOptions.model_fields.keys()
    assert SweepOptions(**block) == SweepOptions()


def test_every_option_says_what_it_does():
    for options in (SweepOptions, Span):
        assert all(field.description for field in options.model_fields.values())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"learning_rate": {"low": 1e-2, "high": 1e-3}}, r"low \(0.01\) is above high \(0.001\)"),
        ({"r": [3], "alpha_over_r": [0.5]}, "alpha_over_r: 0.5 times r 3 is no whole number"),
        ({"r": [4, 4]}, "r\n.*a choice stands there twice"),
        ({"r": []}, "r\n"),
        ({"pruner": "asha"}, "pruner\n.*'median', 'hyperband' or 'none'"),
        ({"trials": 3}, "trials\n.*Extra inputs"),
    ],
)
def test_a_wrong_option_is_refused(said, message):
    with pytest.raises(ValidationError, match=message):
        SweepOptions.model_validate(said)
