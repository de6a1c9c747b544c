"""The vocabulary of the project: tasks, labels, datasets and the form of an answer.

Pure data with small helpers. Every stage takes its words from here, so that a label is spelled
once. The phrases that people read instead of labels are in ``conf/base/prompts`` (see
:mod:`mental_slm.prompts`). Labels and datasets follow ISEAR (Scherer and Wallbott 1994), Dreaddit
(Turcan and McKeown 2019), Depression_Reddit (Pirina and Coeltekin 2018), DepSeverity (Naseem et al.
2022) and SDCNL (Haque et al. 2021); the emotion dimensions follow StudEmo (Ngo et al. 2022).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: The words that open the line which carries the label in an answer.
ANSWER_PREFIX = "Answer:"


@dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes:
        name: Identifier used in files, for example ``"stress"``.
        title: The name that reports show.
        labels: As in the files; for an ordinal task from least to most.
        ordinal: True where the labels are ordered.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    ordinal: bool = False


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("depression", "Depression", ("yes", "no")),
        Task("stress", "Stress", ("yes", "no")),
        Task(
            "depression_severity",
            "Depression severity",
            ("minimum", "mild", "moderate", "severe"),
            ordinal=True,
        ),
        Task("suicide_risk", "Suicide risk", ("suicidal", "depression")),
        Task(
            "emotion",
            "Emotion",
            ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt"),
        ),
    )
}

#: The task of emotion profiles, whose answer is numbers and no label.
PROFILE_TASK = "emotion_profile"

#: Which task each labelled dataset serves.
DATASET_TASK: dict[str, str] = {
    "DR": "depression",
    "Dreaddit": "stress",
    "DepSeverity": "depression_severity",
    "SDCNL": "suicide_risk",
    "ISEAR": "emotion",
}

#: StudEmo's ten dimensions with their ranges (inclusive).
EMOTION_DIMENSIONS: dict[str, tuple[int, int]] = {
    "joy": (0, 3),
    "trust": (0, 3),
    "anticipation": (0, 3),
    "surprise": (0, 3),
    "fear": (0, 3),
    "sadness": (0, 3),
    "disgust": (0, 3),
    "anger": (0, 3),
    "valence": (-3, 3),
    "arousal": (0, 3),
}

SPLITS = ("train", "val", "test")


def answer_line(phrase: str) -> str:
    """Return the last line of an answer, the one that carries the phrase of the label."""
    return f"{ANSWER_PREFIX} {phrase}"


def parse_answer(phrases: Mapping[str, str], answer: str) -> str | None:
    """Read the label out of an answer, strictly.

    Only the last line that starts with :data:`ANSWER_PREFIX` counts, and it must hold exactly one
    of the phrases. Everything else is an invalid answer, which evaluation counts as wrong.

    Args:
        phrases: Label to the phrase that stands for it.
        answer: What a model or teacher wrote.

    Returns:
        The label, or None for an invalid answer.
    """
    for line in reversed(answer.splitlines()):
        if line.strip().lower().startswith(ANSWER_PREFIX.lower()):
            said = normalise_phrase(line.strip()[len(ANSWER_PREFIX) :])
            known = {normalise_phrase(phrase): label for label, phrase in phrases.items()}
            return known.get(said)
    return None


def normalise_phrase(phrase: str) -> str:
    """Return a phrase without case, outer punctuation and repeated blanks."""
    return re.sub(r"\s+", " ", phrase).strip(" .!\"'*").lower()
