"""Models that are programs, or whose weights are elsewhere: a sentence each with the way out, in the shell and in
Python, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import Result

import ranksearch
from ranksearch.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what it means to do away with

INPUTS = torch.zeros(2, 3, 4, 4)


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


def compiled_part() -> nn.Module:
    made = plain()
    made[1] = torch.compile(made[1])
    return made


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear})


def for_quantisation() -> nn.Module:
    made = plain().train()
    made.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")
    return torch.ao.quantization.prepare_qat(made).eval()


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return plain()


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.Linear(8, 4))


SCRIPTED = "from torch.jit. Hand in the module that it was made of"
QUANTISED = "Compress the model before it is quantised"
PROGRAMS: dict[str, tuple[Callable[[], object], str]] = {
    "scripted": (lambda: torch.jit.script(plain()), SCRIPTED),
    "traced": (lambda: torch.jit.trace(plain(), INPUTS), SCRIPTED),
    "frozen": (lambda: torch.jit.freeze(torch.jit.script(plain())), SCRIPTED),
    "compiled": (lambda: torch.compile(plain()), "from torch.compile. Hand in its `_orig_mod`"),
    "compiled_part": (compiled_part, "1: expected a plain module, got one from torch.compile"),
    "exported": (
        lambda: torch.export.export(plain(), (INPUTS,)).module(),
        "Hand in the module that it was exp",
    ),
    "quantised": (quantised, QUANTISED),
    "for_quantisation": (for_quantisation, QUANTISED),
    "on_meta": (on_meta, "got ones on the meta device. Load its weights first"),
    "lazy": (lazy, "got lazy ones. Run the model once on real input"),
    "state": (lambda: plain().state_dict(), "Module, got OrderedDict"),
}
FACTORIES = {name: made for name, (made, _) in PROGRAMS.items()}


def data() -> dict[str, object]:
    dataset = TensorDataset(torch.randn(24, 3, 4, 4), torch.arange(24) % 4)
    return {"train": dataset, "test": dataset}


@pytest.mark.parametrize("name", PROGRAMS)
def test_python_refuses_it_at_once(name: str) -> None:
    make, message = PROGRAMS[name]
    with pytest.raises(InputError) as caught:
        ranksearch.Task(make(), data()["train"])  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_shell_refuses_it_in_a_line(name: str, invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "programs.py").write_text(
        f"import sys\ntests = sys.modules[{__name__!r}]\ndata, make = tests.data, tests.FACTORIES[{name!r}]\n"
    )
    model, source = (f"{tmp_path / 'programs.py'}:{what}" for what in ("make", "data"))
    layers = invoke("layers", "--model", model, "--input-size", "3,4,4")
    run = invoke("run", "--model", model, "--data", source, "--budget", "0.7", "--out", str(tmp_path / "run"))
    for result in (layers, run):
        assert result.exit_code == 2, result.output
        said = " ".join(result.stderr.split())
        assert said.count("error:") == 1
        assert PROGRAMS[name][1].partition(". ")[0] in said
        assert "Traceback" not in said


def test_what_is_compiled_in_place_is_a_plain_module(tmp_path: Path) -> None:
    made = plain()
    made.compile()
    task = ranksearch.Task(made, data()["train"])  # type: ignore[arg-type]
    assert ranksearch.search(task, 0.9, progress=False).plan.cost.params <= 0.9 * 852
