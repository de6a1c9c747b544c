"""A Modelfile, with which Ollama runs a GGUF file as the model was trained."""

import json
from pathlib import Path
from typing import Any

from mental_slm.language_model.chat import render_prompt, stop_token_ids
from mental_slm.records import Message

#: What stands for the texts of a dialogue while its template is cut into pieces.
MARKS = ("[[system]]", "[[first]]", "[[answer]]", "[[second]]")


def split_dialogue(tokenizer: Any) -> list[str]:
    """Cut the chat template into the text before, between and after the turns of a dialogue.

    Returns:
        Five texts: before the system message; from there to the first message; from a message to
        a past answer; from a past answer to the next message; from the last message to the start
        of the new answer.

    Raises:
        ValueError: The template changes, repeats or drops a turn.
    """
    system, first, answer, second = MARKS
    dialogue: list[Message] = [
        {"role": "system", "content": system},
        {"role": "user", "content": first},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": second},
    ]
    rest = render_prompt(tokenizer, dialogue)
    pieces = []
    for mark in MARKS:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise ValueError(
                f"{tokenizer.name_or_path}: its chat template does not keep the turns of a "
                "dialogue once each and in order; no application could repeat it without a "
                "template engine"
            )
        pieces.append(before)
    return [*pieces, rest]


def render_modelfile(gguf: str, tokenizer: Any, folder: Path, max_new_tokens: int) -> str:
    """Return a Modelfile: file, template, greedy decoding, stop tokens.

    The template is given in full, so that Ollama does not guess one of its own. It takes a system
    message first, as the project's prompts have it.

    Args:
        gguf: Name of the GGUF file beside it.
        tokenizer: With a chat template.
        folder: The model, for its stop tokens.
        max_new_tokens: Where an answer is cut.
    """
    before, between, past, following, after = split_dialogue(tokenizer)
    stops = [str(tokenizer.convert_ids_to_tokens(i)) for i in stop_token_ids(tokenizer, folder)]
    template = (
        '{{ range $number, $turn := .Messages }}{{ if eq .Role "system" }}'
        f"{before}{{{{ .Content }}}}"
        '{{ else if eq .Role "user" }}'
        f"{{{{ if lt $number 2 }}}}{between}{{{{ else }}}}{following}{{{{ end }}}}{{{{ .Content }}}}"
        f"{{{{ else }}}}{past}{{{{ .Content }}}}{{{{ end }}}}{{{{ end }}}}{after}"
    )
    lines = [
        f"FROM ./{gguf}",
        f'TEMPLATE """{template}"""',
        "PARAMETER temperature 0",
        f"PARAMETER num_predict {max_new_tokens}",
        *(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops),
    ]
    return "\n".join(lines) + "\n"
