"""The three views of one record: teacher prompt, student prompt, target.

Only the teacher prompt may know the gold label. The student prompt holds the post, the question and
the list of options; what a model is scored on must not stand in what it reads.
"""

from mental_slm.tasks import ANSWER_PREFIX, Task

#: Part of every custom_id: a change of wording makes new requests.
TEMPLATE_VERSION = "1"

STUDENT_SYSTEM = "You read posts with care, support their writers and never diagnose anyone."

TEACHER_SYSTEM = (
    "You are an experienced psychiatrist who explains, in plain and kind words, what a post shows. "
    "You say what it is consistent with; you never tell a writer that they have an illness."
)


def student_prompt(task: Task, post: str) -> str:
    """Return what the student model reads. It takes no label, so it cannot leak one."""
    options = "; ".join(task.phrases.values())
    return (
        f"Post:\n{post}\n\n"
        f"{task.question}\n"
        f"Options: {options}\n"
        f'Name what speaks for it, offer support, then end with "{ANSWER_PREFIX}" and one option.'
    )


def teacher_prompt(task: Task, post: str, label: str | None) -> str:
    """Return what the teacher reads: the student's prompt and, for training, the label's phrase.

    Args:
        task: The task.
        post: The post.
        label: None for a label-blind answer, which every test reference is.
    """
    prompt = student_prompt(task, post)
    if label is None:
        return f"{prompt}\nGive the evidence and the support only; leave the last line out."
    return f"{prompt}\nThe annotators chose: {task.phrases[label]}. Explain that reading."
