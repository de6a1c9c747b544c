"""A teacher that needs no network: it composes answers from templates, the same ones every time.

Its answers quote the post, so that a student learns to point at evidence; its choice among variants
follows the text, so that equal posts get equal answers and a rerun gives the same bytes.
"""

import re

from mental_slm.safety import mentions_risk
from mental_slm.tasks import Task, answer_line

QUOTE_WORDS = 14

CRISIS_SENTENCE = (
    "If you might act on such thoughts, please call your local emergency number or a crisis line "
    "now."
)

_QUOTES = (
    'The writer says: "{quote}".',
    'What stands out is "{quote}".',
    'These words carry weight: "{quote}".',
    'The post tells us "{quote}".',
)

_READINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "depression": {
        "yes": (
            "That is consistent with depression.",
            "Low mood and lost interest like this fit depression.",
        ),
        "no": (
            "That does not point to depression.",
            "Nothing here suggests a lasting low mood.",
        ),
    },
    "stress": {
        "yes": (
            "That is consistent with being under stress.",
            "The demands seem larger than the strength left to meet them.",
        ),
        "no": (
            "That reads as calm or at ease.",
            "No strain beyond the ordinary shows in it.",
        ),
    },
    "depression_severity": {
        "minimum": ("Hardly any sign of depression shows.", "Daily life goes on much as usual."),
        "mild": (
            "Some low mood shows, and daily life still works.",
            "The signs are there but light.",
        ),
        "moderate": (
            "Low mood now gets in the way of daily life.",
            "Several signs show together and last.",
        ),
        "severe": (
            "The signs are strong and fill the whole day.",
            "Hardly any part of life is left untouched.",
        ),
    },
    "suicide_risk": {
        "suicidal": (
            "That speaks of thoughts of not living on.",
            "This goes beyond sadness to thoughts of ending life.",
        ),
        "depression": (
            "That speaks of depression, with no thought of ending life.",
            "The pain is real, and life itself is not in question here.",
        ),
    },
    "emotion": {
        "joy": ("It describes a happy moment.", "Gladness runs through it."),
        "fear": ("It describes being afraid.", "A threat is felt here."),
        "anger": ("It describes being angry at a wrong.", "Something unfair set this off."),
        "sadness": ("It describes a loss that hurts.", "Grief runs through it."),
        "disgust": ("It describes revulsion.", "Something repelled the writer."),
        "shame": ("It describes feeling exposed before others.", "Being seen is what hurts."),
        "guilt": ("It describes regret for one's own act.", "The writer feels at fault."),
    },
}

_SUPPORT = (
    "Thank you for putting this into words.",
    "It may help to share it with someone you trust.",
    "Be gentle with yourself today.",
    "A small pause and a talk with a friend can help.",
    "You do not have to carry this alone.",
    "If it stays heavy, a professional can help you look at it.",
)


def compose_answer(task: Task, post: str, text_id: str, label: str | None) -> str:
    """Write the answer to one post.

    Args:
        task: The task.
        post: The post.
        text_id: Hex digest of the post; it chooses the variants.
        label: The gold label, or None for a label-blind answer without an answer line.

    Returns:
        Evidence, a reading of it (where the label is known), support, a crisis sentence where the
        post mentions risk, and the answer line (where the label is known).
    """
    choice = int(text_id, 16)
    sentences = [_QUOTES[choice % len(_QUOTES)].format(quote=_quote(post))]
    if label is not None:
        readings = _READINGS[task.name][label]
        sentences.append(readings[choice // 7 % len(readings)])
    sentences.append(_SUPPORT[choice // 17 % len(_SUPPORT)])
    if label == "suicidal" or mentions_risk(post):
        sentences.append(CRISIS_SENTENCE)
    answer = " ".join(sentences)
    return answer if label is None else f"{answer}\n{answer_line(task, label)}"


def _quote(post: str) -> str:
    """Return the words of the post that say most, by the plain measure of word length.

    The sentence with the longest words on average tends to hold the content; openings and fillers
    are short. The quote is cut at :data:`QUOTE_WORDS` words and keeps no quotation marks inside.
    """
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", post) if part.strip()]
    worthy = [part for part in sentences if len(part.split()) >= 4] or sentences or [post]
    best = max(worthy, key=lambda part: sum(map(len, part.split())) / len(part.split()))
    words = best.replace('"', "'").rstrip(".!?,;: ").split()
    return " ".join(words[:QUOTE_WORDS])
