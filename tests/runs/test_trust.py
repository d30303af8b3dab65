"""What plans and folders from elsewhere may decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ranksearch.errors import InputError
from ranksearch.runs import RunOptions, load_options
from ranksearch.runs.trust import check_trusted
from ranksearch.tasks.sources import is_plain

RISKY: dict[str, Any] = {
    "model": "own.py:net",
    "data": "imagefolder:/d",
    "weights": "/w.pt",
    "cache": "/c",
    "artifacts": "/a",
    "out": "/o",
    "probe": "/p",
    "storage": "sqlite:////s.db",
    "metric": "package.module:OBJECT",
    "limit": ["flops=0.5", "own.py:COST=0.5"],
    "metric_fn": "a.b:c",
    "output": "own.py:pick",
    "mask": "own.py:mask",
    "collate": "a.b:pad",
    "loss": "own.py:LOSS",
    "allocator": "own.py:X",
    "objective": "own.py:X",
    "space": "own.py:X",
    "sampler": "own.py:X",
    "runtime": "own.py:X",
    "decompositions": ["svd", "own.py:X"],
    "accept": ["flips<=3%", "own.py:COST<=0.5"],
    "export": ["onnx", "own.py:X"],
    "track": ["mlflow", "own.py:X"],
}
"""Every option that can name code, or a place to read or write."""

HARMLESS: dict[str, Any] = {
    "model": "torchvision:resnet18:num_classes=10",
    "data": "digits",
    "weights": "none",
    "cache": "none",
    "metric": "flops",
    "budget_of": "encoder.*,blocks",
    "limit": ["flops=0.5"],
    "loss": "cross_entropy",
    "weights_entry": "model_ema",
    "output": "decoder.logits",
    "mask": "attention_mask",
    "metric_fn": "miou",
    "decompositions": ["svd", "cp"],
    "accept": ["top1>=0.86", "params<=54k"],
    "export": ["onnx"],
    "track": ["mlflow"],
    "seed": 3,
    "ignore": ["a:b"],
}


def test_every_option_that_can_hold_a_name_or_a_path_is_known_here() -> None:
    """A new option of that kind has to be thought about: it belongs among the risky or the harmless ones."""
    free = {
        "input_size",
        "mean",
        "std",
        "interpolation",
        "rank_multiple",
        "budget",
        "protect_early",
        "device",
    }
    texts = {
        name
        for name, field in RunOptions.model_fields.items()
        if "str" in str(field.annotation) or "Path" in str(field.annotation)
    }
    assert texts - {"study_name", *free} <= {*RISKY, *HARMLESS}


@pytest.mark.parametrize("name", RISKY)
def test_code_and_places_come_from_the_command_line(name: str) -> None:
    stored = {name: RISKY[name]}
    with pytest.raises(
        InputError, match=r"^plan\.json: expected options that name neither code nor files"
    ) as caught:
        load_options({}, under=stored, under_name="plan.json")
    assert f"`{name}=" in str(caught.value)
    assert getattr(load_options({"trust": True}, under=stored, under_name="p"), name) is not None
    given = load_options({name: RISKY[name]}, under=stored, under_name="p")  # the user's own word for it
    assert getattr(given, name) is not None


@pytest.mark.parametrize("name", HARMLESS)
def test_other_options_count_as_they_stand(name: str) -> None:
    check_trusted({name: HARMLESS[name]}, "plan.json")
    assert name in load_options({}, under={name: HARMLESS[name]}).model_fields_set


def test_no_file_can_ask_to_be_trusted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected options that name neither"):
        load_options({}, under={"trust": True, "weights": "/w.pt"}, under_name="plan.json")
    (tmp_path / "config.toml").write_text("trust = true\nmodel = 'own.py:net'\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected options that name neither"):
        load_options({"resume": True, "out": str(tmp_path)})
    with pytest.raises(InputError, match=r"trust in config\.toml: expected it on the command line alone"):
        load_options({}, tmp_path / "config.toml")


def test_nothing_is_imported_from_a_folder_to_resume(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    (tmp_path / "config.toml").write_text("budget = 0.5\nobjective = 'evil.py:X'\n", encoding="utf-8")
    with pytest.raises(InputError, match="`objective="):
        load_options({"resume": True, "out": str(tmp_path)})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("spec", "plain"),
    [
        ("digits", True),
        ("torchvision:resnet18", True),
        ("torchvision:resnet50:num_classes=10,width_per_group=128", True),
        ("torchvision:resnet50:replace_stride_with_dilation=[False, True, True]", True),
        ("timm:vit_tiny_patch16_224:img_size=(32, 32)", True),
        ("timm:resnet18:checkpoint_path='evil.pth'", False),
        ("timm:resnet18:pretrained=True", False),
        ("timm:resnet18:pretrained_cfg={'file': 'evil.pth'}", False),
        ("timm:resnet18:num_classes='evil'", False),
        ("torchvision:resnet18:weights='DEFAULT'", False),
        ("torchvision:resnet18:norm_layer=open", False),
        ("own.py:net", False),
        ("package.module:net", False),
    ],
)
def test_which_names_of_models_can_come_from_anyone(spec: str, plain: bool) -> None:
    assert is_plain(spec) == plain
