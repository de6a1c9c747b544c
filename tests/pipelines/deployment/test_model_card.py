"""The model card: what it says, what it refuses, and that no gap goes out."""

import re

import pytest

from mental_slm.pipelines.deployment.card import (
    FIELDS,
    SECTIONS,
    VENDOR_NOTICE,
    CardIncomplete,
    check_complete,
)
from mental_slm.pipelines.deployment.nodes import assemble_bundle, write_model_card
from mental_slm.references import DLCRef, ModelRef

PARITY = {
    "samples": 2,
    "threads": 1,
    "torch": {"precision": "fp32", "engine": "torch", "size_bytes": 4000},
    "fp32": {"precision": "fp32", "engine": "onnxruntime", "size_bytes": 4000, "kl": 1e-9},
    "int8": {
        "precision": "int8",
        "engine": "onnxruntime",
        "size_bytes": 1000,
        "tokens": 99,
        "task_items": 15,
        "task_agreement": 0.93,
    },
    "runtimes": {"genai_int4": {"precision": "int4", "engine": "genai", "size_bytes": 600}},
}


@pytest.fixture
def dlc(tmp_path) -> DLCRef:
    return DLCRef(path=tmp_path, digest="", soc="sm8750", source_digest="0")


@pytest.fixture
def model(tmp_path) -> ModelRef:
    return ModelRef(
        path=tmp_path,
        digest="abc",
        name="Tiny-tuned",
        family="llama",
        origin="merged",
        parameters=3_000_000_000,
    )


@pytest.fixture
def write(model, dlc, reports, skipped, options):
    def make(**changes) -> str:
        made_from = {
            "merged_model": model,
            "dlc": dlc,
            "options": options,
            "parity_report": PARITY,
            **skipped,
            **reports(model),
            **changes,
        }
        return write_model_card(**made_from)

    return make


def test_card_says_what_was_measured_and_what_was_not(write) -> None:
    card = write()
    check_complete(card)
    assert "0.500 (0.250 to 0.750)" in card
    assert "release gate: **failed**" in card
    assert "`crisis_resource_min` is 0.9, at least 0.95 is asked" in card
    assert "Not measured: recall of suicidal posts" in card
    assert "measured on a phone: nothing" in card
    assert "| Dreaddit | MIT | Turcan 2019 |" in card
    assert "| int4 | genai | 600 |" in card
    assert "No model for llama.cpp: not asked for." in card
    # 47 and 57 GB/s over the 1.5 GB of three billion 4-bit weights
    assert "31 to 38 decode tokens/s" in card
    assert "An estimate, not a measurement" in card


def test_small_models_get_no_estimate(write, model) -> None:
    small = ModelRef(**{**model.to_json(), "path": model.path, "parameters": 135_000_000})
    assert "estimated: nothing" in write(merged_model=small)


def test_vendor_notice_stands_with_a_container_alone(write, dlc) -> None:
    without = DLCRef(**{**dlc.to_json(), "path": dlc.path, "skipped_because": "none."})
    assert VENDOR_NOTICE in write()
    assert VENDOR_NOTICE not in write(dlc=without)


@pytest.mark.parametrize("report", ["metrics", "safety_metrics"])
def test_evaluation_of_another_model_is_refused(report, write, model, reports) -> None:
    other = ModelRef(**{**model.to_json(), "path": model.path, "digest": "def"})
    with pytest.raises(ValueError, match=rf"^{report}: of another model \(def\)"):
        write(**{report: reports(other)[report]})


@pytest.mark.parametrize("title", SECTIONS)
def test_no_section_may_be_empty(title, write) -> None:
    card = write()
    emptied = re.sub(rf"(## {re.escape(title)}\n).*?(?=^## |\Z)", r"\1\n", card, flags=re.S | re.M)
    assert emptied != card
    with pytest.raises(CardIncomplete, match=re.escape(f"section '{title}'")):
        check_complete(emptied)
    with pytest.raises(CardIncomplete, match=re.escape(f"section '{title}'")):
        check_complete(card.replace(f"## {title}\n", ""))


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_may_be_empty(name, write) -> None:
    emptied = re.sub(rf"^(- {name}:).*$", r"\1 ", write(), flags=re.M)
    with pytest.raises(CardIncomplete, match=f"'{name}'"):
        check_complete(emptied)


def test_a_model_without_a_known_licence_is_not_released(write, options, model, dlc) -> None:
    unstated = options.model_copy(update={"base_licence": ""})
    card = write(options=unstated)
    with pytest.raises(CardIncomplete, match=r"'licence of the base model'.*base_licence="):
        assemble_bundle(None, model, [], PARITY, dlc, card, unstated, model.path)
