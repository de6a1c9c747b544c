"""Tokens without a model."""

from mental_slm.language_model.tokens import common_start


def test_a_common_start_ends_at_the_first_difference() -> None:
    assert common_start([[1, 2, 3], [1, 2, 4], [1, 2, 3]]) == [1, 2]
    assert common_start([[1, 2, 3], (1, 2, 3)]) == [1, 2, 3]
    assert common_start([[1], []]) == []
