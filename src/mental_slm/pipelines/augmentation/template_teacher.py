"""A teacher that needs no network: it composes answers from templates, the same ones every time.

Its answers quote the post, so that a student learns to point at evidence; its choice among variants
follows the text, so that equal posts get equal answers and a rerun gives the same bytes.
"""

import re
from collections.abc import Sequence
from string import Template

from mental_slm.fingerprints import digest
from mental_slm.prompts import Prompts
from mental_slm.safety import mentions_risk
from mental_slm.tasks import answer_line

#: The name of this teacher in requests and responses.
MODEL = "template"

QUOTE_WORDS = 14


def compose_answer(prompts: Prompts, task: str, post: str, text_id: str, label: str | None) -> str:
    """Write the answer to one post.

    Args:
        prompts: The sentences, and the phrases of the labels.
        task: Name of the task.
        post: The post, with personal data masked.
        text_id: Digest of the post; it chooses the variants.
        label: The gold label, or None for a label-blind answer without an answer line.

    Returns:
        Evidence, a reading of it (where the label is known), support, a step, a crisis sentence
        where the post mentions risk, and the answer line (where the label is known).
    """
    bank = prompts.template_answers
    opening = Template(_choose(bank.introductions, text_id, "introduction"))
    sentences = [
        _choose(bank.leads, text_id, "lead"),
        opening.substitute(quote=_quote(post)),
    ]
    if label is not None:
        sentences.append(_choose(bank.readings[task][label], text_id, "reading"))
    sentences.append(_choose(bank.support, text_id, "support"))
    sentences.append(_choose(bank.steps, text_id, "step"))
    if label == "suicidal" or mentions_risk(post) or mentions_risk(" ".join(sentences)):
        sentences.append(bank.crisis)
    answer = " ".join(sentences)
    if label is None:
        return answer
    return f"{answer}\n{answer_line(prompts.tasks[task].phrases[label])}"


def _choose(variants: Sequence[str], text_id: str, slot: str) -> str:
    """Choose by a digest of its own for every slot, so that the choices are independent."""
    return variants[int(digest([text_id, slot]), 16) % len(variants)]


def _quote(post: str) -> str:
    """Return the words of the post that say most, by the plain measure of word length.

    The sentence with the longest words on average tends to hold the content; openings and fillers
    are short. The quote is cut at :data:`QUOTE_WORDS` words and keeps no quotation marks inside.
    """
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", post) if part.strip()]
    worthy = [part for part in sentences if len(part.split()) >= 4] or sentences or [post]
    best = max(worthy, key=lambda part: sum(map(len, part.split())) / max(len(part.split()), 1))
    words = best.replace('"', "'").rstrip(".!?,;: ").split()
    return " ".join(words[:QUOTE_WORDS])
