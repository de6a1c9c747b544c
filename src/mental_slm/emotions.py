"""Emotion profiles as text: how one is written, read and bound by a grammar.

A profile gives StudEmo's ten dimensions (:data:`mental_slm.tasks.EMOTION_DIMENSIONS`) on their raw
scales, as one line of compact JSON with the keys in their order and at most two decimals. This is
what a model is trained to write, what evaluation reads, and what the grammar allows, here and on a
phone. Blanks have no place in it: a small model that may write blanks can write them for ever.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mental_slm.tasks import EMOTION_DIMENSIONS

#: Ratings are whole numbers, and nearly every text of StudEmo has one rating or two, so that its
#: mean is a multiple of this.
HALF_STEP = 0.5


@dataclass(frozen=True)
class ProfileReading:
    """What was found in an answer.

    Attributes:
        is_json: The whole answer is one valid JSON object without repeated keys.
        holds_json: Such an object stands somewhere in the answer.
        is_complete: The whole answer is such an object, and has all ten keys.
        values: The ten values if the answer is complete and all are numbers within their ranges.
    """

    is_json: bool = False
    holds_json: bool = False
    is_complete: bool = False
    values: dict[str, float] | None = None


def write_profile(values: Mapping[str, Any]) -> str:
    """Write a profile the one legal way.

    Args:
        values: The ten dimensions; other keys are left out.

    Returns:
        Compact JSON, rounded to two decimals, whole numbers without a point.
    """
    numbers = {name: round(float(values[name]), 2) for name in EMOTION_DIMENSIONS}
    whole = {name: int(n) if n == int(n) else n for name, n in numbers.items()}
    return json.dumps(whole, separators=(",", ":"))


def read_profile(answer: str) -> ProfileReading:
    """Read an answer of any kind; blanks, other keys and the order of keys do not matter."""
    found = _read_object(answer.strip())
    if found is None:
        start = answer.find("{")
        within = _read_object(answer[start:], to_the_end=False) if start >= 0 else None
        return ProfileReading(holds_json=within is not None)
    complete = EMOTION_DIMENSIONS.keys() <= found.keys()
    values = None
    if complete and all(_in_range(name, found[name]) for name in EMOTION_DIMENSIONS):
        values = {name: float(found[name]) for name in EMOTION_DIMENSIONS}
    return ProfileReading(is_json=True, holds_json=True, is_complete=complete, values=values)


def is_default_profile(values: Mapping[str, float]) -> bool:
    """Tell whether a profile says the same on all ten dimensions, as an unfilled form does.

    A valence of 0 beside eight emotions of 0 counts too, whatever the arousal: it reports nothing.
    """
    shown = [values[name] for name in EMOTION_DIMENSIONS]
    without_arousal = [values[name] for name in EMOTION_DIMENSIONS if name != "arousal"]
    return len(set(shown)) == 1 or not any(without_arousal)


def profile_form() -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return a profile as a form to fill in: eleven fixed pieces and the choices between them.

    The choices of a slot are the multiples of :data:`HALF_STEP` in its range, as they are written.
    """
    names = list(EMOTION_DIMENSIONS)
    pieces = (f'{{"{names[0]}":', *(f',"{name}":' for name in names[1:]), "}")
    choices = tuple(
        tuple(_write_number(low + index * HALF_STEP) for index in range(2 * (high - low) + 1))
        for low, high in EMOTION_DIMENSIONS.values()
    )
    return pieces, choices


def longest_profile_bytes() -> int:
    """Return the length of the longest legal profile, which no answer exceeds in tokens."""
    longest = {name: low + 0.01 if low < 0 else 0.01 for name, (low, _) in _ranges()}
    return len(write_profile(longest).encode())


def profile_grammar() -> str:
    """Return the grammar of exactly the legal profiles, in GBNF.

    llama.cpp reads it as it is (``--grammar-file``), and so does llguidance; there is no second
    version that could differ. Legal is what :func:`write_profile` writes of values within range.
    """
    rules = {name: f"from-{abs(low)}-to-{high}" for name, (low, high) in _ranges()}
    names = list(EMOTION_DIMENSIONS)
    opened = [rf'"{{\"{names[0]}\":" {rules[names[0]]}']
    followed = [rf'",\"{name}\":" {rules[name]}' for name in names[1:]]
    numbers = {rules[name]: _number_rule(low, high) for name, (low, high) in _ranges()}
    lines = [
        f"root ::= {' '.join([*opened, *followed])} " + '"}"',
        *(f"{rule} ::= {body}" for rule, body in numbers.items()),
        'fraction ::= "." [0-9]? [1-9]',  # 0.50 and 0.00 are not how numbers are written
    ]
    return "\n".join(lines) + "\n"


def _ranges() -> list[tuple[str, tuple[int, int]]]:
    return list(EMOTION_DIMENSIONS.items())


def _number_rule(low: int, high: int) -> str:
    """Return the numbers from ``low`` to ``high`` (one digit each) as a rule of the grammar."""
    options = [f'"{high}"', f"[0-{high - 1}] fraction?"]
    if low < 0:
        # there is no -0, but there is -0.5
        options += [f'"{low}"', f'"-" [1-{-low - 1}] fraction?', '"-0" fraction']
    return " | ".join(options)


def _write_number(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _in_range(name: str, value: Any) -> bool:
    low, high = EMOTION_DIMENSIONS[name]
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _read_object(text: str, to_the_end: bool = True) -> dict[str, Any] | None:
    """Return the JSON object that ``text`` starts with, None if there is none or it is not strict."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_refuse_repeats, parse_constant=_refuse_constant, parse_int=_whole
    )
    try:
        found, end = decoder.raw_decode(text)
    except (ValueError, RecursionError):  # the latter for thousands of open brackets
        return None
    if not isinstance(found, dict) or (to_the_end and end < len(text)):
        return None
    return found


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> float:
    """Return a whole number; one of a thousand digits is out of any range, and no error."""
    return int(digits) if len(digits) < 20 else math.inf
