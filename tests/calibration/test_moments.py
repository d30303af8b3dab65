"""Second moments against values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ranksearch.calibration import Moments, kernel_error, patches, unfold_chunks, whiten
from ranksearch.calibration.moments import collect_moments
from ranksearch.calibration.patches import kernel_order
from ranksearch.errors import InputError, NonFiniteError
from ranksearch.networks import Factor, Reading, discover, kernel_of, one_tensor
from ranksearch.tasks import CROSS_ENTROPY
from ranksearch.tasks.losses import SQUARED_ERROR

CPU = torch.device("cpu")


def collected(model: nn.Module, inputs: torch.Tensor, batch: int = 8) -> dict[str, Moments]:
    layers = [layer for layer in discover(model, inputs[:1]) if layer.reason is None]
    batches = inputs.split(batch)
    return collect_moments(model, layers, batches, CROSS_ENTROPY, seed=0, device=CPU, temperature=1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": (2, 1), "stride": (2, 1), "dilation": (2, 1)},
        {"padding": 1, "stride": 2},
    ],
)
def test_unfolding_is_torchs_own(options: dict[str, int]) -> None:
    conv = nn.Conv2d(3, 4, 3, **options)  # type: ignore[arg-type]
    x = torch.randn(5, 3, 8, 9)
    (layer,) = discover(conv, x[:1])
    (rows,) = unfold_chunks(x, layer, torch.Generator(), positions=1000)
    unfold = {k: v for k, v in options.items() if k in ("padding", "stride", "dilation")}
    wanted = F.unfold(x, 3, **unfold)  # type: ignore[arg-type]
    torch.testing.assert_close(kernel_order(rows, layer).T, wanted.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize(("kind", "size"), [(nn.Conv1d, (9,)), (nn.Conv2d, (7, 8)), (nn.Conv3d, (4, 5, 4))])
def test_patches_times_kernel_are_the_outputs(
    kind: type, size: tuple[int, ...], padding: int | str, mode: str
) -> None:
    conv = kind(2, 3, 3, padding=padding, padding_mode=mode, bias=False)
    x = torch.randn(2, 2, *size)
    (layer,) = discover(conv, x[:1])
    rows = kernel_order(torch.cat(list(unfold_chunks(x, layer, torch.Generator(), positions=1000))), layer)
    outputs = conv(x).detach()
    torch.testing.assert_close(
        conv.weight.detach().flatten(1) @ rows.T, outputs.transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(3, 2), (4, 6, 3)),
        (nn.Linear(3, 2), (4, 6, 5, 3)),
        (nn.Conv1d(3, 2, 3, padding=1), (4, 3, 6)),
        (nn.Conv2d(3, 2, (1, 3), padding=(0, 1)), (4, 3, 6, 5)),
    ],
)
def test_padding_is_left_out(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Rows of masked positions are those that are missing."""
    x = torch.randn(shape)
    (layer,) = discover(module, x[:1])
    dims = 2 if x.dim() < 4 or layer.kind == "linear" else 3
    real = torch.rand(4, 6, 5)[(..., *[0] * (3 - dims))] > 0.4
    (every,) = unfold_chunks(x, layer, torch.Generator())
    (kept,) = unfold_chunks(x, layer, torch.Generator(), real=real)
    repeats = len(every) // real.numel()  # of a mask without the last axis
    assert torch.equal(kept, every[real.flatten().repeat_interleave(repeats)])


def test_positions_of_a_transposed_model_are_not_mistaken() -> None:
    """As many examples as positions, and the positions first."""

    x = torch.randn(6, 6, 3)
    linear = nn.Linear(3, 2)
    (layer,) = discover(nn.Sequential(linear), x[:1])
    seen = replace(layer, calls=(replace(layer.calls[0], in_size=(6, 1), out_size=(6, 1)),))
    (rows,) = unfold_chunks(x, seen, torch.Generator(), real=torch.rand(6, 6) > 0.5)
    assert rows.shape == (36, 3)


@pytest.mark.parametrize(
    ("module", "size"),
    [
        (nn.ConvTranspose1d(3, 4, 3, 2, padding=1, output_padding=1, dilation=2, bias=False), (7,)),
        (nn.ConvTranspose2d(3, 4, (3, 2), (2, 3), padding=(2, 1), output_padding=(1, 0), bias=False), (7, 5)),
        (nn.ConvTranspose3d(3, 4, (3, 2, 1), (2, 1, 2), bias=False), (4, 5, 3)),
    ],
)
def test_patches_of_a_transposed_convolution_times_its_kernel_are_the_outputs(
    module: nn.Module, size: tuple[int, ...]
) -> None:
    x = torch.randn(2, 3, *size)
    (layer,) = discover(module, x[:1])
    rows = kernel_order(torch.cat(list(unfold_chunks(x, layer, torch.Generator(), positions=10**4))), layer)
    outputs = module(x).detach()
    torch.testing.assert_close(
        kernel_of(module, "").flatten(1) @ rows.T, outputs.transpose(0, 1).flatten(1), rtol=1e-4, atol=1e-5
    )


class _Tokens(nn.Module):
    """Vectors of indices added up, of which 3 never comes and 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(4, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.tokens(ids) * (ids > 0)[..., None]).sum(1)


IDS = torch.tensor([[1, 2, 0], [1, 1, 2], [2, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("masked", [False, True])
def test_moments_of_a_lookup_are_how_often_each_index_comes(masked: bool) -> None:
    output = Reading(mask=lambda ids: ids > 0) if masked else one_tensor
    model = _Tokens()
    layers = discover(model, IDS)
    batches = IDS.split(2)
    found = collect_moments(model, layers, batches, SQUARED_ERROR, seed=3, device=CPU, output=output)[
        "tokens"
    ]
    counts = torch.tensor([0, 5, 3, 0] if masked else [4, 5, 3, 0]).double()
    torch.testing.assert_close(found.A, counts / counts.sum())
    assert (found.patches, found.samples) == (int(counts.sum()), 4)
    distinct = 2 if masked else 3
    unseen = distinct / (distinct + found.patches)
    torch.testing.assert_close(found.shrunk()[0], (1 - unseen) * found.A + unseen / 4)
    twice = found.merged(found)
    torch.testing.assert_close(twice.A, found.A)
    assert twice.patches == 2 * found.patches


def test_a_diagonal_stands_for_a_diagonal_matrix() -> None:
    kernel, G = torch.randn(5, 7), torch.cov(torch.randn(5, 20)).double()
    other, shares = torch.randn(5, 7), torch.rand(7).double()
    whole = whiten(kernel, torch.diag(shares), G)
    own = whiten(kernel, shares, G)
    chain = (Factor(7, 2), Factor(2, 5))
    factors = [torch.randn(2, 7), torch.randn(5, 2)]
    assert own.scale == pytest.approx(whole.scale)
    assert own.error(chain, own.from_layer(chain, factors)) == pytest.approx(
        whole.error(chain, whole.from_layer(chain, factors)), rel=1e-4
    )
    assert kernel_error(kernel, other, shares, G) == pytest.approx(
        kernel_error(kernel, other, torch.diag(shares), G)
    )


def test_both_moments_by_hand() -> None:
    """Squared error, so that g = outputs − sampled targets is the drawn noise itself."""
    model = nn.Linear(3, 2)
    x = torch.randn(40, 3)
    (layer,) = discover(model, x[:1])
    found = collect_moments(model, [layer], [x], SQUARED_ERROR, seed=3, device=CPU)[""]
    noise = torch.randn((40, 2), generator=torch.Generator().manual_seed(3)).double()
    torch.testing.assert_close(found.A, x.double().T @ x.double() / 40, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.G, noise.T @ noise / 40, rtol=1e-4, atol=1e-5)
    assert (found.samples, found.patches) == (40, 40)


def test_gradient_moments_of_a_hidden_layer_is_autograds() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3 * 16, 4))
    x = torch.randn(16, 2, 6, 6)
    found = collected(model, x)["0"]
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(3, 3)
    for batch in x.split(8):
        hidden = model[0](batch).detach().requires_grad_()
        outputs = model[3](F.relu(hidden).flatten(1))
        targets = torch.multinomial(outputs.detach().softmax(1), 1, generator=generator)[:, 0]
        (gradient,) = torch.autograd.grad(F.cross_entropy(outputs, targets, reduction="sum"), hidden)
        rows = gradient.transpose(0, 1).flatten(1)
        total += rows @ rows.T
    torch.testing.assert_close(found.G.float(), total / 16, rtol=1e-4, atol=1e-7)


def test_temperature_by_hand() -> None:
    """A single Linear: g = softmax(outputs / T) − sampled class."""
    torch.manual_seed(0)
    model, x = nn.Linear(3, 4), torch.randn(30, 3)
    (layer,) = discover(model, x[:1])
    found = collect_moments(model, [layer], [x], CROSS_ENTROPY, seed=5, device=CPU, temperature=2.0)[""]
    softened = (model(x).detach() / 2).softmax(1)
    drawn = torch.multinomial(softened, 1, generator=torch.Generator().manual_seed(5))[:, 0]
    rows = (softened - F.one_hot(drawn, 4)).double()
    torch.testing.assert_close(found.G, rows.T @ rows / 30, rtol=1e-5, atol=1e-7)


def test_the_model_is_not_touched_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.Linear(48, 4)
    ).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(16, 2, 6, 6)
    whole = collected(model, x)
    monkeypatch.setattr(patches, "_CHUNK_BYTES", 2000)
    pieces = collected(model, x)
    for name in whole:
        torch.testing.assert_close(whole[name].A, pieces[name].A, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(whole[name].G, pieces[name].G)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_many_positions_are_sampled_without_bias() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(64, 2, 20, 20, generator=torch.Generator().manual_seed(1))
    (layer,) = discover(conv, x[:1])
    rows = kernel_order(torch.cat(list(unfold_chunks(x, layer, torch.Generator().manual_seed(0)))), layer)
    assert rows.shape == (64 * patches.POSITIONS, 18)
    wanted = F.unfold(x, 3, padding=1).transpose(0, 1).flatten(1)
    torch.testing.assert_close(
        rows.T @ rows / len(rows), wanted @ wanted.T / wanted.shape[1], rtol=0, atol=0.11
    )


def test_products_of_many_rows_are_added_up_in_blocks() -> None:
    rows = torch.randn(50, 300)
    sums = torch.zeros(300, 300, dtype=torch.float64)
    for part in rows.split(20):
        patches.add_square(sums, part)
    torch.testing.assert_close(patches.symmetric(sums), (rows.T @ rows).double(), rtol=1e-4, atol=1e-4)


def test_a_kernel_is_whitened_once_by_the_same_moments() -> None:
    A, G = torch.eye(4, dtype=torch.float64) * 2, torch.eye(3, dtype=torch.float64)
    moments, kernel = Moments(A, G, 10, 10), torch.randn(3, 4)
    found = moments.whitened(kernel)
    assert torch.equal(found.kernel, whiten(kernel, *moments.shrunk()).kernel)
    assert moments.whitened(kernel.clone()) is found
    with torch.no_grad():
        kernel[0, 0] += 1
    other = moments.whitened(kernel)
    assert torch.equal(other.kernel, whiten(kernel, *moments.shrunk()).kernel)


def test_a_layer_called_twice_adds_up() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(torch.tanh(self.layer(x)))

    model, x = Twice(), torch.randn(8, 4)
    found = collected(model, x)["layer"]
    second = torch.tanh(model.layer(x)).detach()
    wanted = (x.T @ x + second.T @ second) / 16
    torch.testing.assert_close(found.A.float(), wanted, rtol=1e-4, atol=1e-6)
    assert found.patches == 16


def test_non_finite_activations_name_the_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = float("inf")
    with pytest.raises(NonFiniteError, match=r"layer 1: expected finite inputs .* `ignore`"):
        collected(model, torch.ones(4, 3))


def test_a_model_that_says_the_same_of_all_inputs_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    nn.init.zeros_(model[1].weight)
    with pytest.raises(InputError, match=r"got the same ones for all 7.*`weights`"):
        collected(model, torch.randn(7, 4), batch=5)


def test_shrinkage_makes_singular_moments_definite() -> None:
    x = torch.randn(3, 10).double()
    x[:, 4] = 0  # a dead input
    raw = Moments(x.T @ x / 3, torch.zeros(2, 2, dtype=torch.float64), 3, 3)
    A, G = raw.shrunk()
    assert float(torch.linalg.eigvalsh(A)[0]) > 0
    assert float(torch.linalg.eigvalsh(G)[0]) > 0
    weight = 10 / 13
    torch.testing.assert_close(A[0, 1], (1 - weight) * raw.A[0, 1])
    torch.testing.assert_close(A[0, 0], raw.A[0, 0] + 1e-4 * raw.A.diagonal().mean())
