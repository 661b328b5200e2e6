from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.training.muon import COEFFICIENTS, Coefficients, Muon, _on_gram, _on_matrices, orthogonalize


def _matrices(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 64), (3, 64, 16), (2, 128, 128)])
@pytest.mark.parametrize(("coefficients", "low", "high"), [("polar_express", 0.85, 1.15), ("newton_schulz", 0.3, 1.3)])
def test_singular_values_are_drawn_to_one_and_directions_kept(
    shape: tuple[int, ...], coefficients: Coefficients, low: float, high: float
) -> None:
    matrices = _matrices(*shape)
    u, s, vt = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalize(matrices, coefficients)
    # In the basis of the input the result is diagonal: the same directions, other lengths.
    inside = u.mT @ result @ vt.mT
    values = inside.diagonal(dim1=1, dim2=2)
    large = s > 0.05 * s.max()
    assert (values[large] > low).all()
    assert (values < high).all()
    torch.testing.assert_close(inside, torch.diag_embed(values), atol=2e-3, rtol=0)


@pytest.mark.parametrize("coefficients", ["polar_express", "newton_schulz"])
@pytest.mark.parametrize("rank", [1, 7, 48])
def test_iterating_on_the_gram_matrix_is_the_iteration_on_the_matrix(coefficients: Coefficients, rank: int) -> None:
    # Of little rank, as gradients are: what rounding leaves in the empty directions must not grow.
    wide = _matrices(2, 48, rank) @ _matrices(2, rank, 192)
    wide = wide / wide.norm(dim=(1, 2), keepdim=True)
    exact = _on_matrices(wide.double(), coefficients)
    plain, gram = _on_matrices(wide, coefficients), _on_gram(wide, coefficients)
    largest = exact.norm()
    assert (gram - exact).norm() < 1e-3 * largest
    assert (plain - exact).norm() < 1e-3 * largest


def test_every_slice_of_a_fused_weight_is_a_matrix_of_its_own() -> None:
    fused = nn.Parameter(torch.zeros(4, 6, 6))
    single = [nn.Parameter(torch.zeros(6, 6)) for _ in range(4)]
    gradient = _matrices(4, 6, 6)
    fused.grad = gradient.clone()
    for parameter, slice_ in zip(single, gradient, strict=True):
        parameter.grad = slice_.clone()
    Muon([fused], lr=0.1).step()
    Muon(single, lr=0.1).step()
    torch.testing.assert_close(fused.detach(), torch.stack([p.detach() for p in single]))


def test_shapes_are_bucketed_and_none_is_forgotten() -> None:
    shapes = [(4, 8, 8), (32, 8), (32, 8), (8, 8), (8, 32)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = _matrices(*parameter.shape)
    Muon(parameters, lr=1.0).step()
    for parameter in parameters:
        alone = nn.Parameter(torch.zeros(parameter.shape))
        alone.grad = _matrices(*parameter.shape)
        Muon([alone], lr=1.0).step()
        torch.testing.assert_close(parameter, alone)
        assert parameter.abs().max() > 0


def test_a_step_is_nesterov_momentum_orthogonalised() -> None:
    weight = nn.Parameter(_matrices(12, 6))
    expected, buffer = weight.detach().clone(), torch.zeros(12, 6)
    optimizer = Muon([weight], lr=0.1, momentum=0.9)
    for step in range(3):
        gradient = _matrices(12, 6) * (step + 1)
        weight.grad = gradient.clone()
        optimizer.step()
        buffer = 0.9 * buffer + 0.1 * gradient
        update = 0.1 * gradient + 0.9 * buffer
        expected -= 0.1 * 2**0.5 * orthogonalize(update[None], "polar_express")[0]
    torch.testing.assert_close(weight.detach(), expected)


def test_weight_decay_shrinks_and_the_cautious_one_only_with_the_update() -> None:
    def after(weight_decay: float, cautious: bool) -> Tensor:
        weight = nn.Parameter(_matrices(6, 6))
        weight.grad = _matrices(7, 6)[1:]
        Muon([weight], lr=0.1, weight_decay=weight_decay, cautious=cautious).step()
        return weight.detach()

    start, plain = _matrices(6, 6), after(0.0, False)
    torch.testing.assert_close(after(0.5, False), plain - 0.05 * start)
    towards_zero = (plain - start) * start < 0
    torch.testing.assert_close(after(0.5, True), plain - 0.05 * start * towards_zero)
    assert 0 < towards_zero.sum() < 36


def test_the_state_can_be_saved_and_taken_up() -> None:
    def run(steps: int, state: dict[str, object] | None, weight: Tensor) -> tuple[Tensor, dict[str, object]]:
        parameter = nn.Parameter(weight.clone())
        optimizer = Muon([parameter], lr=0.1)
        if state:
            optimizer.load_state_dict(state)
        for step in range(steps):
            parameter.grad = _matrices(5 + step, 6, 6)[-1]
            optimizer.step()
        return parameter.detach(), optimizer.state_dict()

    start = _matrices(6, 6)
    middle, state = run(1, None, start)
    parameter = nn.Parameter(middle.clone())
    optimizer = Muon([parameter], lr=0.1)
    optimizer.load_state_dict(state)
    parameter.grad = _matrices(6, 6, 6)[-1]
    optimizer.step()
    assert torch.equal(parameter.detach(), run(2, None, start)[0])


def test_the_tables_have_five_steps() -> None:
    assert {len(steps) for steps in COEFFICIENTS.values()} == {5}


RANK = """
import torch, torch.distributed as dist, sys
from torch import nn
from core.training.muon import Muon
dist.init_process_group("gloo")
shapes = [(4, 8, 8), (8, 8), (32, 8), (32, 8), (32, 8)]
weights = [nn.Parameter(torch.randn(s, generator=torch.Generator().manual_seed(i))) for i, s in enumerate(shapes)]
for i, w in enumerate(weights):
    w.grad = torch.randn(w.shape, generator=torch.Generator().manual_seed(100 + i))
Muon(weights, lr=0.1).step()
torch.save([w.detach() for w in weights], f"{sys.argv[1]}/{dist.get_world_size()}-{dist.get_rank()}.pt")
dist.destroy_process_group()
"""


def test_ranks_share_the_work_and_end_with_the_same_weights(tmp_path: Path) -> None:
    program = tmp_path / "rank.py"
    program.write_text(RANK)
    root = Path(__file__).parents[2]
    for world in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
        subprocess.run([*command, program, tmp_path], check=True, capture_output=True, cwd=root)
    one = torch.load(tmp_path / "1-0.pt", weights_only=True)
    for rank in range(2):
        two = torch.load(tmp_path / f"2-{rank}.pt", weights_only=True)
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
    first, second = (torch.load(tmp_path / f"2-{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
