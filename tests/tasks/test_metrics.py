"""Metrics against values by hand and by scikit-learn; what counts for nothing; scores of all examples together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, r2_score
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ranksearch.errors import InputError
from ranksearch.tasks import CROSS_ENTROPY, LOSSES, METRICS, Task, evaluate
from ranksearch.tasks.losses import BINARY_CROSS_ENTROPY, SQUARED_ERROR, binary_accuracy, top1


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def measured(name: str, outputs: Tensor, targets: Tensor, **options: Any) -> float:
    """The metric of a model that returns its inputs."""
    data = TensorDataset(outputs, targets)
    task = Task(nn.Identity(), data, test=data, metric_fn=name, batch_size=7, **options)  # type: ignore[arg-type]
    found = evaluate(task.model, task, "test")
    assert found is not None
    assert found.stderr >= 0
    return found.mean


def test_mean_iou_is_that_of_all_pixels() -> None:
    outputs, targets = randn(20, 4, 5, 6), (randn(20, 5, 6) * 3).abs().long() % 4
    wanted = 100 * jaccard_score(targets.flatten(), outputs.argmax(1).flatten(), average="macro")
    assert measured("miou", outputs, targets) == pytest.approx(wanted)
    targets[:, :2] = 255
    seen = (targets != 255).numpy()
    wanted = 100 * jaccard_score(targets[seen], outputs.argmax(1)[seen], average="macro")
    assert measured("miou", outputs, targets, loss="segmentation") == pytest.approx(wanted)


def test_r2_is_scikit_learns() -> None:
    outputs, targets = randn(40, 3), randn(40, 3) * 2 + randn(3, 40).T
    assert measured("r2", outputs, targets, loss="mse") == pytest.approx(r2_score(targets, outputs), rel=1e-5)
    images, wanted = randn(30, 2, 4), randn(4, 30, 2).movedim(0, -1)
    assert measured("r2", images, wanted, loss="mse") == pytest.approx(
        r2_score(wanted.flatten(), images.flatten()), rel=1e-5
    )


def test_f1_is_scikit_learns() -> None:
    outputs, targets = randn(40, 3), (randn(3, 40).T > 0).float()
    wanted = 100 * f1_score(targets, outputs > 0, average="micro")
    assert measured("f1", outputs, targets, loss="bce") == pytest.approx(wanted)


def test_psnr_by_hand() -> None:
    outputs, targets = torch.full((20, 1, 4, 4), 0.6), torch.full((20, 1, 4, 4), 0.5)
    assert measured("psnr", outputs, targets, loss="mse") == pytest.approx(20, rel=1e-5)


def test_perplexity_by_hand() -> None:
    outputs, tokens = randn(20, 6, 5), randn(6, 20).T.abs().mul(10).long() % 5
    wanted = nn.functional.cross_entropy(outputs[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).exp()
    assert measured("perplexity", outputs, tokens, loss="causal_lm") == pytest.approx(
        -float(wanted), rel=1e-5
    )


def test_token_accuracy_counts_tokens_not_sentences() -> None:
    outputs = nn.functional.one_hot(torch.tensor([[0, 1, 2], [0, 0, 0]] * 10), 3).float()
    targets = torch.tensor([[0, 1, 2], [1, -100, -100]] * 10)
    assert measured("token_accuracy", outputs, targets, loss="token_cross_entropy") == pytest.approx(75)


def test_the_standard_error_of_a_mean_is_that_of_its_jackknife() -> None:
    """Of tokens that are alike in number accuracy is a plain mean."""
    outputs, targets = randn(30, 4, 3), torch.zeros(30, 4, dtype=torch.long)
    data = TensorDataset(outputs, targets)
    task = Task(nn.Identity(), data, test=data, loss="token_cross_entropy")  # type: ignore[arg-type]
    found = evaluate(task.model, task, "test")
    each = (outputs.argmax(-1) == targets).double().mean(1) * 100
    assert found is not None
    assert found.mean == pytest.approx(float(each.mean()))
    assert found.stderr == pytest.approx(float(each.std()) / np.sqrt(30))


@pytest.mark.parametrize("name", METRICS.names())
def test_metrics_score_single_examples_too(name: str) -> None:
    outputs = {"perplexity": randn(6, 5, 4), "token_accuracy": randn(6, 5, 4), "miou": randn(6, 4, 2, 2)}
    made = outputs.get(name, randn(6, 4))
    targets = {
        "top1": torch.arange(6) % 4,
        "perplexity": torch.ones(6, 5, dtype=torch.long),
        "token_accuracy": torch.ones(6, 5, dtype=torch.long),
        "miou": torch.ones(6, 2, 2, dtype=torch.long),
    }.get(name, (randn(6, 4) > 0).float())
    assert METRICS.get(name)(made, targets).shape == (6,)


# --- what counts for nothing


def test_numbers_that_are_nan_count_for_nothing() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, torch.nan], [3.0, 6.0]])
    assert SQUARED_ERROR.value(outputs, targets).tolist() == [0.5, 2.0]
    assert binary_accuracy(outputs, torch.tensor([[1.0, torch.nan], [0.0, 1.0]])).tolist() == [100, 50]
    found = BINARY_CROSS_ENTROPY.value(outputs, torch.tensor([[1.0, torch.nan], [0.0, 1.0]]))
    assert float(found[0]) == pytest.approx(float(nn.functional.softplus(torch.tensor(-1.0))))


def test_divergences_do_not_hide_nan() -> None:
    broken = torch.tensor([[torch.nan, 1.0]])
    assert bool(SQUARED_ERROR.divergence(broken, torch.ones(1, 2), 1.0).isnan().all())


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32])
def test_void_pixels(kind: torch.dtype) -> None:
    outputs = randn(4, 3, 2, 2)
    targets = torch.zeros(4, 2, 2)
    known = CROSS_ENTROPY.value(outputs[..., :1], targets[..., :1].to(kind))
    targets[..., 1] = 255
    torch.testing.assert_close(CROSS_ENTROPY.value(outputs, targets.to(kind)), known)
    right = (outputs.argmax(1)[..., 0] == 0).float().mean(1) * 100
    torch.testing.assert_close(top1(outputs, targets.to(kind)), right)


def test_255_is_a_class_where_there_are_as_many() -> None:
    outputs, targets = randn(2, 300, 2), torch.full((2, 2), 255)
    assert bool((CROSS_ENTROPY.value(outputs, targets) > 0).all())


@pytest.mark.parametrize("ignore_index", [9, None])
def test_ignore_index(ignore_index: int | None) -> None:
    data = TensorDataset(randn(20, 3, 2), torch.full((20, 2), 9))
    task = Task(nn.Identity(), data, ignore_index=ignore_index)
    (_, targets), *_ = task.batches("finetune")
    assert targets is not None
    assert set(targets.flatten().tolist()) == {-100 if ignore_index else 9}


# --- names

CALLED: dict[str, Any] = {
    "mse": "squared_error",
    "squared_error": "squared_error",
    "BCE": "binary_cross_entropy",
}


@pytest.mark.parametrize(
    "spec", [*CALLED, nn.MSELoss(), nn.functional.mse_loss, nn.MSELoss, nn.BCEWithLogitsLoss()]
)
def test_losses_by_what_people_call_them(spec: Any) -> None:
    task = Task(nn.Identity(), TensorDataset(randn(20, 3)), loss=spec)
    wanted = CALLED.get(spec) if isinstance(spec, str) else None
    kind = getattr(spec, "__name__", type(spec).__name__)
    assert task.loss is LOSSES.get(wanted or ("binary_cross_entropy" if "BCE" in kind else "squared_error"))


def test_torchs_own_loss_brings_the_label_that_it_ignores() -> None:
    task = Task(nn.Identity(), TensorDataset(randn(20, 3)), loss=nn.CrossEntropyLoss(ignore_index=7))  # type: ignore[arg-type]
    assert task.loss is CROSS_ENTROPY
    assert task.ignore_index == 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (nn.L1Loss(), r"one of cross_entropy, .*, got L1Loss\. squared_error is the nearest one"),
        (nn.BCELoss(), r"got BCELoss\. Let the model return logits"),
        (nn.CrossEntropyLoss(weight=torch.ones(3)), "CrossEntropyLoss without weight, got one with"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "without label_smoothing"),
        (3, "a ranksearch.Loss, or one of cross_entropy, .*, got int"),
        ("msee", "expected cross_entropy or"),
        (lambda outputs, targets: 0, "or one of cross_entropy"),
    ],
)
def test_other_losses_are_refused_with_the_names(spec: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Task(nn.Identity(), TensorDataset(randn(20, 3)), loss=spec)


# --- the loss checked against data and outputs


class Net(nn.Module):
    def __init__(self, after: Any = lambda y: y) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.after = nn.Linear(6, 8), nn.Linear(8, 4), after

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.after(self.last(self.first(x).relu()))
        return found


UNFIT: dict[str, tuple[Any, Any, str]] = {
    "numbers": (Net(), randn(60, 4), "For numbers, such as those of an image, take squared_error"),
    "yeses": (Net(), (randn(60, 4) > 0.5).float(), "For several yeses and noes take binary_cross_entropy"),
    "embeddings": (Net(), nn.functional.normalize(randn(60, 4), dim=1), "For embeddings take cosine"),
    "unit outputs": (
        Net(nn.functional.normalize),
        None,
        "vectors of length 1, as embeddings are. For embeddings",
    ),
    "classes last": (
        Net(lambda y: y[:, None].expand(-1, 7, -1) * torch.arange(1.0, 8)[:, None]),
        torch.zeros(60, 7, dtype=torch.long),
        "Where they are last, take token_cross_entropy",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_loss_that_does_not_fit_is_refused_before_the_search(name: str) -> None:
    import ranksearch

    model, targets, message = UNFIT[name]
    data = TensorDataset(randn(60, 6)) if targets is None else TensorDataset(randn(60, 6), targets)
    with pytest.raises(InputError, match=message):
        ranksearch.search(Task(model.eval(), data, calibration_size=24), 0.6)
