"""Emotion profiles: pairs that teach the model StudEmo's ten dimensions as one line of JSON.

The gold profile is the mean of the ratings of a text (one or two for most), so no teacher is asked.
"""

from typing import Any

from mental_slm.emotions import write_profile
from mental_slm.fingerprints import digest
from mental_slm.prompts import Prompts
from mental_slm.records import Table
from mental_slm.tasks import PROFILE_TASK

from .options import AugmentationOptions

DATASET = "StudEmo"
ANNOTATORS = "annotators"


def make_profile_pairs(
    profiles: Table, prompts: Prompts, options: AugmentationOptions
) -> list[dict[str, Any]]:
    """Make one pair for every rated text that is known, split by the digest of the text.

    Args:
        profiles: ``text_id``, ``text`` (missing where it was not ingested) and ten means.
        prompts: The wording.
        options: The shares of validation and test.
    """
    known = profiles[profiles["text"].notna() & (profiles["text"].str.strip() != "")]
    rows: list[Any] = known.to_dict("records")
    return [_pair(row, prompts, options) for row in rows]


def _pair(row: dict[str, Any], prompts: Prompts, options: AugmentationOptions) -> dict[str, Any]:
    text, gold = row["text"], write_profile(row)
    text_id = digest(text.casefold())
    split = _split(text_id, options)
    instruction = prompts.profile_prompt(text)
    response = "" if split == "test" else gold
    return {
        "pair_id": digest([DATASET, text_id, instruction, gold]),
        "record_id": f"{DATASET}-{row['text_id']}",
        "text_id": text_id,
        "dataset": DATASET,
        "task": PROFILE_TASK,
        "split": split,
        "post": text,
        "phrases": {},
        "instruction": instruction,
        "response": response,
        "messages": [
            {"role": "system", "content": prompts.student.system},
            {"role": "user", "content": instruction},
            {"role": "assistant", "content": response},
        ],
        "label": gold,
        "teacher": ANNOTATORS,
        "custom_id": "",
        "student_version": prompts.student_version,
        "teacher_version": prompts.teacher_version,
    }


def _split(text_id: str, options: AugmentationOptions) -> str:
    position = int(text_id[:8], 16) / 16**8
    if position < options.profile_test_share:
        return "test"
    return "val" if position < options.profile_test_share + options.validation_share else "train"
