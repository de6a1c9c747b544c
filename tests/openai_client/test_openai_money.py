"""Estimates, prices and the purse; the recorded numbers are those of the reference files."""

from datetime import date

import pytest
from asking_process import make_request
from hypothesis import given
from hypothesis import strategies as st

from mental_slm.openai_client import Price, estimate
from mental_slm.openai_client.money import Purse, cost_of, find_price
from mental_slm.openai_client.protocol import make_entry

MINI = Price(input_per_million=0.15, output_per_million=0.60, as_of=date(2025, 1, 19))
PRICES = {"gpt-4o-mini": MINI, "gpt-4o": MINI.model_copy(update={"output_per_million": 10.0})}


def count_words(text: str) -> int:
    return len(text.split())


def response(prompt: int, answer: int, *, batch: bool = False, model: str = "gpt-4o-mini") -> dict:
    body = {
        "model": model,
        "choices": [{"message": {"content": "kind"}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer},
    }
    entry = make_entry("id", status=200, body=body)
    return {**entry, "id": "batch_req_1"} if batch else entry


def test_the_cost_of_a_recorded_file() -> None:
    # 981 answers: 111,086 prompt and 277,285 completion tokens
    assert cost_of(MINI, 111_086, 277_285, batch=False) == pytest.approx(0.1830, abs=5e-5)
    assert cost_of(MINI, 111_086, 277_285, batch=True) == pytest.approx(0.0915, abs=5e-5)


def test_an_estimate_by_hand() -> None:
    # "Be kind." and "prompt 1 word word word": 2 + 5 words, 2 x 4 for the frames, 3 for the answer
    told = estimate([make_request(1), make_request(2)], count_words, PRICES, 40)
    assert (told.requests, told.prompt_tokens) == (2, 2 * 18)
    assert (told.completion_tokens, told.completion_tokens_ceiling) == (80, 200)
    assert told.cost_usd == pytest.approx((36 * 0.15 + 80 * 0.60) / 1e6)
    assert told.cost_ceiling_usd == pytest.approx((36 * 0.15 + 200 * 0.60) / 1e6)
    assert told.prices_as_of == "2025-01-19"


def test_an_estimate_for_batches_is_half() -> None:
    whole = estimate([make_request(1)], count_words, PRICES, 40)
    half = estimate([make_request(1)], count_words, PRICES, 40, batch=True)
    assert half.cost_usd == pytest.approx(whole.cost_usd / 2)


def test_an_estimate_never_expects_more_than_max_tokens() -> None:
    assert estimate([make_request(1)], count_words, PRICES, 500).completion_tokens == 100


def test_an_estimate_names_models_without_a_price() -> None:
    told = estimate([make_request(1)], count_words, {}, 40)
    assert (told.cost_usd, told.unpriced_models) == (None, ("gpt-4o-mini",))


def test_an_estimate_without_a_limit_has_no_ceiling() -> None:
    request = make_request(1)
    del request["body"]["max_tokens"]
    told = estimate([request], count_words, PRICES, 40)
    assert (told.completion_tokens_ceiling, told.cost_ceiling_usd) == (None, None)
    assert told.cost_usd is not None


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4o-mini", MINI),
        ("gpt-4o-mini-2024-07-18", MINI),
        ("gpt-4o-2024-08-06", PRICES["gpt-4o"]),
        ("gpt-4o-audio", None),
        ("gpt-4", None),
    ],
)
def test_a_snapshot_has_the_price_of_its_model(model: str, price: Price | None) -> None:
    assert find_price(PRICES, model) == price


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_the_worst_case_covers_one_token_per_byte(text: str) -> None:
    request = make_request(1)
    request["body"]["messages"] = [{"role": "user", "content": text}]
    worst = Purse(PRICES, 1.0).worst_case(request)
    tokens = len(text.encode()) + 4 + 3
    assert worst >= cost_of(MINI, tokens, 100, batch=False)


def test_the_purse_gives_back_what_was_set_aside_too_much() -> None:
    purse = Purse(PRICES, 1.0)
    assert purse.reserve(0.6) and not purse.reserve(0.6)
    purse.pay(response(1_000_000, 0))  # 0.15 $
    purse.release(0.6)
    assert purse.reserve(0.6) and not purse.reserve(0.3)
    assert purse.spent == pytest.approx(0.15)


def test_the_purse_knows_how_an_answer_came() -> None:
    purse = Purse(PRICES, None)
    assert purse.pay(response(1_000_000, 0)) == pytest.approx(0.15)
    assert purse.pay(response(1_000_000, 0, batch=True)) == pytest.approx(0.075)


def test_an_answer_of_an_unknown_model_costs_the_dearest_price() -> None:
    assert Purse(PRICES, None).pay(response(0, 1_000_000, model="?")) == pytest.approx(10.0)


def test_an_answer_without_usage_may_have_cost_the_worst() -> None:
    purse = Purse(PRICES, 1.0)
    entry = response(1, 1)
    del entry["response"]["body"]["usage"]
    assert purse.pay(entry, worst=0.2) is None
    assert (purse.spent, purse.lost) == (0.0, 0.2)


def test_errors_are_free_and_empty_choices_are_not() -> None:
    purse = Purse(PRICES, 1.0)
    assert purse.pay(make_entry("id", status=400, body={})) == 0.0
    entry = response(1_000_000, 0)
    entry["response"]["body"]["choices"] = []
    assert purse.pay(entry) == pytest.approx(0.15)


def test_a_local_server_needs_no_limit() -> None:
    free = {"gpt-4o-mini": Price(input_per_million=0, output_per_million=0, as_of=date.today())}
    request = make_request(1)
    del request["body"]["max_tokens"]
    assert Purse(free, 0.0).worst_case(request) == 0.0
