"""Models that keep less for the way back: activation checkpointing, and values put elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import rootpoint as rp
from rootpoint.errors import UnsupportedModelError, UnsupportedOperationError
from rootpoint.propagation import through

pytestmark = pytest.mark.usefixtures("double")

Run = Callable[..., Any]


def at_once(block: Run, *args: Any) -> Any:
    return block(*args)


def recomputed(block: Run, *args: Any) -> Any:
    return checkpoint(block, *args, use_reentrant=False)


def recomputed_to_the_end(block: Run, *args: Any) -> Any:
    return checkpoint(block, *args, use_reentrant=False, early_stop=False)


def put_aside(block: Run, *args: Any) -> Any:
    with save_on_cpu():
        return block(*args)


class Block(nn.Module):
    """Pre-norm attention and a gated feed-forward layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.first(x)).unflatten(-1, (6, -1)).transpose(1, 2).chunk(3, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        signal, gate = self.up(self.second(x)).chunk(2, -1)
        return x + self.down(signal * F.silu(gate))


class Tokens(nn.Module):
    """A small language model whose blocks run by `run`."""

    def __init__(self, run: Run, blocks: int = 3, width: int = 8) -> None:
        super().__init__()
        self.run, self.embed = run, nn.Embedding(20, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.head = nn.Linear(width, 5)
        self.eval()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = self.run(block, x)
        return self.head(x[:, -1])


class Images(nn.Module):
    """Folded batch-norms, forms in place, gates and a skip connection, parts of it by `run`.

    overwrites   also values that gradients need, though rules do not
    """

    overwrites = True

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.inner_norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.gate, self.head = nn.Linear(4, 4), nn.Linear(8, 5)
        self.eval()

    def enter(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)

    def block(self, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inner(F.softplus(h).mul_(0.5)).add_(0.1)
        h = F.relu_(self.inner_norm(h))
        h = F.max_pool2d(h + skip, 2)
        gate = torch.sigmoid(self.gate(h.mean((2, 3))))[:, :, None, None]
        bent = F.gelu(h)
        if self.overwrites:
            h *= 2
        return h * gate, bent

    def forward(self, x: Tensor) -> Tensor:
        h = self.run(self.enter, x)
        h = self.inner(F.gelu(h).mul_(0.5)).add_(0.1).tanh_()
        return self.head(torch.cat(self.run(self.block, h, h), 1).tanh_().mean((2, 3)))


class Differentiable(Images):
    overwrites = False


def same(model: type[nn.Module], run: Run) -> tuple[nn.Module, nn.Module]:
    """The model at once, and with its parts by `run`."""
    torch.manual_seed(0)
    expected, found = model(at_once), model(run)
    found.load_state_dict(expected.state_dict())
    return expected, found


RUNS = [recomputed, recomputed_to_the_end, put_aside]
TOKENS = ["attn-lrp", "cp-lrp", "epsilon", "epsilon-plus", "epsilon-alpha2-beta1"]
IMAGES = ["epsilon-plus-flat", "epsilon-gamma-box(low=-3, high=3)", "epsilon-alpha2-beta1"]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("composite", TOKENS)
def test_maps_of_tokens_are_those_of_the_model_at_once(composite: str, run: Run) -> None:
    expected, found = same(Tokens, run)
    ids = torch.randint(0, 20, (2, 6))
    a, b = (rp.explain(m, ids, [1, 3], composite=composite) for m in (expected, found))
    assert torch.equal(a.relevance, b.relevance)
    assert a.relevance.abs().max() > 0


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("composite", IMAGES)
def test_maps_of_images_are_those_of_the_model_at_once(composite: str, run: Run) -> None:
    expected, found = same(Images, run)
    x = torch.randn(2, 3, 8, 8)
    a, b = (rp.explain(m, x, [1, 3], composite=composite) for m in (expected, found))
    torch.testing.assert_close(a.relevance, b.relevance, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "method", ["deep-taylor", "guided-backprop", "deconvnet", "excitation-backprop", "gradient"]
)
def test_other_methods_recompute_too(method: str) -> None:
    expected, found = same(Differentiable, recomputed)
    x = torch.randn(2, 3, 8, 8)
    a, b = (rp.explain(m, x, 1, method=method).relevance for m in (expected, found))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


def test_several_targets_recompute_for_each() -> None:
    expected, found = same(Images, recomputed)
    x = torch.randn(2, 3, 8, 8)
    each = rp.LRP().bind(found).each(x, [0, 1, 2])
    for e, target in zip(each, (0, 1, 2), strict=True):
        torch.testing.assert_close(e.relevance, rp.LRP()(expected, x, target).relevance)


def test_an_inner_module_of_a_recomputed_part_can_be_explained() -> None:
    expected, found = same(Tokens, recomputed)
    ids = torch.randint(0, 20, (2, 6))
    a, b = (rp.explain(m, ids, 1, at="blocks.1.down").relevance for m in (expected, found))
    assert torch.equal(a, b)


def test_checkpoints_in_a_sequence() -> None:
    torch.manual_seed(0)
    blocks = [Block(), Block(), Block()]
    x = torch.randn(2, 6, 8)

    def model(x: Tensor) -> Tensor:
        return checkpoint_sequential(blocks, 3, x, use_reentrant=False).mean(1)

    expected = rp.explain(lambda x: nn.Sequential(*blocks)(x).mean(1), x, 1, composite="attn-lrp")
    found = rp.explain(model, x, 1, composite="attn-lrp")
    assert torch.equal(found.relevance, expected.relevance)


def test_the_books_of_a_recomputed_model_are_those_of_the_model_at_once() -> None:
    expected, found = same(Tokens, recomputed)
    ids = torch.randint(0, 20, (2, 6))
    a, b = (rp.explain(m, ids, 1, composite="attn-lrp").balance for m in (expected, found))
    assert b.gap == pytest.approx(a.gap, abs=1e-12)
    assert b.absorbed == pytest.approx(a.absorbed)


def test_autocast_is_that_of_the_forward_pass() -> None:
    expected, found = same(Images, recomputed)
    expected, found, x = expected.float(), found.float(), torch.randn(2, 3, 8, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        a, b = (rp.explain(m, x, 1).relevance for m in (expected, found))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_the_model_is_left_as_it_was() -> None:
    _, model = same(Differentiable, recomputed)
    x = torch.randn(2, 3, 8, 8)
    rp.explain(model, x, 1)
    leaf = x.clone().requires_grad_()
    model(leaf)[:, 1].sum().backward()
    assert torch.allclose(leaf.grad, rp.explain(model, x, 1, method="gradient").relevance * 1)


def test_checkpointing_keeps_a_fraction_of_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rules keep: nothing inside of checkpoints, what the blocks begin with apart."""
    kept: WeakSet[Any] = WeakSet()
    keep = through.Memory.keep

    def counted(self: Any, tensor: Tensor, **options: Any) -> Any:
        box = keep(self, tensor, **options)
        kept.add(box)
        return box

    monkeypatch.setattr(through.Memory, "keep", counted)
    ids = torch.randint(0, 20, (1, 64))
    counts = []
    for run in (at_once, recomputed):
        model = Tokens(run, blocks=4)
        held: list[int] = []

        def count(output: Tensor, held: list[int] = held) -> Tensor:
            held.append(sum(box.value.nbytes for box in kept))
            return output[:, 1]

        rp.explain(model, ids, count, composite="attn-lrp")
        counts.append(held[0])
    assert counts[1] < counts[0] / 10


# -- what is refused -------------------------------------------------------------------------------


def test_recomputing_is_refused_under_compile() -> None:
    _, model = same(Images, recomputed)
    with pytest.raises(UnsupportedModelError, match="without compile"):
        rp.LRP(compile=True)(model, torch.randn(2, 3, 8, 8), 1)


def test_reentrant_checkpoints_are_refused_with_the_remedy() -> None:
    def reentrant(block: Run, *args: Any) -> Any:
        return checkpoint(block, *args, use_reentrant=True)

    with pytest.raises(UnsupportedOperationError, match="use_reentrant=False"):
        rp.explain(Tokens(reentrant), torch.randint(0, 20, (2, 6)), 1)


def test_a_checkpoint_inside_of_another_is_refused() -> None:
    outer, inner = Block(), Block()
    x = torch.randn(2, 6, 8)

    def model(x: Tensor) -> Tensor:
        return recomputed(lambda h: outer(recomputed(inner, h)), x).mean(1)

    with pytest.raises(UnsupportedModelError, match="inside of another"):
        rp.explain(model, x, 1, composite="attn-lrp")


def test_deeplift_refuses_to_recompute() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(4, 3)
    x = torch.randn(2, 4)

    def model(x: Tensor) -> Tensor:
        return recomputed(lambda h: F.relu(linear(h)) * h.sum(), x)

    with pytest.raises(UnsupportedModelError, match="checkpoint"):
        rp.explain(model, x, 1, method="deeplift")


def test_deeplift_of_values_put_aside_is_that_of_the_model_at_once() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(4, 3)
    x = torch.randn(2, 4)

    def model(run: Run) -> Run:
        return lambda x: run(lambda h: F.relu(linear(h)), x)

    expected = rp.explain(model(at_once), x, 1, method="deeplift").relevance
    found = rp.explain(model(put_aside), x, 1, method="deeplift").relevance
    assert torch.equal(found, expected)


def test_ids_looked_up_inside_of_a_checkpoint_are_refused() -> None:
    class Inside(Tokens):
        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.run(lambda n: self.blocks[0](self.embed(n)), ids)[:, -1])

    with pytest.raises(UnsupportedModelError, match="looked up inside"):
        rp.explain(Inside(recomputed), torch.randint(0, 20, (2, 6)), 1)
