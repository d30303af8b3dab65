"""How close compressed sentence embeddings are to the dense ones, on sentences that no fit has seen.

    python embeddings.py runs DENSE TEXTS FOLDER…     delivered models
    python embeddings.py baselines DENSE TEXTS        truncated SVD, with and without whitening, at uniform ranks

An embedding is the mean of the last hidden states over the real positions. The baselines give every linear layer of
the encoder the rank that keeps the same share of its weights. `whitened` is the truncation of SVD-LLM (Wang et al.
2024, arXiv:2403.07378), from the first 1,024 sentences of TEXTS/train.txt: W S = U Σ Vᵀ, where S Sᵀ are the second
moments of the inputs.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

import ranksearch

KEPT = (0.7, 0.5, 0.3)
CALIBRATION = 1024
RIDGE = 1e-6


def batches(tokenizer: Any, lines: list[str]) -> Iterator[Mapping[str, Tensor]]:
    for k in range(0, len(lines), 128):
        yield tokenizer(
            lines[k : k + 128], padding=True, truncation=True, max_length=128, return_tensors="pt"
        )


@torch.no_grad()
def embeddings(model: nn.Module, tokenizer: Any, lines: list[str]) -> Tensor:
    """Unit vectors (N, D)."""
    found = []
    for inputs in batches(tokenizer, lines):
        hidden = model(**inputs).last_hidden_state
        real = inputs["attention_mask"][..., None].to(hidden.dtype)
        found.append((hidden * real).sum(1) / real.sum(1))
    return F.normalize(torch.cat(found), dim=-1)


@torch.no_grad()
def second_moments(model: nn.Module, tokenizer: Any, lines: list[str]) -> dict[str, Tensor]:
    """Σ x xᵀ of the inputs of the encoder's linear layers, over real positions, by name."""
    moments: dict[str, Tensor] = {}
    real = torch.empty(0, dtype=torch.bool)

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            x = args[0][real].double()
            moments[name] = moments.get(name, 0) + x.T @ x  # type: ignore[operator]

        return hook

    handles = [layer.register_forward_hook(note(name)) for name, layer in linears(model)]
    for inputs in batches(tokenizer, lines):
        real = inputs["attention_mask"].bool()
        model(**inputs)
    for handle in handles:
        handle.remove()
    return moments


def linears(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return [(name, layer) for name, layer in found if name.startswith("encoder.")]


@torch.no_grad()
def truncated(model: nn.Module, kept: float, moments: Mapping[str, Tensor] | None) -> nn.Module:
    """A copy with the weights of the encoder's linear layers cut to a rank, in the metric of the moments if given."""
    model = copy.deepcopy(model)
    for name, layer in linears(model):
        W = layer.weight.double()
        rank = max(1, int(kept * W.numel() / sum(W.shape)))
        S = torch.eye(W.shape[1], dtype=torch.float64)
        if moments is not None:
            A = moments[name]
            S = torch.linalg.cholesky(A + RIDGE * A.trace() / len(A) * torch.eye(len(A), dtype=A.dtype))
        U, values, V = torch.linalg.svd(W @ S, full_matrices=False)
        cut = (U[:, :rank] * values[:rank]) @ V[:rank]
        layer.weight.copy_(torch.linalg.solve_triangular(S, cut, upper=False, left=False))
    return model


def main(what: str, source: Path, texts: Path, folders: list[Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source)
    dense = AutoModel.from_pretrained(source).eval()
    lines = (texts / "test.txt").read_text().splitlines()
    wanted = embeddings(dense, tokenizer, lines)

    def show(name: str, model: nn.Module) -> None:
        cosine = (embeddings(model, tokenizer, lines) * wanted).sum(dim=-1)
        print(f"{name}: {cosine.mean():.4f} ± {cosine.std() / len(cosine) ** 0.5:.4f}", flush=True)

    if what == "runs":
        for folder in folders:
            show(str(folder), ranksearch.load(folder))
        return
    seen = (texts / "train.txt").read_text().splitlines()[:CALIBRATION]
    moments = second_moments(dense, tokenizer, seen)
    for kept in KEPT:
        show(f"svd {kept}", truncated(dense, kept, None))
        show(f"whitened {kept}", truncated(dense, kept, moments))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), [Path(each) for each in sys.argv[4:]])
