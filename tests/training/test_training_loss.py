import pytest
import torch

from mental_slm.language_model.chat import EncodedPair
from mental_slm.language_model.loading import load_model
from mental_slm.training.batches import PackedRows, collate
from mental_slm.training.loss import HeadNotPlain, answer_loss, check_head, labelled_cross_entropy


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model.path)


def made_up(lengths: list[int]) -> list[EncodedPair]:
    generator = torch.Generator().manual_seed(1)
    return [
        EncodedPair(torch.randint(10, 49000, (n,), generator=generator).tolist(), n // 2)
        for n in lengths
    ]


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_labelled_loss_equals_full_cross_entropy_in_value_and_gradient(chunk):
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    head = torch.randn(11, 5, dtype=torch.float64)
    targets = torch.randint(0, 11, (7,))
    ours = labelled_cross_entropy(hidden, head, targets, chunk)
    (our_gradient,) = torch.autograd.grad(3 * ours, hidden)
    full = torch.nn.functional.cross_entropy(hidden @ head.T, targets, reduction="sum")
    (full_gradient,) = torch.autograd.grad(3 * full, hidden)
    torch.testing.assert_close(ours, full, rtol=1e-12, atol=0)
    torch.testing.assert_close(our_gradient, full_gradient, rtol=1e-10, atol=1e-12)


def test_answer_loss_equals_the_models_own_loss(model):
    pairs = made_up([30, 17])
    labels = collate([PackedRows(pairs, [[index]])[0] for index in (0, 1)])["labels"]
    ours = answer_loss(model, collate([PackedRows(pairs, [[0]])[0]]), torch.float32)
    with torch.no_grad():
        own = model(input_ids=torch.tensor([pairs[0].input_ids]), labels=labels[:1]).loss
    assert ours.item() / 15 == pytest.approx(own.item(), rel=1e-5)


def test_packed_pairs_do_not_see_each_other(model):
    pairs = made_up([30, 17, 41])
    packed = collate([PackedRows(pairs, [[0, 1, 2]])[0]])
    with torch.no_grad():
        # with a cache, transformers does not read segments off the positions
        together = model(
            input_ids=packed["input_ids"], position_ids=packed["position_ids"], use_cache=False
        ).logits
        apart = [model(input_ids=torch.tensor([pair.input_ids])).logits[0] for pair in pairs]
    torch.testing.assert_close(together[0], torch.cat(apart), rtol=0, atol=1e-4)
    single = sum(
        answer_loss(model, collate([PackedRows(pairs, [[index]])[0]]), torch.float32)
        for index in range(3)
    )
    padded = collate([PackedRows(pairs, [[0, 1], [2]])[row] for row in (0, 1)])
    for batch in (packed, padded):
        loss = answer_loss(model, batch, torch.float32)
        assert loss.item() == pytest.approx(single.item(), rel=1e-5)


def test_a_family_that_scales_its_logits_is_refused(model):
    check_head(model, list(range(20, 40)))
    hook = model.lm_head.register_forward_hook(lambda module, inputs, output: output * 0.25)
    try:
        with pytest.raises(HeadNotPlain, match="scales or caps"):
            check_head(model, list(range(20, 40)))
    finally:
        hook.remove()
