"""Recovery: both ways start from the same outputs and stay at the bond dimension."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ranksearch.errors import InputError
from ranksearch.networks import discover, list_layers
from ranksearch.probing import (
    Bench,
    Judge,
    is_chain,
    pick_images,
    plain_spectra,
    plan_truncation,
    recover,
    telling_norm,
    usual_cut,
)
from ranksearch.probing.cuts import Cut, cuts_of
from ranksearch.probing.recovery import Truncation, factorised_model, project, truncated_model
from ranksearch.probing.rows import Row
from ranksearch.tasks import Task


def spectra_of(task: Task):  # type: ignore[no-untyped-def]
    layers = [x for x in discover(task.model, task.example) if x.reason is None]
    kernels = {x.name: task.model.get_parameter(f"{x.name}.weight").detach() for x in layers}
    return plain_spectra(layers, kernels)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(5, 6, 3, padding=1, stride=2),
        nn.Conv2d(5, 6, (3, 1), padding=(1, 0), bias=False),
        nn.Conv1d(5, 6, 3, dilation=2),
        nn.Conv3d(3, 4, 2),
        nn.Linear(5, 6),
    ],
    ids=["conv2d", "conv2d 3x1", "conv1d", "conv3d", "linear"],
)
def test_factors_compute_what_the_truncated_kernel_does(module: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(module)
    layer = list_layers(model)[0]
    shape = module.weight.shape  # type: ignore[union-attr]
    inputs = torch.randn(2, shape[1], *(7 for _ in shape[2:]))
    for cut in cuts_of(shape):
        if not is_chain(cut):
            continue
        for bond in (1, 2, cut.full_rank(shape)):
            truncated = truncated_model(model, [Truncation(layer, cut, bond)])
            factorised = factorised_model(truncated, [Truncation(layer, cut, bond)])
            torch.testing.assert_close(factorised(inputs), truncated(inputs), rtol=1e-3, atol=1e-4)
            assert len(list_layers(factorised)) == 2


def test_chains_are_the_cuts_between_o_and_i() -> None:
    assert [c.name for c in cuts_of((4, 4, 3, 3)) if is_chain(c)] == ["o|ihw", "i|ohw", "oh|iw", "ow|ih"]


def test_projection_is_idempotent_and_of_the_bond_dimension(labelled_task: Task) -> None:
    found = plan_truncation(spectra_of(labelled_task), 0.7, "o|ihw")
    model = truncated_model(labelled_task.model, found)
    once = {k: v.clone() for k, v in model.state_dict().items()}
    project(model, found)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, once[key], rtol=1e-4, atol=1e-6)
    for t in found:
        matrix = t.cut.matrix(model.get_parameter(f"{t.layer.name}.weight").detach())
        assert torch.linalg.matrix_rank(matrix, rtol=1e-4) == t.bond


@pytest.mark.parametrize("every_step", [False, True])
def test_recovery_by_epoch(labelled_task: Task, every_step: bool) -> None:
    before = {k: v.clone() for k, v in labelled_task.model.state_dict().items()}
    images = pick_images(labelled_task, "validation", 40, seed=0)
    judge = Judge(
        labelled_task,
        images,
        Bench(labelled_task.model, images.inputs, batch_size=16, device=labelled_task.device).dense,
    )
    found = plan_truncation(spectra_of(labelled_task), 0.6, "o|ihw")
    projected, factorised = (
        recover(labelled_task, images, judge, found, way, epochs=2, every_step=every_step, lr=1e-3)
        for way in ("projected", "factorised")
    )
    assert [e.epoch for e in projected] == [e.epoch for e in factorised] == [0, 1, 2]
    assert projected[0].scores.kl.mean == pytest.approx(factorised[0].scores.kl.mean, rel=1e-3)
    assert factorised[2].scores.kl.mean < factorised[0].scores.kl.mean
    assert factorised[0].params < projected[0].params
    assert all(torch.equal(v, before[k]) for k, v in labelled_task.model.state_dict().items())


def test_full_bond_dimension_starts_from_the_dense_model(labelled_task: Task) -> None:
    images = pick_images(labelled_task, "validation", 20, seed=0)
    bench = Bench(labelled_task.model, images.inputs, batch_size=16, device=labelled_task.device)
    judge = Judge(labelled_task, images, bench.dense)
    (start,) = recover(
        labelled_task,
        images,
        judge,
        plan_truncation(spectra_of(labelled_task), 1.0, "o|ihw"),
        "projected",
        epochs=0,
    )
    assert start.scores.kl.mean == pytest.approx(0, abs=1e-6)


def test_a_cut_that_is_no_chain_cannot_be_factorised(labelled_task: Task) -> None:
    found = plan_truncation(spectra_of(labelled_task), 0.8, "oi|hw")
    with pytest.raises(InputError, match="o and i on different sides"):
        factorised_model(labelled_task.model, found)


def test_unknown_cut_is_refused_with_those_there_are(labelled_task: Task) -> None:
    with pytest.raises(InputError, match=r"expected h\|oiw or .* got 'x\|y'"):
        plan_truncation(spectra_of(labelled_task), 0.8, "x|y")


def test_the_usual_cut_is_that_of_most_layers(labelled_task: Task) -> None:
    assert usual_cut(spectra_of(labelled_task)) == "o|ihw"
    assert usual_cut({}) == ""
    assert Cut.named("o|ihw").left == (0,)


def joint(norm: float, accuracy: float) -> Row:
    return Row("all", "", 3, "o|ihw", norm, None, None, norm, None, accuracy, 1, 0, 0, 0, 0, 0, 0)


def test_recovery_starts_where_half_is_lost() -> None:
    rows = [joint(0.99, 89), joint(0.9, 60), joint(0.8, 45), joint(0.7, 20)]
    assert telling_norm(rows, "o|ihw", 90, 10) == 0.8
    assert telling_norm(rows[:2], "o|ihw", 90, 10) == 0.9
    assert telling_norm(rows, "i|ohw", 90, 10) is None
