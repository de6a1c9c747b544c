"""Answers that need no judge: empty ones, refusals and copies of the prompt score 0 by rule."""

import re

from mental_slm.tasks import ANSWER_PREFIX

#: An answer this much of whose word sequences stand in the prompt only repeats it.
COPIED_SHARE = 0.9
SEQUENCE_WORDS = 5

#: Below this number of words, an answer may consist of the options' own words.
FEWEST_WORDS = 10

_WORD = re.compile(r"[^\W_]+")
_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am)\s+(?:(?:very|so|really)\s+)?sorry|sorry|i apologi[sz]e|unfortunately"
    r"|as an? (?:ai|artificial|language)[^.!?\n]{0,40})?[^.!?\n]{0,30}?"
    r"\bi(?:['’]?m| am)?\s*(?:can(?:not|['’]?t)|won['’]?t|will not|unable to|not able to)"
    r"(?:\s+\w+){0,2}\s+(?:help|assist|comply|engage|answer|respond|continue|discuss|provide|grade"
    r"|rate|evaluate|judge)\b",
    re.IGNORECASE,
)


def refuses(text: str) -> bool:
    """Tell whether a text opens by declining to answer at all."""
    return _REFUSAL.search(text.strip()) is not None


def find_rule(answer: str, prompt: str) -> str | None:
    """Return why an answer scores 0 without being judged, or None.

    Args:
        answer: The whole answer.
        prompt: What the model was shown as user turn.

    Returns:
        ``empty``, ``refusal``, ``copy`` or None.
    """
    said = "\n".join(
        line
        for line in answer.splitlines()
        if not line.strip().lower().startswith(ANSWER_PREFIX.lower())
    )
    if not _WORD.search(answer):
        return "empty"
    if refuses(said):
        return "refusal"
    return "copy" if _copied_share(said, prompt) >= COPIED_SHARE else None


def _copied_share(answer: str, prompt: str) -> float:
    """Return the share of an answer's five-word sequences that stand in the prompt."""
    words = _WORD.findall(answer.lower())
    if len(words) < FEWEST_WORDS:
        return 0.0
    of_answer, of_prompt = _sequences(words), set(_sequences(_WORD.findall(prompt.lower())))
    return sum(each in of_prompt for each in of_answer) / len(of_answer)


def _sequences(words: list[str]) -> list[tuple[str, ...]]:
    return [
        tuple(words[start : start + SEQUENCE_WORDS])
        for start in range(len(words) - SEQUENCE_WORDS + 1)
    ]
