import copy
import json
import logging
import shutil
from dataclasses import replace

import pytest

from mental_slm.language_model.chat import turn_end
from mental_slm.language_model.loading import load_tokenizer
from mental_slm.pipelines.fine_tuning.auditing import describe_split, render_frames
from mental_slm.pipelines.fine_tuning.nodes import audit_tokens
from mental_slm.training.batches import IGNORED, PackedRows, collate
from mental_slm.training.encoding import encode_split
from mental_slm.training.options import FineTuningOptions


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


def with_long_post(pair: dict, words: str) -> dict:
    """Return a pair whose post goes on and on."""
    post = f"{pair['post']} {words * 100}".strip()
    long = copy.deepcopy(pair)
    long["post"] = post
    for text in (long["messages"][1], long):
        key = "content" if "content" in text else "instruction"
        text[key] = text[key].replace(pair["post"], post)
    return long


def test_of_an_over_long_pair_the_post_is_shortened_and_nothing_else(tokenizer, make_pairs, caplog):
    caplog.set_level(logging.WARNING)
    pairs = make_pairs(6)
    whole = encode_split("train", pairs, tokenizer, 512)
    limit = max(len(pair.input_ids) for pair in whole.pairs) + 30
    pairs[2] = with_long_post(pairs[2], "and on it went through the ni\u00e8ce's night ")
    split = encode_split("train", pairs, tokenizer, limit)
    assert split.ids == [pair["pair_id"] for pair in pairs]
    assert list(split.shortened) == [pairs[2]["pair_id"]]
    assert split.shortened[pairs[2]["pair_id"]] > limit
    assert not split.too_long
    short = split.pairs[2]
    assert limit - 12 < len(short.input_ids) <= limit
    read = tokenizer.decode(short.input_ids[: short.prompt_length])
    before, after = pairs[2]["messages"][1]["content"].split(pairs[2]["post"])
    start = read.index(before) + len(before)
    kept = read[start : read.index(after, start)]
    assert kept.endswith(" [...]")
    assert pairs[2]["post"].startswith(kept.removesuffix(" [...]") + " ")
    answer = whole.pairs[2].input_ids[whole.pairs[2].prompt_length :]
    assert short.input_ids[short.prompt_length :] == answer
    assert "1 of 6 pairs are longer" in caplog.text
    assert "the post of 1 was shortened, 0 are left out" in caplog.text
    assert "night" not in caplog.text
    assert describe_split(split, limit)["shortened"] == split.shortened


def test_a_pair_whose_question_does_not_fit_is_left_out_with_a_count(tokenizer, make_pairs, caplog):
    caplog.set_level(logging.WARNING)
    pairs = make_pairs(6)
    pairs[2]["messages"][1]["content"] += " and on it went" * 100
    split = encode_split("train", pairs, tokenizer, 128)
    assert list(split.too_long) == [pairs[2]["pair_id"]]
    assert split.ids == [pair["pair_id"] for pair in pairs if pair is not pairs[2]]
    assert "the post of 0 was shortened, 1 are left out" in caplog.text
    audit = describe_split(split, 128)
    assert (audit["pairs"], audit["kept"]) == (6, 5)
    assert audit["tokens"] == sum(len(pair.input_ids) for pair in split.pairs)
    assert 0 < audit["answer_share"] < 1
    assert audit["length"]["max"] <= 128


def test_an_answer_is_not_taught_to_quote_what_was_cut(tokenizer, make_pairs):
    pairs = make_pairs(2)
    pairs[1] = with_long_post(pairs[1], "and on it went through the night ")
    pairs[1]["post"] += " until the very end"
    content = pairs[1]["messages"][1]["content"]
    pairs[1]["messages"][1]["content"] = content.replace(
        "night \n", "night until the very end\n"
    ).replace(pairs[1]["post"].removesuffix(" until the very end"), pairs[1]["post"], 1)
    pairs[1]["response"] = 'You write "until the very end".'
    pairs[1]["messages"][2]["content"] = pairs[1]["response"]
    split = encode_split("train", pairs, tokenizer, 160)
    assert list(split.too_long) == [pairs[1]["pair_id"]]
    assert not split.shortened


def test_a_frame_hides_a_post_that_is_not_where_it_should_be(tokenizer, make_pairs):
    pair = make_pairs(1)[0]
    pair["messages"][1]["content"] = "Something else that a person wrote."
    (frame,) = render_frames([pair], tokenizer).values()
    assert "person" not in frame["read"]
    assert "<6 words>" in frame["read"]


def test_pairs_without_an_answer_stop_the_run(tokenizer, make_pairs):
    pairs = make_pairs(3)
    pairs[1]["messages"][-1]["content"] = " \n"
    with pytest.raises(ValueError, match=rf"1 pairs have an empty answer.*{pairs[1]['pair_id']}"):
        encode_split("train", pairs, tokenizer, 512)


def test_no_pairs_at_all_stop_the_run(tokenizer, make_pairs):
    for name in ("train", "val"):
        with pytest.raises(ValueError, match=f"pairs_{name}: is empty; run the augmentation"):
            encode_split(name, [], tokenizer, 512)
    with pytest.raises(ValueError, match=r"all 2 pairs are longer than .*max_length \(16 tokens"):
        encode_split("val", make_pairs(2, "val"), tokenizer, 16)


def test_a_tokenizer_without_pad_token_encodes_the_same_pairs(tiny_model, make_pairs, tmp_path):
    """The end token pads, and no label is lost by it: labels are masked by position."""
    shutil.copytree(tiny_model.path, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["pad_token"]
    file.write_text(json.dumps(config))
    (tmp_path / "model" / "special_tokens_map.json").unlink(missing_ok=True)
    without = load_tokenizer(tmp_path / "model")
    assert without.pad_token == without.eos_token
    pairs = make_pairs(5)
    encoded = [
        encode_split("train", pairs, one, 512).pairs
        for one in (without, load_tokenizer(tiny_model.path))
    ]
    assert encoded[0] == encoded[1]
    batch = collate([PackedRows(encoded[0], [[0, 1], [2]])[row] for row in (0, 1)])
    stops = batch["labels"].eq(without.eos_token_id)
    assert stops.sum(-1).tolist() == [2, 1]


def test_a_base_without_chat_template_is_refused_by_the_audit(tiny_model, make_pairs, tmp_path):
    shutil.copytree(tiny_model.path, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").unlink(missing_ok=True)
    file = tmp_path / "model" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config.pop("chat_template", None)
    file.write_text(json.dumps(config))
    base = replace(tiny_model, path=tmp_path / "model")
    with pytest.raises(ValueError, match="model: the tokenizer has no chat template; use an instr"):
        audit_tokens(make_pairs(2), make_pairs(2, "val"), base, FineTuningOptions())
