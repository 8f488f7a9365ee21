"""The optimizers of the foundations: who is moved by which, how far, and when."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ladder.pretraining.muon import COOLDOWN, WARMUP, Muon, muon_and_adamw, orthogonal, trapezoid

STEPS = 200
PEAKS = (0.1, 0.01)


class Small(nn.Module):
    """Two matrices for Muon; an embedding, a norm and a head that it isn't made for."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(7, 4)
        self.up = nn.Linear(4, 6)
        self.down = nn.Linear(6, 4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.lm_head = nn.Linear(4, 7, bias=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.norm(self.down(self.up(self.embed_tokens(words)).relu())))


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small()


def loss_of(small: Small) -> torch.Tensor:
    words = torch.arange(7)
    return nn.functional.cross_entropy(small(words), words.roll(1))


def optimizer_of(small: Small):
    return muon_and_adamw(small.named_parameters(), *PEAKS)


def rates(step: int, steps: int = STEPS) -> list[float]:
    optimizer = muon_and_adamw(Small().named_parameters(), *PEAKS)
    trapezoid(optimizer, step, steps)
    return [group["lr"] for group in optimizer.groups]


def test_every_parameter_is_in_one_optimizer(small: Small):
    """Muon has the matrices between layers, AdamW all else."""
    muon, adamw = optimizer_of(small).parts
    names = {parameter: name for name, parameter in small.named_parameters()}

    def held(part: torch.optim.Optimizer) -> list[str]:
        return sorted(names[p] for group in part.param_groups for p in group["params"])

    assert isinstance(muon, Muon)
    assert held(muon) == ["down.weight", "up.weight"]
    assert sorted(held(muon) + held(adamw)) == sorted(names.values())


def test_rates_rise_stay_and_fall():
    shares = [rates(step)[0] / PEAKS[0] for step in range(STEPS)]
    top = [step for step, share in enumerate(shares) if share == 1]
    assert top == [*range(round(WARMUP * STEPS) - 1, round((1 - COOLDOWN) * STEPS) + 1)]
    assert shares[: top[0] + 1] == sorted(shares[: top[0] + 1])
    assert shares[top[-1] :] == sorted(shares[top[-1] :], reverse=True)
    assert shares[0] == pytest.approx(1 / (WARMUP * STEPS))
    assert shares[-1] == pytest.approx(1 / (COOLDOWN * STEPS))
    assert all(0 < share <= 1 for share in shares)


def test_both_rates_follow_the_same_shape():
    for step in (0, 3, 100, 150, STEPS - 1):
        muon, adamw = rates(step)
        assert muon / PEAKS[0] == pytest.approx(adamw / PEAKS[1])


def test_rates_hang_on_the_step_alone(small: Small):
    """Set again and again, they don't shrink from call to call."""
    optimizer = optimizer_of(small)
    for step in (0, 199, 50, 199, 50):
        trapezoid(optimizer, step, STEPS)
    assert [group["lr"] for group in optimizer.groups] == [*PEAKS]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_shortest_trainings_have_rates_too(steps: int):
    assert all(0 < rate <= max(PEAKS) for step in range(steps) for rate in rates(step, steps))


@pytest.mark.parametrize("step", [0, 100, STEPS - 1])
def test_weights_move_by_the_rate_of_the_step(small: Small, step: int):
    """AdamW's first step moves each weight by its rate, Muon's by a multiple of its."""
    before = {name: p.detach().clone() for name, p in small.named_parameters()}
    optimizer = optimizer_of(small)
    trapezoid(optimizer, step, STEPS)
    optimizer.step_on(loss_of(small))
    moved = {name: (p.detach() - before[name]).abs() for name, p in small.named_parameters()}
    muon, adamw = rates(step)
    assert moved["lm_head.weight"].median().item() == pytest.approx(adamw, rel=1e-2)
    at_peak = muon / PEAKS[0]
    assert 0.002 * at_peak < moved["up.weight"].mean().item() < 0.2 * at_peak
    assert all(values.max() > 0 for values in moved.values())


def test_gradients_are_clipped_to_a_norm_of_one(small: Small):
    optimizer = optimizer_of(small)
    optimizer.step_on(1000 * loss_of(small))
    norm = torch.stack([p.grad.norm() for p in small.parameters()]).norm().item()
    assert norm == pytest.approx(1, rel=1e-3)


def test_gradients_don_t_pile_up(small: Small):
    """A second step has the gradient of its own loss only."""
    optimizer = optimizer_of(small)
    optimizer.step_on(loss_of(small))
    loss = 1e-3 * loss_of(small)
    alone = torch.autograd.grad(loss, [*small.parameters()], retain_graph=True)
    optimizer.step_on(loss)
    for parameter, gradient in zip(small.parameters(), alone, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_training_lowers_the_loss(small: Small):
    optimizer = optimizer_of(small)
    before = loss_of(small).item()
    for step in range(60):
        trapezoid(optimizer, step, 60)
        optimizer.step_on(loss_of(small))
    assert loss_of(small).item() < 0.2 * before


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 12), (2, 12, 5)])
def test_updates_are_nearly_orthogonal(shape: tuple[int, int, int]):
    """Whatever the scale of a gradient, its directions come out about equally long."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for scale in (1e-3, 1.0, 1e3):
        values = torch.linalg.svdvals(orthogonal(scale * matrices))
        assert 0.6 < values.min() <= values.max() < 1.3


def test_muon_is_that_of_torch_but_for_the_rounding():
    """torch's computes in bfloat16."""
    torch.manual_seed(0)
    mine = nn.Parameter(torch.randn(12, 5))
    theirs = nn.Parameter(mine.detach().clone())
    ours = Muon([mine], 0.1, weight_decay=0.01)
    reference = torch.optim.Muon([theirs], 0.1, weight_decay=0.01, momentum=0.95)
    start = mine.detach().clone()
    for _ in range(4):
        gradient = torch.randn(12, 5)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    assert (mine - start).norm() > 0.5
    assert (mine - theirs).norm() < 0.03 * (mine - start).norm()
