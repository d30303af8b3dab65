"""Plans for MUSCO, carried out by MUSCO. It needs an older NumPy than ranksearch, and so a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from ranksearch.interchange import PLAN_EXPORTERS, PlanExport, export_plan_file
from ranksearch.testing.plan_exporters import CASES, MODELS, made_up_plan

PYTHON = os.environ.get("RANKSEARCH_MUSCO", "")

CARRY_OUT = """
import json, os, pathlib, torch
# Its CP calls this, which torch has had no longer since 1.13.
torch.solve = lambda b, a: (torch.linalg.solve(a, b), None)
from musco.pytorch.compressor.decompositions import cp3, cp4
for module in (cp3, cp4):  # 5,000 sweeps take minutes, and change no shape
    module.parafac = lambda *a, kept=module.parafac, **k: kept(*a, **{**k, "n_iter_max": 2})
os.chdir(pathlib.Path(__file__).parent)
for path in sorted(pathlib.Path().glob("*.pt")):
    dense, example = torch.load(path, weights_only=False)
    names = {"model": dense}
    exec(pathlib.Path(path.stem + ".py").read_text(), names)
    made = names["model"].eval()
    sizes = {name: sum(p.numel() for p in m.parameters()) for name, m in made.named_modules()}
    found = {"sizes": sizes, "total": sizes[""], "shape": list(made(example).shape)}
    pathlib.Path(path.stem + ".found.json").write_text(json.dumps(found))
"""


@pytest.mark.skipif(not PYTHON, reason="RANKSEARCH_MUSCO does not name a Python that has musco-pytorch")
def test_musco_makes_the_same_of_it(tmp_path: Path) -> None:
    """As many parameters in every layer and in the whole model, and outputs of the same shape."""
    exporter, told = PLAN_EXPORTERS.get("musco"), dict[str, tuple[PlanExport, list[int]]]()
    for inputs, decomposition, form in CASES:
        torch.manual_seed(0)
        model, example = MODELS[inputs]()
        stem = f"{inputs}-{decomposition}-{form}"
        plan = made_up_plan(model, example, decomposition, form)
        found = export_plan_file(plan, exporter, tmp_path / f"{stem}.json")
        (tmp_path / f"{stem}.py").write_text(exporter.usage(f"{stem}.json"))
        torch.save((model, example), tmp_path / f"{stem}.pt")
        told[stem] = found, list(model(example).shape)
    script = tmp_path / "carry_out.py"
    script.write_text(CARRY_OUT)
    subprocess.run([PYTHON, "-W", "ignore", str(script)], check=True, capture_output=True)
    expressed = {stem for stem, (found, _) in told.items() if found.ranks}
    of_images = {f"images-{way}" for way in ("svd-", "tucker2-", "cp-joint", "cp-axes")}
    assert expressed == {*of_images, "sequences-svd-"}
    for stem, (found, shape) in told.items():
        there = json.loads((tmp_path / f"{stem}.found.json").read_text())
        assert there["total"] == found.total, stem
        assert there["shape"] == shape, stem
        assert {name: there["sizes"][name] for name in found.params} == found.params, stem


def test_every_layer_has_a_rank_or_none() -> None:
    """MUSCO chooses a rank by itself for layers that are not named."""
    model, example = MODELS["images"]()
    plan = made_up_plan(model, example, "tucker2")
    found = PLAN_EXPORTERS.get("musco").content(
        plan, {"0": {"decomposition": "tucker2", "ranks": [4, 2]}}, ()
    )
    assert found["ranks"]["0"] == [4, 2]
    assert found["ranks"]["8"] is None  # depthwise
