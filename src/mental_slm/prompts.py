"""The wording of prompts: files that people edit, checked before anything is made with them.

A record has three views. The *teacher prompt* may tell the gold label, the *student prompt* has no
place for one, the *target* is what the student learns to write. Each has a version, a digest of its
templates, which becomes part of every id that depends on its wording.
"""

from pathlib import Path
from string import Template
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from mental_slm.fingerprints import digest
from mental_slm.options import Options
from mental_slm.tasks import ANSWER_PREFIX, EMOTION_DIMENSIONS, TASKS, normalise_phrase

#: One YAML file each in the folder of prompts.
FILES = ("tasks", "student", "teacher", "template_answers", "judge")

#: What a judge scores, and the scores whose meaning is written down.
CRITERIA = ("accuracy", "empathy", "clarity", "guidance", "safety", "helpfulness")
ANCHORED_SCORES = (0, 1, 3, 5)


class PromptError(ValueError):
    """A file of prompts is missing or says something that cannot work."""


def _holding(*names: str) -> Any:
    """Return a validator: a template must hold these placeholders and no others."""

    def check(text: str) -> str:
        template = Template(text)
        if not template.is_valid():
            raise ValueError("a lone $ must be written as $$")
        found = set(template.get_identifiers()) - {"answer_prefix"}
        if found != set(names):
            wanted = ", ".join(f"${name}" for name in names)
            raise ValueError(f"must hold {wanted} and no other placeholder")
        return text

    return check


class TaskPrompt(Options):
    """What is asked in one task, and the phrases that stand for its labels."""

    question: str = Field(min_length=1, description="What the model is asked about the post.")
    phrases: dict[str, str] = Field(description="Label to phrase, in the order of the options.")

    @field_validator("phrases")
    @classmethod
    def _tell_apart(cls, phrases: dict[str, str]) -> dict[str, str]:
        if len({normalise_phrase(phrase) for phrase in phrases.values()}) < len(phrases):
            raise ValueError("two labels have the same phrase")
        return phrases


class StudentPrompt(Options):
    """What the student reads."""

    system: str
    question: str
    profile: str

    _check_question = field_validator("question")(_holding("post", "question", "options"))
    _check_profile = field_validator("profile")(_holding("post", "dimensions"))


class TeacherPrompt(Options):
    """What the teacher reads."""

    system: str
    with_label: str
    label_blind: str

    _check_with = field_validator("with_label")(_holding("student_prompt", "label"))
    _check_blind = field_validator("label_blind")(_holding("student_prompt"))


class TemplateAnswers(Options):
    """The sentences of the offline teacher."""

    leads: tuple[str, ...] = Field(min_length=1)
    introductions: tuple[str, ...] = Field(min_length=1)
    readings: dict[str, dict[str, tuple[str, ...]]]
    support: tuple[str, ...] = Field(min_length=1)
    steps: tuple[str, ...] = Field(min_length=1)
    crisis: str

    @model_validator(mode="after")
    def _know_all_labels(self) -> "TemplateAnswers":
        for name, task in TASKS.items():
            missing = [label for label in task.labels if not self.readings.get(name, {}).get(label)]
            if missing:
                raise ValueError(f"readings.{name}: no sentence for {', '.join(missing)}")
        for text in self.introductions:
            _holding("quote")(text)
        return self


class Criterion(Options):
    """One thing that a judge scores from 0 to 5."""

    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    anchors: dict[int, str] = Field(description="Score to what it means, for 0, 1, 3 and 5.")

    @field_validator("anchors")
    @classmethod
    def _anchor_the_scale(cls, anchors: dict[int, str]) -> dict[int, str]:
        if tuple(anchors) != ANCHORED_SCORES:
            raise ValueError(f"needs words for {', '.join(map(str, ANCHORED_SCORES))}")
        return anchors


class JudgePrompt(Options):
    """What a judge reads, and the two answers that attack it."""

    system: str
    question: str
    repair: str
    criteria: dict[str, Criterion]
    template_answer: str = Field(min_length=1)
    padding: str = Field(min_length=1)

    _check_system = field_validator("system")(_holding("criteria"))
    _check_question = field_validator("question")(_holding("post", "question", "answer"))
    _check_repair = field_validator("repair")(_holding("fault"))

    @field_validator("criteria")
    @classmethod
    def _know_all_criteria(cls, criteria: dict[str, Criterion]) -> dict[str, Criterion]:
        if set(criteria) != set(CRITERIA):
            raise ValueError(f"keys must be {', '.join(CRITERIA)}")
        return criteria


class Prompts(Options):
    """All prompts of the project."""

    tasks: dict[str, TaskPrompt]
    student: StudentPrompt
    teacher: TeacherPrompt
    template_answers: TemplateAnswers
    judge: JudgePrompt

    @field_validator("tasks")
    @classmethod
    def _know_all_tasks(cls, tasks: dict[str, TaskPrompt]) -> dict[str, TaskPrompt]:
        for name, task in TASKS.items():
            if name not in tasks:
                raise ValueError(f"no prompt for task {name}")
            if tuple(tasks[name].phrases) != task.labels:
                raise ValueError(f"{name}.phrases: keys must be {', '.join(task.labels)}")
        return tasks

    @classmethod
    def read(cls, folder: Path) -> "Prompts":
        """Read the files of a folder.

        Raises:
            PromptError: Names the file, the key and what is wrong with it.
        """
        content = {}
        for name in FILES:
            path = folder / f"{name}.yml"
            try:
                content[name] = yaml.safe_load(path.read_text("utf-8"))
            except FileNotFoundError:
                raise PromptError(f"{path}: missing; prompts need {', '.join(FILES)}") from None
            except yaml.YAMLError as error:
                raise PromptError(f"{path}: no valid YAML: {error}") from error
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            name, *keys = map(str, first["loc"])
            raise PromptError(
                f"{folder / name}.yml: {'.'.join(keys)}: {first['msg'].removeprefix('Value error, ')}"
            ) from error

    @property
    def student_version(self) -> str:
        """Digest of all that a student prompt is made of."""
        return digest([self.model_dump(include={"tasks", "student"})])

    @property
    def teacher_version(self) -> str:
        """Digest of all that a teacher prompt is made of, the student prompt in it included."""
        return digest([self.student_version, self.teacher.model_dump()])

    @property
    def template_version(self) -> str:
        """Digest of all that an answer of the offline teacher is made of."""
        return digest([self.student_version, self.template_answers.model_dump()])

    @property
    def judge_version(self) -> str:
        """Digest of the rubric: all that a judge reads beside post, question and answer."""
        return digest(self.judge.model_dump(exclude={"template_answer", "padding"}))

    def student_prompt(self, task: str, post: str) -> str:
        """Return what the student reads. It takes no label, so it cannot leak one."""
        asked = self.tasks[task]
        return Template(self.student.question).substitute(
            post=post,
            question=asked.question,
            options="; ".join(asked.phrases.values()),
            answer_prefix=ANSWER_PREFIX,
        )

    def profile_prompt(self, text: str) -> str:
        """Return what the student reads when an emotion profile is asked for."""
        return Template(self.student.profile).substitute(
            post=text, dimensions=", ".join(EMOTION_DIMENSIONS), answer_prefix=ANSWER_PREFIX
        )

    def teacher_prompt(self, task: str, post: str, label: str | None) -> str:
        """Return what the teacher reads: the student's prompt and, for training, the label's phrase.

        Args:
            task: Name of the task.
            post: The post, with personal data masked.
            label: None for a label-blind answer, which every test reference is.
        """
        student_prompt = self.student_prompt(task, post)
        if label is None:
            return Template(self.teacher.label_blind).substitute(
                student_prompt=student_prompt, answer_prefix=ANSWER_PREFIX
            )
        return Template(self.teacher.with_label).substitute(
            student_prompt=student_prompt,
            label=self.tasks[task].phrases[label],
            answer_prefix=ANSWER_PREFIX,
        )
