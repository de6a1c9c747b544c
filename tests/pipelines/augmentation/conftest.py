"""Made-up posts, and the augmentation pipeline run on them in memory."""

import shutil

import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner

from mental_slm.datasets import ChatJSONLDataset
from mental_slm.fingerprints import digest
from mental_slm.pipelines.augmentation import create_pipeline
from mental_slm.pipelines.augmentation.options import AugmentationOptions
from mental_slm.tasks import DATASET_TASK, EMOTION_DIMENSIONS, TASKS

#: What a run leaves in files, as in the catalog.
KEPT = (
    "teacher_requests",
    "teacher_responses",
    "rejected_answers",
    "pairs_train",
    "pairs_val",
    "pairs_test",
)


@pytest.fixture
def corpus():
    rows = []
    for dataset, name in DATASET_TASK.items():
        for number in range(40):
            labels = TASKS[name].labels
            text = (
                f"Entry {number} of {dataset}. The kettle hums and I count the days until spring."
            )
            rows.append(
                {
                    "record_id": f"{dataset}-{number:03d}",
                    "text_id": digest(text),
                    "dataset": dataset,
                    "task": name,
                    "text": text,
                    "label": labels[number % len(labels)],
                    "split": "test" if number % 5 == 0 else "train",
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def profiles():
    """Thirty rated texts, one of them unknown."""
    rows = [
        {
            "text_id": number,
            "text": None
            if number == 0
            else f"Review {number}: the soup was warm, the bill was not.",
            "n_annotators": 1 + number % 2,
            **dict.fromkeys(EMOTION_DIMENSIONS, 0.0),
            "joy": number % 7 / 2,
            "valence": -1.5,
        }
        for number in range(30)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def options():
    """The made-up posts resemble each other, so answers to them may as well."""
    filters = {"near_duplicate": None, "opening_share": None}
    return AugmentationOptions(validation_share=0.2, filters=filters)


@pytest.fixture
def workspace(tmp_path, tiny_model):
    """The folder of the journal, with the tokenizer in its place, since unpacking takes seconds."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    shutil.copy(tiny_model.path / "tokenizer.json", folder)
    return folder


@pytest.fixture
def augment(tmp_path, workspace, prompts, profiles, options):
    """Return a function that runs the pipeline and gives all its results."""

    def run(corpus, forgotten=(), api_key=None, **changes):
        catalog = DataCatalog()
        chosen = AugmentationOptions.model_validate({**options.model_dump(), **changes})
        inputs = {
            "corpus": corpus,
            "prompts": prompts,
            "studemo_profile": profiles,
            "forgotten": {"text_ids": [*forgotten], "posts": {}},
            "augmentation_workspace": workspace,
            "teacher_api_key": api_key,
            "params:augmentation": chosen,
        }
        for name, value in inputs.items():
            catalog[name] = value
        for name in KEPT:
            catalog[name] = ChatJSONLDataset(filepath=str(tmp_path / f"{name}.jsonl"))
        outputs = SequentialRunner().run(create_pipeline(), catalog)
        results = {name: dataset.load() for name, dataset in outputs.items()}
        return results | {name: catalog.load(name) for name in KEPT}

    return run
