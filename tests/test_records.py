import pandas as pd
import pytest

from mental_slm.records import (
    CORPUS_COLUMNS,
    SCORE_COLUMNS,
    validate_corpus,
    validate_pairs,
    validate_scores,
)


@pytest.fixture
def corpus() -> pd.DataFrame:
    rows = [
        {"record_id": f"Dreaddit-{n}", "text_id": f"t{n}", "dataset": "Dreaddit", "task": "stress",
         "text": "made up", "label": "yes", "split": ("train", "val", "test")[n % 3]}
        for n in range(6)
    ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(CORPUS_COLUMNS))


def test_a_sound_corpus_passes(corpus):
    validate_corpus(corpus)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("record_id", "Dreaddit-1", "not unique"),
        ("label", "perhaps", "unknown label for task stress"),
        ("split", "dev", "unknown split"),
        ("dataset", "Other", "unknown dataset"),
        ("text", "  ", "empty text"),
        ("text_id", "t2", "also stand in val or test"),
    ],
)
def test_each_damage_is_named(corpus, column, value, message):
    corpus.loc[0, column] = value
    with pytest.raises(ValueError, match=message) as error:
        validate_corpus(corpus)
    assert "made up" not in str(error.value)


def test_missing_columns_and_empty_tables_are_named(corpus):
    with pytest.raises(ValueError, match="licence"):
        validate_corpus(corpus.drop(columns="licence"))
    with pytest.raises(ValueError, match="no row was kept"):
        validate_corpus(corpus.iloc[:0])


def test_pairs_are_checked(make_pairs):
    pairs = make_pairs(5)
    validate_pairs(pairs)
    with pytest.raises(ValueError, match="repeats pair_id"):
        validate_pairs([*pairs, pairs[0]])
    with pytest.raises(ValueError, match=r"row 0 lacks \['label'\]"):
        validate_pairs([{key: pairs[0][key] for key in pairs[0] if key != "label"}])
    with pytest.raises(ValueError, match="system, user, assistant"):
        validate_pairs([{**pairs[0], "messages": pairs[0]["messages"][:2]}])


def test_an_invalid_answer_is_never_correct():
    known = {"system": "base", "pair_id": "a", "correct": False}
    row = dict.fromkeys(SCORE_COLUMNS) | known | {"confidence": 0.6, "label_probability": 0.4}
    validate_scores(pd.DataFrame([row]))
    with pytest.raises(ValueError, match="marked as correct"):
        validate_scores(pd.DataFrame([{**row, "correct": True}]))
    with pytest.raises(ValueError, match="scored twice"):
        validate_scores(pd.DataFrame([row, row]))
