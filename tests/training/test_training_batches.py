import pytest

from mental_slm.language_model.chat import EncodedPair
from mental_slm.training.batches import (
    IGNORED,
    PackedRows,
    collate,
    count_tokens,
    optimiser_steps,
    pack,
    plan_rows,
    read_pairs,
    write_pairs,
)

PAIRS = [EncodedPair([5, 6, 7, 8], 2), EncodedPair([9, 10, 11], 1), EncodedPair([12, 13], 1)]


def test_pack_fills_rows_without_losing_or_repeating_a_sequence():
    lengths = [7, 3, 5, 5, 2, 8]
    rows = pack(lengths, 10)
    assert sorted(index for row in rows for index in row) == list(range(6))
    assert all(sum(lengths[index] for index in row) <= 10 for row in rows)
    assert len(rows) == 3  # 30 tokens: the best there is


def test_pack_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="sequence 1 has 11 tokens, a row holds 10"):
        pack([3, 11], 10)


def test_the_plan_follows_the_seed_alone_and_each_epoch_sees_every_pair_once():
    lengths = [4 + index % 7 for index in range(40)]
    plan = plan_rows(lengths, 16, None, 2.0, seed=3)
    assert plan == plan_rows(lengths, 16, None, 2.0, seed=3)
    assert plan != plan_rows(lengths, 16, None, 2.0, seed=4)
    first, second = plan[: len(plan) // 2], plan[len(plan) // 2 :]
    for epoch in (first, second):
        assert sorted(index for row in epoch for index in row) == list(range(40))
    assert first != second
    assert plan_rows(lengths, 16, len(first) + 1, 1.0, seed=3) == plan[: len(first) + 1]


def test_optimiser_steps_counts_the_smaller_last_step():
    assert optimiser_steps(rows=9, batch_size=2, accumulation=2) == 3


def test_collate_labels_answers_only_and_restarts_positions():
    batch = collate([PackedRows(PAIRS, [[0, 1], [2]])[row] for row in (0, 1)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 11], [12, 13, 0, 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2], [0, 1, 0, 1, 2, 3, 4]]
    no = IGNORED
    assert batch["labels"].tolist() == [[no, no, 7, 8, no, 10, 11], [no, 13, no, no, no, no, no]]
    assert count_tokens(batch) == 9


def test_pairs_survive_the_file_and_a_bad_line_is_named(tmp_path):
    file = tmp_path / "pairs.jsonl"
    write_pairs(file, PAIRS)
    assert read_pairs(file) == PAIRS
    write_pairs(file, [PAIRS[0], EncodedPair([1, 2], 2)])
    with pytest.raises(ValueError, match=r"pairs.jsonl, line 2: prompt_length 2 leaves no"):
        read_pairs(file)
    file.write_text("")
    with pytest.raises(ValueError, match="holds no pairs"):
        read_pairs(file)
