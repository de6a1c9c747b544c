import logging

import pytest

from mental_slm.language_model.chat import turn_end
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.pipelines.fine_tuning.encoding import describe_split, encode_split
from mental_slm.training.batches import IGNORED, PackedRows


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model.path)


def test_labels_cover_exactly_the_answer_and_the_stop_token(tokenizer, make_pairs):
    pairs = make_pairs(5)
    split = encode_split("train", pairs, tokenizer, 512)
    for number, pair in enumerate(pairs):
        row = PackedRows(split.pairs, [[number]])[0]
        labelled = [token for token in row["labels"] if token != IGNORED]
        assert labelled[-1] == turn_end(tokenizer) == tokenizer.eos_token_id
        assert tokenizer.decode(labelled[:-1]) == pair["response"]
        hidden = row["input_ids"][: len(row["input_ids"]) - len(labelled)]
        assert row["labels"][: len(hidden)] == [IGNORED] * len(hidden)
        assert tokenizer.decode(hidden).endswith("<|im_start|>assistant\n")
        assert pair["instruction"] in tokenizer.decode(hidden)


def test_an_over_long_pair_is_left_out_with_a_count(tokenizer, make_pairs, caplog):
    caplog.set_level(logging.WARNING)
    pairs = make_pairs(6)
    pairs[2]["messages"][1]["content"] += " and on it went" * 100
    split = encode_split("train", pairs, tokenizer, 128)
    assert list(split.too_long) == [pairs[2]["pair_id"]]
    assert split.ids == [pair["pair_id"] for pair in pairs if pair is not pairs[2]]
    assert "pairs_train: 1 of 6 pairs are longer than 128 tokens and left out" in caplog.text
    audit = describe_split(split, 128)
    assert (audit["pairs"], audit["kept"]) == (6, 5)
    assert audit["tokens"] == sum(len(pair.input_ids) for pair in split.pairs)
    assert 0 < audit["answer_share"] < 1
    assert audit["length"]["max"] <= 128


def test_pairs_without_an_answer_stop_the_run(tokenizer, make_pairs):
    pairs = make_pairs(3)
    pairs[1]["messages"][-1]["content"] = " \n"
    with pytest.raises(ValueError, match=rf"1 pairs have an empty answer.*{pairs[1]['pair_id']}"):
        encode_split("train", pairs, tokenizer, 512)


def test_no_pairs_at_all_stop_the_run(tokenizer, make_pairs):
    with pytest.raises(ValueError, match="pairs_val: is empty; run the augmentation"):
        encode_split("val", [], tokenizer, 512)
    with pytest.raises(ValueError, match=r"all 2 pairs are longer than .*max_length \(16 tokens"):
        encode_split("val", make_pairs(2, "val"), tokenizer, 16)
