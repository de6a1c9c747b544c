"""The files of prompts: what is shipped works, and what cannot work is refused by file and key."""

import shutil
from pathlib import Path

import pytest
import yaml
from kedro.io import DatasetError
from pydantic import SecretStr

from mental_slm.datasets import APIKeyDataset, PromptsDataset
from mental_slm.prompts import PromptError, Prompts
from mental_slm.tasks import EMOTION_DIMENSIONS, TASKS

SHIPPED = Path(__file__).parents[1] / "conf" / "base" / "prompts"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "prompts")
    return tmp_path / "prompts"


def change(folder, name, edit):
    path = folder / f"{name}.yml"
    content = yaml.safe_load(path.read_text("utf-8"))
    edit(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")


def test_the_student_prompt_has_no_place_for_a_label(prompts):
    for name, task in TASKS.items():
        prompt = prompts.student_prompt(name, "A post worth $5 with {braces} and %s.")
        assert "A post worth $5 with {braces} and %s." in prompt
        assert "; ".join(prompts.tasks[name].phrases[label] for label in task.labels) in prompt


def test_the_teacher_is_told_the_phrase_and_never_the_code(prompts):
    told = prompts.teacher_prompt("depression_severity", "Some post.", "minimum")
    assert "minimal signs" in told and "minimum" not in told
    blind = prompts.teacher_prompt("depression_severity", "Some post.", None)
    frame = blind.replace(prompts.student_prompt("depression_severity", "Some post."), "")
    assert not any(
        phrase in frame for phrase in prompts.tasks["depression_severity"].phrases.values()
    )


def test_no_wording_diagnoses_the_writer(prompts):
    text = prompts.model_dump_json().lower()
    assert "you have depress" not in text and "you are depress" not in text
    assert "you suffer" not in text


def test_the_profile_prompt_names_every_dimension(prompts):
    prompt = prompts.profile_prompt("A review.")
    assert all(name in prompt for name in EMOTION_DIMENSIONS)


@pytest.mark.parametrize(
    ("name", "edit", "versions"),
    [
        ("student", lambda c: c.update(system="Other."), {"student", "teacher", "template"}),
        ("teacher", lambda c: c.update(system="Other."), {"teacher"}),
        ("template_answers", lambda c: c.update(crisis="Call now."), {"template"}),
        (
            "tasks",
            lambda c: c["stress"].update(question="Is it stress?"),
            {"student", "teacher", "template"},
        ),
    ],
)
def test_a_change_of_wording_changes_the_versions_that_depend_on_it(
    folder, prompts, name, edit, versions
):
    change(folder, name, edit)
    changed = Prompts.read(folder)
    found = {
        view
        for view in ("student", "teacher", "template")
        if getattr(changed, f"{view}_version") != getattr(prompts, f"{view}_version")
    }
    assert found == versions


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        (
            "student",
            lambda c: c.update(question="$post $question"),
            r"student.yml: question: must hold",
        ),
        (
            "student",
            lambda c: c.update(question=c["question"] + " $label"),
            r"student.yml: question: must hold \$post, \$question, \$options and no other",
        ),
        (
            "teacher",
            lambda c: c.update(label_blind="$student_prompt $label"),
            "label_blind: must hold",
        ),
        ("teacher", lambda c: c.update(with_label="$student_prompt costs $ 5 $label"), "lone \\$"),
        ("tasks", lambda c: c.pop("stress"), "no prompt for task stress"),
        (
            "tasks",
            lambda c: c["stress"]["phrases"].update(yes="Not stressed."),
            "tasks.yml: stress.phrases: two labels have the same phrase",
        ),
        ("tasks", lambda c: c["stress"].update(phrases={"no": "a", "yes": "b"}), "must be yes, no"),
        ("template_answers", lambda c: c["readings"]["stress"].pop("no"), "no sentence for no"),
        ("teacher", lambda c: c.update(persona="kind"), "teacher.yml: persona"),
    ],
)
def test_what_cannot_work_is_refused_by_file_and_key(folder, name, edit, message):
    change(folder, name, edit)
    with pytest.raises(PromptError, match=message):
        Prompts.read(folder)


def test_a_missing_or_broken_file_is_named(folder):
    (folder / "teacher.yml").write_text("system: [")
    with pytest.raises(PromptError, match=r"teacher.yml: no valid YAML"):
        Prompts.read(folder)
    (folder / "teacher.yml").unlink()
    with pytest.raises(DatasetError, match=r"teacher.yml: missing"):
        PromptsDataset(filepath=str(folder)).load()


def test_the_catalog_entry_shows_the_prompts_and_refuses_to_write(folder):
    dataset = PromptsDataset(filepath=str(folder))
    assert "emotion" in dataset.preview()
    with pytest.raises(DatasetError, match="read-only"):
        dataset.save(Prompts.read(folder))


def test_the_key_is_shown_to_nobody():
    dataset = APIKeyDataset(credentials={"api_key": "sk-secret"})
    assert dataset.load() == SecretStr("sk-secret")
    assert "sk-secret" not in repr(dataset) + str(dataset.load()) + repr(dataset._describe())
    assert APIKeyDataset(credentials={"api_key": None}).load() is None
    with pytest.raises(DatasetError, match="read-only"):
        dataset.save("sk-other")
