import pytest
import torch
from peft import LoraConfig, get_peft_model

from mental_slm.training import lora
from mental_slm.training.lora import draw_dropped, fuse_adapters, without


def small_model(dropout: float = 0.0, **settings):
    """Two linear layers, the second one with a bias, and an adapter that already does something."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(
        torch.nn.Linear(12, 20, bias=False), torch.nn.GELU(), torch.nn.Linear(20, 6)
    )
    config = LoraConfig(
        r=4, lora_alpha=10, lora_dropout=dropout, target_modules=["0", "2"], **settings
    )
    model = get_peft_model(base.double(), config, autocast_adapter_dtype=False)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    return model


def gradients(model, x):
    model.zero_grad()
    answer = model(x)
    answer.pow(2).sum().backward()
    trained = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return answer.detach(), x.grad.clone(), trained


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"rank_pattern": {"2": 2}}])
def test_a_fused_layer_equals_pefts_in_value_and_gradient(settings):
    model = small_model(**settings)
    results = []
    for fused in (False, True):
        if fused:
            fuse_adapters(model)
        x = torch.randn(
            3, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        ).requires_grad_()
        results.append(gradients(model, x))
    assert len(results[0][2]) == 4
    assert results[0][2].keys() == results[1][2].keys()
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("as_mask", [False, True])
def test_the_gradient_drops_what_the_forward_pass_dropped(monkeypatch, as_mask):
    chosen = torch.tensor([0, 7, 31])
    mask = torch.zeros(3 * 12, dtype=torch.bool).index_fill(0, chosen, True).view(3, 12)
    monkeypatch.setattr(lora, "draw_dropped", lambda x, share: mask if as_mask else chosen)
    torch.manual_seed(0)
    x = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    down, up = (
        torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((4, 12), (6, 4))
    )
    weight = torch.randn(6, 12, dtype=torch.float64)

    def run(x, down, up):
        return lora._AdaptedLinear.apply(x, down, up, weight, None, 2.5, 0.25, torch.float64)

    kept = (~mask) / 0.75
    expected = x @ weight.T + 2.5 * (x * kept) @ down.T @ up.T
    torch.testing.assert_close(run(x, down, up), expected)
    assert torch.autograd.gradcheck(run, (x, down, up))


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_elements_are_dropped_as_often_as_asked_and_independently(share):
    torch.manual_seed(0)
    x = torch.ones(400, 1000)
    hit = without(x, draw_dropped(x, share)).eq(0)
    spread = (share * (1 - share) / x.numel()) ** 0.5
    assert abs(hit.double().mean() - share) < 4 * spread
    neighbours = (hit[:, 1:] & hit[:, :-1]).double().mean()
    assert abs(neighbours - share**2) < 4 * share / x.numel() ** 0.5
    assert (
        abs(hit[:, 0].double().mean() - share) < 0.1
        and abs(hit[:, -1].double().mean() - share) < 0.1
    )
    assert torch.equal(x, torch.ones_like(x))
    torch.manual_seed(0)
    assert torch.equal(hit, without(x, draw_dropped(x, share)).eq(0))


def test_evaluation_drops_nothing_and_training_does():
    model = small_model(dropout=0.5)
    fuse_adapters(model)
    x = torch.randn(4, 12, dtype=torch.float64)
    model.eval()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_what_is_no_plain_adapter_stays_with_peft():
    x = torch.randn(4, 12, dtype=torch.float64)
    for settings in ({"use_dora": True}, {}):
        model = small_model(**settings)
        expected = model(x)
        fuse_adapters(model)
        torch.testing.assert_close(model(x), expected)
    first, _, second = model.get_base_model()
    bare = second.base_layer(torch.nn.functional.gelu(first.base_layer(x)))
    assert not torch.allclose(expected, bare)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), bare)


def test_four_bit_weights_are_written_out_as_bitsandbytes_does():
    import bitsandbytes

    layer = bitsandbytes.nn.Linear4bit(
        128, 64, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
    ).to("cpu")
    x = torch.randn(5, 128, dtype=torch.bfloat16)
    expected = layer(x)
    ours = x @ lora.dense(layer.weight, torch.bfloat16).T
    torch.testing.assert_close(ours, expected)
