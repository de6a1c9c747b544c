"""A config of a training that takes seconds, and what came out of it."""

import random

import pytest

from mental_slm.language_model.chat import EncodedPair
from mental_slm.training.batches import write_pairs
from mental_slm.training.config import TrainingOptions, WorkerConfig


@pytest.fixture
def make_config(tiny_model, tmp_path):
    """Write pairs of very different answer lengths and a config; return the config's path."""

    def make(name: str, pairs: int = 24, **options) -> object:
        folder = tmp_path / name
        chance = random.Random(0)
        for split in ("train", "validation"):
            rows = []
            for _ in range(pairs):
                length = chance.randint(20, 60)
                ids = [chance.randint(10, 400) for _ in range(length)]
                rows.append(EncodedPair(ids, chance.randint(1, length - 1)))
            write_pairs(folder / f"{split}.jsonl", rows)
        settings = {"max_length": 64, "logging_steps": 1, "max_steps": 4, "lora": {"r": 4}}
        config = WorkerConfig(
            base_folder=tiny_model.path,
            base_digest=tiny_model.digest,
            base_reference=str(tiny_model.path),
            train_file=folder / "train.jsonl",
            validation_file=folder / "validation.jsonl",
            output_folder=folder,
            threads=1,
            training=TrainingOptions.model_validate({**settings, **options}),
        )
        (folder / "config.json").write_text(config.model_dump_json())
        return folder / "config.json"

    return make
