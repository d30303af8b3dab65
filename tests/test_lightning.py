"""docs/lightning.md, carried out with the real package: what comes back is the user's LightningModule, and trains."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

import ranksearch

lightning = pytest.importorskip("lightning", reason="Lightning is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # Lightning's own, of workers, loggers and deprecated parts of torch

PAGE = (Path(__file__).parent.parent / "docs" / "lightning.md").read_text(encoding="utf-8")
CLASS, CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A trained model and its data; what a checkpoint needs is in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classifier.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "classifier", raising=False)
    names: dict[str, Any] = {}
    exec("from classifier import Classifier", names)
    torch.manual_seed(0)
    targets = torch.arange(160) % 4
    images = torch.randn(160, 3, 6, 6) + targets[:, None, None, None] / 2
    model = names["Classifier"](width=12, lr=1e-2)
    train = TensorDataset(images, targets)
    loader = torch.utils.data.DataLoader(train, batch_size=32)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    lightning.Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, **quiet).fit(model, loader)
    return {"model": model, "train": train, "kind": names["Classifier"]}


def test_the_page(given: dict[str, Any], tmp_path: Path) -> None:
    model, before = given["model"], {k: v.clone() for k, v in given["model"].state_dict().items()}
    exec(compile(CODE, "lightning.md", "exec"), given)
    small, trainer = given["small"], given["trainer"]
    assert type(small) is given["kind"]
    assert (small.hparams.width, small.hparams.lr) == (12, 1e-4)
    assert model.hparams.lr == 1e-2, "the copy's are its own"
    (group,) = trainer.optimizers[0].param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in small.parameters()}
    assert group["lr"] == 1e-4
    assert trainer.global_step == 2 * 5
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    # Factorised, trained, and not at the expense of the dense model.
    count = sum(p.numel() for p in small.parameters())
    assert count == given["result"].plan.cost.params <= 0.5 * sum(p.numel() for p in model.parameters())
    untrained = ranksearch.compress(given["task"], given["result"], epochs=0).model.state_dict()
    assert untrained.keys() == small.state_dict().keys()
    assert any(not torch.equal(untrained[k], v) for k, v in small.state_dict().items())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_checkpoint_comes_back_as_the_page_says(given: dict[str, Any], tmp_path: Path) -> None:
    exec(compile(CODE, "lightning.md", "exec"), given)
    small, trainer, task = given["small"], given["trainer"], given["task"]
    trainer.save_checkpoint("last.ckpt")
    ranksearch.save("small", task, given["result"], ranksearch.compress(task, given["result"], epochs=0))
    again = ranksearch.load("small", given["model"])
    again.load_state_dict(torch.load("last.ckpt", weights_only=True)["state_dict"])
    assert type(again) is given["kind"]
    images = task.inputs("divergence")
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(images), small.eval()(images))
