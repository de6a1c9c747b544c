"""Typed rows that cross a stage border, and the validators the catalog uses on them."""

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from mental_slm.tasks import DATASET_TASK, SPLITS, TASKS

# Table is a pandas table in the signature of a node. Kedro looks up every name in a signature (that
# is how it finds the options classes), so a name that only type checkers know would not do; and to
# import pandas takes as long as an empty project takes to start. At run time it means anything.
if TYPE_CHECKING:
    import pandas as pd

    Table: TypeAlias = pd.DataFrame
else:
    Table = Any

#: Columns of the corpus, in order. One row is one post of one dataset.
CORPUS_COLUMNS: tuple[str, ...] = (
    "record_id",  # "<dataset>-" + 16 hex of sha256(dataset, source file, source row)
    "text_id",  # 16 hex of sha256(normalised text): equal texts share it, across datasets
    "dataset",
    "task",
    "text",  # repaired and masked
    "label",
    "label_raw",  # as in the file
    "split",
    "split_source",  # upstream | derived
    "group_id",  # salted hash of author, post or respondent; null where unknown
    "source_repo",
    "source_commit",
    "source_path",
    "source_sha256",
    "source_row",  # 0-based in the file as fetched
    "licence",
    "repairs",  # list of names
    "flags",  # list of names
    "n_chars",
    "n_words",
)

#: Columns of the quarantine. It never holds text.
QUARANTINE_COLUMNS: tuple[str, ...] = ("record_id", "text_id", "dataset", "reason", "detail")


class Message(TypedDict):
    """One turn of a chat."""

    role: str  # system | user | assistant
    content: str


class Pair(TypedDict):
    """One instruction pair.

    ``messages`` is what a model sees and learns: system, user (= ``instruction``), assistant
    (= ``response``). ``label`` is the gold label (for an emotion profile the gold JSON); it is never
    part of the instruction. The response of a test pair is label-blind: it carries no answer line,
    and it is empty where the teacher gave none that passed the filters (always so for emotion
    profiles), since a test post must not drop out for what a teacher wrote about it.
    """

    pair_id: str
    record_id: str
    text_id: str
    dataset: str
    task: str
    split: str
    post: str  # as it stands in the instruction
    phrases: dict[str, str]  # label to the phrase that stands for it; empty for emotion profiles
    instruction: str
    response: str
    messages: list[Message]
    label: str
    teacher: str  # template | model name | recorded model | annotators
    custom_id: str  # of the request that the response answers; empty for emotion profiles
    student_version: str  # digests of the prompt templates
    teacher_version: str


def validate_corpus(corpus: Table) -> None:
    """Check the corpus: columns, unique ids, known labels, and no text in two splits.

    Raises:
        ValueError: Names the column or the ids at fault, never a text.
    """
    _require_columns("corpus", corpus, CORPUS_COLUMNS)
    if corpus.empty:
        raise ValueError(
            "corpus: no row was kept; select a labelled dataset (ingestion.datasets; StudEmo has "
            "ratings only) or look at the reasons in the quarantine"
        )
    repeated = corpus.loc[corpus["record_id"].duplicated(), "record_id"]
    if len(repeated):
        raise ValueError(f"corpus: record_id is not unique: {_some(repeated)}")
    for column, allowed in (("split", SPLITS), ("dataset", DATASET_TASK)):
        unknown = corpus.loc[~corpus[column].isin(list(allowed)), "record_id"]
        if len(unknown):
            raise ValueError(f"corpus: unknown {column} in {_some(unknown)}; allowed: {[*allowed]}")
    for task, rows in corpus.groupby("task"):
        unknown = rows.loc[~rows["label"].isin(TASKS[str(task)].labels), "record_id"]
        if len(unknown):
            raise ValueError(f"corpus: unknown label for task {task} in {_some(unknown)}")
    empty = corpus.loc[corpus["text"].str.strip() == "", "record_id"]
    if len(empty):
        raise ValueError(f"corpus: empty text in {_some(empty)}")
    held_out = set(corpus.loc[corpus["split"] != "train", "text_id"])
    leaks = corpus.loc[(corpus["split"] == "train") & corpus["text_id"].isin(held_out), "record_id"]
    if len(leaks):
        raise ValueError(f"corpus: train posts that also stand in val or test: {_some(leaks)}")


def validate_pairs(pairs: list[dict[str, Any]]) -> None:
    """Check instruction pairs: keys, unique ids, and the shape of the messages.

    Raises:
        ValueError: Names the row and the key at fault.
    """
    keys = set(Pair.__annotations__)
    seen: set[str] = set()
    for row, pair in enumerate(pairs):
        missing = sorted(keys - set(pair))
        if missing:
            raise ValueError(
                f"pairs: row {row} lacks {missing}; run the augmentation pipeline again"
            )
        if pair["pair_id"] in seen:
            raise ValueError(f"pairs: row {row} repeats pair_id {pair['pair_id']}")
        seen.add(pair["pair_id"])
        if [message["role"] for message in pair["messages"]] != ["system", "user", "assistant"]:
            raise ValueError(f"pairs: row {row}: messages must be system, user, assistant")
        if pair["split"] != "test" and not pair["response"].strip():
            raise ValueError(f"pairs: row {row}: only a test pair may lack its response")


def validate_scores(scores: Table) -> None:
    """Check the scored answers: one row per system and pair, invalid answers counted as wrong.

    Raises:
        ValueError: Names the column or the rows at fault.
    """
    _require_columns("scores", scores, SCORE_COLUMNS)
    repeated = scores.loc[scores.duplicated(["system", "pair_id"]), "pair_id"]
    if len(repeated):
        raise ValueError(f"scores: scored twice: {_some(repeated)}")
    wrong = scores.loc[scores["predicted"].isna() & scores["correct"], "pair_id"]
    if len(wrong):
        raise ValueError(f"scores: invalid answers marked as correct: {_some(wrong)}")
    probabilities = scores[["confidence", "label_probability"]].astype(float)
    # not a number fails the comparison as well
    odd = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if odd.any():
        raise ValueError(
            f"scores: probabilities outside 0 to 1: {_some(scores.loc[odd, 'pair_id'])}; evaluate "
            "in float32 (evaluation.dtype) if a model gave them"
        )


#: Columns of the scored answers. One row is one answer of one system to one test pair. Further
#: columns are measures of the text. The answers themselves stay in the generations, because they
#: quote posts.
SCORE_COLUMNS: tuple[str, ...] = (
    "system",  # base | tuned | majority | tfidf
    "pair_id",
    "text_id",  # items of one post share it
    "dataset",
    "task",
    "label",
    "predicted",  # read strictly from the answer; null for an invalid one
    "predicted_lenient",  # read leniently
    "correct",  # of the strict label
    "likelihood_label",  # the most probable option
    "confidence",  # its probability
    "label_probability",  # probability of the gold label
    "brier",  # squared distance of all probabilities to the truth, 0 to 2
    "finish_reason",  # stop | length; null for the baselines
    "bertscore_f1",  # null for the baselines, which only classify
)


def _require_columns(name: str, table: Table, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{name}: missing columns {missing}")


def _some(ids: "pd.Series[Any]") -> str:
    shown = ", ".join(str(value) for value in ids.head(5))
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5} more"
