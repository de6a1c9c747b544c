import pytest
import torch

from mental_slm.language_model.chat import EncodedPair
from mental_slm.language_model.loading import load_model
from mental_slm.training import attention
from mental_slm.training.attention import QUERIES, cut_blocks, use_packed_attention
from mental_slm.training.batches import PackedRows, collate
from mental_slm.training.loss import answer_loss


def naive(query, key, value, positions):
    """Attention with a dense mask that hides later tokens and other pairs."""
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    pair = positions.eq(0).cumsum(-1)
    seen = (pair[:, :, None] == pair[:, None, :]).tril()
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    scores = scores.masked_fill(~seen[:, None], float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


def restarting(*lengths: int) -> list[int]:
    return [position for length in lengths for position in range(length)]


@pytest.mark.parametrize(
    "rows",
    [
        [restarting(5)],
        [restarting(QUERIES, 1, 7)],  # a border between blocks is a border between pairs
        [restarting(3, 2 * QUERIES + 9, 4), restarting(70, 70, 70, QUERIES - 32 + 26)],
    ],
)
def test_blocks_equal_a_dense_mask_in_value_and_gradient(rows):
    width = max(map(len, rows))
    positions = torch.tensor([row + list(range(width - len(row))) for row in rows])
    torch.manual_seed(0)
    inputs = [
        torch.randn(len(rows), heads, width, 8, dtype=torch.float64, requires_grad=True)
        for heads in (6, 2, 2)
    ]
    blocks = cut_blocks(positions, torch.float64)
    ours, _ = attention._attend(torch.nn.Module(), *inputs, None, blocks=blocks)
    full = naive(*inputs, positions)
    torch.testing.assert_close(ours, full, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(full)
    for own, expected in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(full, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)


def test_blocks_of_short_pairs_leave_out_the_keys_of_earlier_ones():
    blocks = cut_blocks(torch.tensor([restarting(*[32] * 16)]), torch.float32)
    assert [(block.keys.start, block.keys.stop) for block in blocks] == [
        (128 * n, 128 * n + 128) for n in range(4)
    ]


def test_a_model_says_the_same_with_blocks_as_with_a_dense_mask(tiny_model):
    model = load_model(tiny_model.path)
    lengths = (30, 150, 41, 9)
    pairs = [EncodedPair(list(range(n, 2 * n)), n // 2) for n in lengths]
    rows = PackedRows(pairs, [[0, 1], [2, 3]])
    batch = collate([rows[0], rows[1]])
    dense = answer_loss(model, batch, torch.float32)
    use_packed_attention(model)
    assert model.config._attn_implementation == attention.NAME
    assert answer_loss(model, batch, torch.float32).item() == pytest.approx(dense.item(), rel=1e-5)
    ids = torch.arange(20, 60)[None]
    plain = load_model(tiny_model.path)  # outside the loss there are no blocks: plain causal
    torch.testing.assert_close(model(ids).logits, plain(ids).logits)


def test_a_model_with_sliding_windows_keeps_its_own_attention(tiny_model):
    model = load_model(tiny_model.path)
    model.config.layer_types = ["full_attention", "sliding_attention"]
    use_packed_attention(model)
    assert model.config._attn_implementation == "sdpa"
