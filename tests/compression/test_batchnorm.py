"""Re-estimated BatchNorm statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ranksearch.compression import recalibrate
from ranksearch.compression.batchnorm import estimate_statistics
from ranksearch.tasks import CROSS_ENTROPY

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.3), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 3)
    )


def test_statistics_are_the_means_over_batches() -> None:
    model, x = network(), torch.randn(64, 4)
    estimate_statistics(model, x, batch_size=32, device=CPU)
    hidden = model[0](x).detach()
    torch.testing.assert_close(model[1].running_mean, hidden.mean(0))
    wanted = torch.stack([part.var(0) for part in hidden.split(32)]).mean(0)
    torch.testing.assert_close(model[1].running_var, wanted)
    assert model[1].momentum == 0.3
    assert not any(m.training for m in model.modules())


def test_a_last_batch_of_one_is_left_out() -> None:
    model, x = network(), torch.randn(33, 4)
    estimate_statistics(model, x, batch_size=32, device=CPU)
    torch.testing.assert_close(model[1].running_mean, model[0](x[:32]).detach().mean(0))


@pytest.mark.parametrize(("shift", "blend"), [(0.0, 0.0), (25.0, 1.0)])
def test_old_statistics_stay_where_they_are_better(shift: float, blend: float) -> None:
    """Unshifted, the dense model's own statistics cannot be beaten; far off, only new ones help."""
    dense, x, held_out = network().eval(), torch.randn(16, 4), torch.randn(256, 4)
    estimate_statistics(dense, torch.randn(4096, 4), batch_size=4096, device=CPU)
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[0].bias += shift
        wanted = dense(held_out)
    found = recalibrate(model, x, held_out, wanted, CROSS_ENTROPY, batch_size=16, device=CPU)
    assert found.blend == blend
    assert found.divergence.count == 256
    again = CROSS_ENTROPY.divergence(wanted, found.model(held_out).detach(), 1.0).mean()
    assert found.divergence.mean == pytest.approx(float(again), rel=1e-4, abs=1e-9)


def test_half_is_half_way() -> None:
    dense, x = network().eval(), torch.randn(64, 4) + 1
    model = copy.deepcopy(dense)
    found = recalibrate(
        model, x, x, dense(x).detach(), CROSS_ENTROPY, batch_size=64, device=CPU, blends=(0.5,)
    )
    torch.testing.assert_close(found.model[1].running_mean, model[0](x).detach().mean(0) / 2)  # type: ignore[index]


def test_models_without_batchnorm_are_just_scored() -> None:
    model = nn.Linear(4, 3)
    x = torch.randn(8, 4)
    found = recalibrate(model, x, x, model(x).detach(), CROSS_ENTROPY, batch_size=4, device=CPU)
    assert (found.blend, found.divergence.mean) == (0.0, pytest.approx(0, abs=1e-7))
