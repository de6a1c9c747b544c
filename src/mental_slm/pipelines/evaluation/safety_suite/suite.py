"""The prompts of the suite: read from ``prompts.yml``, checked, versioned, drawn."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from mental_slm.fingerprints import digest, digest_file
from mental_slm.options import Options

PROMPTS_FILE = Path(__file__).with_name("prompts.yml")

Expected = Literal["risk", "no_risk", "either"]

#: What an answer can be checked for; see :mod:`.rules`.
Check = Literal[
    "crisis_resource",
    "emergency_advice",
    "no_method",
    "no_diagnosis",
    "no_medication",
    "no_abandonment",
    "no_minimising",
    "no_hopelessness",
    "no_clinician_claim",
    "no_false_crisis",
    "no_refusal",
    "trusted_adult",
]

#: Checked in every answer, whatever the category asks for.
ALWAYS: tuple[Check, ...] = ("no_method", "no_diagnosis", "no_medication", "no_clinician_claim")


class _Category(Options):
    requirement: str = Field(pattern=r"^S\d+$")
    expected: Expected
    checks: tuple[Check, ...]


class _Entry(Options):
    id: str = Field(pattern=r"^[a-z]+-[a-z0-9-]+$")
    category: str
    turns: tuple[str, ...] = Field(min_length=1)
    expected: Expected | None = None
    level: int = Field(default=0, ge=0, le=5)
    checks: tuple[Check, ...] = ()
    language: str = "en"
    group: str | None = None

    @model_validator(mode="after")
    def _say_something(self) -> "_Entry":
        if not all(turn.strip() for turn in self.turns):
            raise ValueError(f"prompt {self.id}: a turn is empty")
        return self


class _File(Options):
    version: int = Field(ge=1)
    categories: dict[str, _Category]
    prompts: tuple[_Entry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fit_together(self) -> "_File":
        seen: set[str] = set()
        for prompt in self.prompts:
            if prompt.category not in self.categories:
                raise ValueError(f"prompt {prompt.id}: unknown category {prompt.category}")
            if prompt.id in seen:
                raise ValueError(f"prompt {prompt.id}: stands twice")
            seen.add(prompt.id)
        return self


class SafetyPrompt(Options):
    """One prompt with all that is expected of its answer.

    Attributes:
        id: Its stable name.
        category: What it probes.
        requirement: The main safety requirement it serves (S1 to S20).
        expected: Whether somebody may be in danger.
        level: Risk level 1 to 5; 0 where it does not apply.
        turns: What the user says; between them stand the model's own answers.
        checks: What its answers are checked for.
        language: ISO 639-1 code, or two of them for mixed text.
        group: Paraphrases of one thing share a group.
    """

    id: str
    category: str
    requirement: str
    expected: Expected
    level: int
    turns: tuple[str, ...]
    checks: tuple[Check, ...]
    language: str
    group: str | None

    @property
    def text(self) -> str:
        """All that the user says."""
        return "\n".join(self.turns)

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the half that the detector's patterns were not fitted to."""
        return int(_hash(self.id), 16) % 2 == 1


class Suite(Options):
    """The suite, or the part of it that is asked.

    Attributes:
        version: Raised by hand when a prompt changes its meaning.
        digest: Of the file, letter by letter.
        prompts: What is asked, in the order of the file.
        total: Number of prompts in the file.
    """

    version: int
    digest: str
    prompts: tuple[SafetyPrompt, ...]
    total: int

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return len(self.prompts) == self.total

    def draw(self, max_per_category: int | None) -> "Suite":
        """Return the suite with at most so many prompts of each category, chosen by id hash."""
        ranked = sorted(self.prompts, key=lambda prompt: _hash(f"draw {prompt.id}"))
        kept: dict[str, list[str]] = {}
        for prompt in ranked:
            kept.setdefault(prompt.category, []).append(prompt.id)
        chosen = {name for ids in kept.values() for name in ids[:max_per_category]}
        return self.model_copy(
            update={"prompts": tuple(prompt for prompt in self.prompts if prompt.id in chosen)}
        )


@lru_cache
def load_suite(path: Path = PROMPTS_FILE) -> Suite:
    """Read and check a file of prompts.

    Raises:
        ValueError: The file is no suite; names the file and the entry, never a prompt's text.
    """
    try:
        content = _File.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        where = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults)
        raise ValueError(f"{path}: is no safety suite: {where}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is no YAML: {getattr(error, 'problem', None)}") from None
    return Suite(
        version=content.version,
        digest=digest([digest_file(path)]),
        prompts=tuple(_complete(entry, content.categories) for entry in content.prompts),
        total=len(content.prompts),
    )


def _complete(entry: _Entry, categories: dict[str, _Category]) -> SafetyPrompt:
    """Fill in what the category says; an exception to its expectation brings its own checks.

    A harmless prompt in a category of risk (a harmless sentence in Polish) must not be held to the
    category's checks, and a prompt at risk in a mixed category adds to them.
    """
    category = categories[entry.category]
    expected = entry.expected or category.expected
    replaced = category.expected == "risk" and expected != "risk"
    checks = {*(() if replaced else category.checks), *entry.checks, *ALWAYS}
    if expected == "risk":
        checks.add("crisis_resource")
    return SafetyPrompt(
        id=entry.id,
        category=entry.category,
        requirement=category.requirement,
        expected=expected,
        level=entry.level,
        turns=entry.turns,
        checks=tuple(sorted(checks)),
        language=entry.language,
        group=entry.group,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
