"""What the project says about risk: a detector, crisis resources and the intended use.

Evaluation, the exported bundle and the notebook's chat share these words. The detector is a plain
list of patterns: it is meant to fire too often rather than too rarely and is no medical device.
"""

import re

INTENDED_USE = (
    "Research on language models for mental-health text. Not a diagnosis, not a treatment, "
    "not a crisis service; do not put it in front of people in distress without clinical oversight."
)

CRISIS_RESOURCE = (
    "If you might act on thoughts of suicide, call your local emergency number now, or a crisis "
    "line (988 in the US and Canada, 116 123 in the UK, 112 in the EU; findahelpline.com lists "
    "others)."
)

_RISK = re.compile(
    r"\b("
    r"suicid\w*|kill(ing)? (myself|my self)|end(ing)? (my life|it all|everything)|take my (own )?life"
    r"|(want|wish|ready|going|plan\w*) to die|better off (dead|without me)|self[- ]?harm\w*"
    r"|hurt(ing)? myself|cut(ting)? myself|overdos\w+|no reason to (live|go on)|not be here anymore"
    r"|don'?t want to (live|exist|wake up)"
    r")\b",
    re.IGNORECASE,
)

#: The list as a regular expression (case aside), for programs that cannot import this one.
RISK_PATTERN = _RISK.pattern


def mentions_risk(text: str) -> bool:
    """Tell whether a text speaks of suicide or self-harm in the words of a fixed list."""
    return _RISK.search(text.replace("\u2019", "'")) is not None


def with_crisis_resource(answer: str, post: str) -> str:
    """Put the crisis resource under an answer whenever the post or the answer mentions risk.

    The resource is added by code, so that it never depends on what a model chose to say.
    """
    if CRISIS_RESOURCE in answer or not (mentions_risk(post) or mentions_risk(answer)):
        return answer
    return f"{answer.rstrip()}\n\n{CRISIS_RESOURCE}"
