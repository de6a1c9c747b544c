"""Flags: what a reader should know about a post that is kept. Nothing is removed for a flag."""

import re

#: ISEAR answers that describe no event, beyond the ones that are certain enough to quarantine.
_NON_ANSWER = re.compile(
    r"\b(no (response|reponse|description|answer|such|situation|experience)|not applicable"
    r"|does ?n.?t apply|(can|could) ?not (remember|recall|think)|can.?t (remember|recall|think)"
    r"|never (felt|experienced|had|been)|(have|had) not (felt|experienced)|do(n.?t| not) remember"
    r"|same as (in|for|the)|as (in|for) (anger|fear|joy|sadness|disgust|shame|guilt)|nil|blank)\b",
    re.IGNORECASE,
)
_NON_ANSWER_MAX_WORDS = 15

#: Characters from which a post alone exceeds 512 tokens, at 0.2209 tokens per character (fitted on
#: recorded prompts of these datasets).
_VERY_LONG_CHARS = 2318

#: Frequent English words; a text of some length that hardly has any is taken for another language.
_ENGLISH = frozenset(
    "a am an and are as at be but can do for from get had has have he her him i if in is it just "
    "like me my no not of on or she so that the their them they this to up was we were what when "
    "with you your".split()
)
_ENGLISH_MIN_WORDS = 25
_ENGLISH_MIN_SHARE = 0.12


def flag_text(text: str, dataset: str) -> list[str]:
    """Return the flags of a repaired text.

    Args:
        text: The repaired text.
        dataset: Its dataset; only ISEAR's respondents could decline to answer.

    Returns:
        Any of ``non_answer_broad``, ``non_english``, ``very_long``.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    flags = []
    if dataset == "ISEAR" and len(words) <= _NON_ANSWER_MAX_WORDS and _NON_ANSWER.search(text):
        flags.append("non_answer_broad")
    known = sum(word in _ENGLISH for word in words)
    if len(words) >= _ENGLISH_MIN_WORDS and known < _ENGLISH_MIN_SHARE * len(words):
        flags.append("non_english")
    if len(text) > _VERY_LONG_CHARS:
        flags.append("very_long")
    return flags
