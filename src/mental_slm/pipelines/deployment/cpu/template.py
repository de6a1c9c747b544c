"""The chat template as other runtimes get it: one that needs no argument of ours.

The project renders prompts with a fixed date and with an empty thought where the template opens one
(:mod:`mental_slm.language_model.chat`). A runtime that knows neither would show the model another
prompt than it was trained on, so both are written into the template that goes with the model.
"""

from typing import Any

from mental_slm.language_model.chat import (
    DATE_STRING,
    EMPTY_THOUGHT,
    OPEN_THOUGHT,
    encode_prompt,
    render_prompt,
)
from mental_slm.records import Message

#: Made-up dialogues of one and of two turns of the person.
PROBES: tuple[list[Message], ...] = (
    [
        {"role": "system", "content": "You read posts with care."},
        {
            "role": "user",
            "content": "Größere Sorgen? 你好 🙂 – it’s “fine”.\n\n\tTwo  spaces, 1234.",
        },
    ],
    [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "I have not slept well for weeks."},
        {"role": "assistant", "content": "I'm sorry."},
        {"role": "user", "content": "What would help?"},
    ],
)


def standalone_template(tokenizer: Any) -> str:
    """Return the model's chat template with the project's date and empty thought written in.

    Raises:
        ValueError: It does not render the probes as the project does.
    """
    template = str(tokenizer.chat_template)
    if "date_string" in template:
        template = f'{{%- set date_string = "{DATE_STRING}" %}}' + template
    if render_prompt(tokenizer, PROBES[0]).endswith(OPEN_THOUGHT + EMPTY_THOUGHT):
        thought = EMPTY_THOUGHT.replace("\n", "\\n")
        template += f"{{%- if add_generation_prompt %}}{{{{ '{thought}' }}}}{{%- endif %}}"
    for probe in PROBES:
        rendered = tokenizer.apply_chat_template(
            probe, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        if rendered != render_prompt(tokenizer, probe):
            raise ValueError(
                f"{tokenizer.name_or_path}: its chat template cannot be written down for other "
                "runtimes; it renders a made-up dialogue otherwise than the project does"
            )
    return template


def expected_tokens(tokenizer: Any) -> list[tuple[str, list[int]]]:
    """Return the probes as text and as token ids, as the trained model saw its prompts."""
    return [(render_prompt(tokenizer, probe), encode_prompt(tokenizer, probe)) for probe in PROBES]
