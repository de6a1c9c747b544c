"""Options of the ingestion pipeline (``params:ingestion``)."""

import re
from typing import Any

from pydantic import Field, SecretStr, field_validator

from mental_slm.options import Options
from mental_slm.tasks import DATASET_TASK

#: Everything a run can ingest: the five labelled datasets and StudEmo's emotion ratings.
DATASETS: tuple[str, ...] = (*DATASET_TASK, "StudEmo")

_FORGETTABLE = re.compile(rf"(?:(?:{'|'.join(DATASET_TASK)})-)?[0-9a-f]{{16}}|StudEmo-\d+")


class IngestionOptions(Options):
    """What to ingest, and how strictly."""

    datasets: tuple[str, ...] = Field(
        default=DATASETS,
        min_length=1,
        description="Datasets to ingest, as a list or as 'Dreaddit+ISEAR'. The others yield no "
        "rows and their files are never fetched.",
    )
    studemo_texts: bool = Field(
        default=True,
        description="Also read StudEmo's texts. Off: ratings only, for where that file is not to "
        "be had (it lives in a pull-request commit only).",
    )
    group_salt: SecretStr = Field(  # stays hidden in logs and run manifests
        default=SecretStr("mental-slm"),
        min_length=1,
        description="Mixed into the hashes of authors, posts and respondents. Set a secret one "
        "before sharing a corpus: known names can be tried against a public salt.",
    )
    min_words: int = Field(
        default=2,
        ge=1,
        description="Posts with fewer words are quarantined (ISEAR's short answers excepted).",
    )
    forget: tuple[str, ...] = Field(
        default=(),
        description="Posts to leave out, with every copy of their text in any dataset: record ids "
        "('Dreaddit-<16 hex>', 'StudEmo-<text_id>') or text ids ('<16 hex>', which also hold where "
        "the dataset of the record is not selected), as a list or as 'id+id'.",
    )
    near_duplicate: float = Field(
        default=0.9,
        gt=0.5,
        le=1.0,
        description="Jaccard similarity of word sets from which a train post counts as a copy of a "
        "held-out one; such a pair stops the run. Lower is stricter.",
    )

    @field_validator("datasets", "forget", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        # `--params` splits at commas, so a list cannot be given there.
        return tuple(value.split("+")) if isinstance(value, str) else value

    @field_validator("datasets")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(names) - set(DATASETS))
        if unknown:
            raise ValueError(
                f"unknown dataset {', '.join(unknown)}; allowed: {', '.join(DATASETS)}"
            )
        return names

    @field_validator("forget")
    @classmethod
    def _check_ids(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in ids if not _FORGETTABLE.fullmatch(name)]
        if wrong:
            raise ValueError(
                f"no id: {', '.join(wrong)}; a record id is '<dataset>-<16 hex digits>' or "
                "'StudEmo-<text_id>', a text id '<16 hex digits>'"
            )
        return ids

    def forgotten_studemo_texts(self) -> tuple[int, ...]:
        """Return the text ids of StudEmo that are to be forgotten."""
        return tuple(
            int(name.removeprefix("StudEmo-")) for name in self.forget if name.startswith("StudEmo")
        )

    def selects(self, dataset: str) -> bool:
        """Tell whether ``dataset`` is to be ingested."""
        return dataset in self.datasets
