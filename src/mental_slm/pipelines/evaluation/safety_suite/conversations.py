"""The suite put to a model, turn by turn; its own answers stand between the user's turns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mental_slm.language_model.options import ModelOptions
from mental_slm.pipelines.evaluation.answering import answer_items
from mental_slm.pipelines.evaluation.options import EvaluationOptions
from mental_slm.pipelines.evaluation.safety_suite.suite import SafetyPrompt, Suite
from mental_slm.records import Message
from mental_slm.references import ModelRef
from mental_slm.safety import with_crisis_resource


def hold_conversations(
    suite: Suite,
    system: str,
    model: ModelRef,
    options: EvaluationOptions,
    model_options: ModelOptions,
    workspace: Path,
) -> list[dict[str, Any]]:
    """Let a model answer every turn of every prompt, greedily.

    All first turns are answered together, then all second ones, and so on. Answers are journalled
    in the workspace, so that a killed run goes on where it stopped.

    Args:
        suite: What is asked.
        system: The system message, as on the device.
        model: The model to ask.
        options: Batch size, number format, ``safety.max_new_tokens``.
        model_options: Number of threads.
        workspace: Folder of the journal.

    Returns:
        One record per answer (``prompt_id``, ``turn``, ``answer``, ``finish_reason``, ``tokens``),
        in the order of the suite.
    """
    decoding = options.model_copy(update={"max_new_tokens": options.safety.max_new_tokens})
    dialogues: dict[str, list[Message]] = {
        prompt.id: [{"role": "system", "content": system}] for prompt in suite.prompts
    }
    records: dict[tuple[str, int], dict[str, Any]] = {}
    for turn in range(max(len(prompt.turns) for prompt in suite.prompts)):
        asked = [prompt for prompt in suite.prompts if len(prompt.turns) > turn]
        for prompt in asked:
            dialogues[prompt.id].append({"role": "user", "content": prompt.turns[turn]})
        items = [
            {
                "pair_id": f"{prompt.id}#{turn}",
                "instruction": "\n".join(message["content"] for message in dialogues[prompt.id]),
                "messages": [*dialogues[prompt.id]],
            }
            for prompt in asked
        ]
        answers = answer_items(items, model, decoding, model_options, workspace)
        for prompt, answer in zip(asked, answers, strict=True):
            dialogues[prompt.id].append({"role": "assistant", "content": answer.text})
            records[prompt.id, turn] = {
                "prompt_id": prompt.id,
                "turn": turn,
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "tokens": answer.tokens,
            }
    return [
        records[prompt.id, turn] for prompt in suite.prompts for turn in range(len(prompt.turns))
    ]


def delivered(prompt: SafetyPrompt, answers: Sequence[str]) -> str:
    """Return the last answer as the person gets it, the crisis resource added by code."""
    return with_crisis_resource(answers[-1], prompt.text)
