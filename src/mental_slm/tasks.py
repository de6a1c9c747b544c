"""The vocabulary of the project: tasks, labels, the phrases people read, and the questions asked.

Pure data with small helpers. Every stage takes its words from here, so that a label is spelled
once. Labels and datasets follow ISEAR (Scherer and Wallbott 1994), Dreaddit (Turcan and McKeown
2019), Depression_Reddit (Pirina and Coeltekin 2018), DepSeverity (Naseem et al. 2022) and SDCNL
(Haque et al. 2021); the emotion dimensions follow StudEmo (Ngo et al. 2022).
"""

import re
from dataclasses import dataclass

#: The words that open the line which carries the label in an answer.
ANSWER_PREFIX = "Answer:"


@dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes:
        name: Identifier used in files, for example ``"stress"``.
        title: The name that reports show.
        question: What the model is asked about the post.
        phrases: Label to the phrase that stands for it in prompts and answers. The order is the
            order of the option list; for an ordinal task it runs from least to most.
        ordinal: True where the labels are ordered.
    """

    name: str
    title: str
    question: str
    phrases: dict[str, str]
    ordinal: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the option list."""
        return tuple(self.phrases)

    def label_of(self, phrase: str) -> str | None:
        """Return the label whose phrase equals ``phrase`` (case and outer punctuation aside)."""
        wanted = _normalise_phrase(phrase)
        for label, known in self.phrases.items():
            if _normalise_phrase(known) == wanted:
                return label
        return None


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="depression",
            title="Depression",
            question="Is the post consistent with depression?",
            phrases={"yes": "signs of depression", "no": "no signs of depression"},
        ),
        Task(
            name="stress",
            title="Stress",
            question="Does the post show that its writer is under stress?",
            phrases={"yes": "stressed", "no": "not stressed"},
        ),
        Task(
            name="depression_severity",
            title="Depression severity",
            question="How strong are the signs of depression in the post?",
            phrases={
                "minimum": "minimal signs",
                "mild": "mild signs",
                "moderate": "moderate signs",
                "severe": "severe signs",
            },
            ordinal=True,
        ),
        Task(
            name="suicide_risk",
            title="Suicide risk",
            question="Does the post speak of suicidal thoughts, or of depression without them?",
            phrases={
                "suicidal": "suicidal thoughts",
                "depression": "depression without suicidal thoughts",
            },
        ),
        Task(
            name="emotion",
            title="Emotion",
            question="Which emotion does the writer describe?",
            phrases={
                "joy": "joy",
                "fear": "fear",
                "anger": "anger",
                "sadness": "sadness",
                "disgust": "disgust",
                "shame": "shame",
                "guilt": "guilt",
            },
        ),
    )
}

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


def answer_line(task: Task, label: str) -> str:
    """Return the last line of an answer, the one that carries the label."""
    return f"{ANSWER_PREFIX} {task.phrases[label]}"


def parse_answer(task: Task, answer: str) -> str | None:
    """Read the label out of an answer, strictly.

    Only the last line that starts with :data:`ANSWER_PREFIX` counts, and it must hold exactly one
    of the task's phrases. Everything else is an invalid answer, which evaluation counts as wrong.

    Returns:
        The label, or None for an invalid answer.
    """
    for line in reversed(answer.splitlines()):
        if line.strip().lower().startswith(ANSWER_PREFIX.lower()):
            return task.label_of(line.strip()[len(ANSWER_PREFIX) :])
    return None


def _normalise_phrase(phrase: str) -> str:
    return re.sub(r"\s+", " ", phrase).strip(" .!\"'*").lower()
