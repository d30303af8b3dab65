from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ranksearch.costs import Kept
from ranksearch.errors import InputError, MismatchError
from ranksearch.runs import RunOptions, load_options, write_toml
from ranksearch.runs.config import MEANS_NONE, absolute, check_same, parse, read_toml
from ranksearch.runs.options import PANELS


def test_texts_of_the_command_line_are_parsed() -> None:
    options = load_options(
        {
            "budget": ["0.5, 0.3", "0.2", "0.50"],
            "decompositions": ["svd,cp", "svd"],
            "ignore": ["conv1,fc", "layer4.*"],
            "rank_multiple": ["8", "layer1.*=4"],
            "input_size": "3x224x224",
            "mean": "0.1,0.2,0.3",
            "std": "0.5",
            "n_trials": "7",
            "lr": "3e-4",
            "timeout": None,
        }
    )
    assert [kept.name for kept in options.budget] == ["0.5", "0.3", "0.2"]
    assert options.decompositions == ("svd", "cp")
    assert options.ignore == ("conv1", "fc", "layer4.*")
    assert options.rank_multiple == (("*", 8), ("layer1.*", 4))
    assert options.input_size == (3, 224, 224)
    assert (options.mean, options.std) == ((0.1, 0.2, 0.3), (0.5,))
    assert (options.n_trials, options.lr, options.timeout) == (7, 3e-4, None)


OTHER: dict[str, Any] = {
    "model": "torchvision:resnet18",
    "weights": "/w.pt",
    "weights_entry": "ema",
    "num_classes": 3,
    "ignore": ["a", "b.*"],
    "data": "imagefolder:/d",
    "input_size": [1, 2, 3],
    "mean": [0.5, 0.25],
    "std": [0.125],
    "crop_pct": 0.5,
    "interpolation": "bicubic",
    "val_split": 0.25,
    "test_split": 0.0,
    "split_seed": 4,
    "calibration_size": 5,
    "metric_fn": "a.b:c",
    "output": "decoder.logits",
    "mask": "attention_mask",
    "pool": "mean",
    "collate": "a.b:pad",
    "ignore_index": 255,
    "loss": "a.b:d",
    "batch_size": 6,
    "loader_workers": 7,
    "workers": 3,
    "artifacts": "/elsewhere/artifacts",
    "storage_timeout": 7.5,
    "cache": "/elsewhere/cache",
    "budget": [0.5, 0.25, "54k"],
    "limit": ["flops=0.5", "params=54k"],
    "budget_of": "blocks",
    "metric": "flops",
    "runtime": "onnxruntime",
    "latency_batch": 8,
    "decompositions": ["cp"],
    "min_rank": 2,
    "rank_multiple": ["8", "x=y=4"],
    "allocator": "alds",
    "protect_early": "4=2.5",
    "probe": "/p",
    "space": "ranks",
    "sampler": "random",
    "objective": "ordered",
    "n_trials": 0,
    "timeout": 1.5,
    "refit_trials": 3,
    "finetune_trials": 1,
    "finetune_steps": 2,
    "storage": "sqlite:////s.db",
    "study_name": "s",
    "recipe": "thorough",
    "match_epochs": 3,
    "epochs": 0,
    "rounds": 3,
    "lr": 0.5,
    "label_weight": 0.75,
    "augment": True,
    "max_drop": 0.5,
    "accept": ["top1>=0.86", "a.b:c<=54k"],
    "export": ["onnx", "a.b:c"],
    "track": ["mlflow", "a.b:c"],
    "quantize": "int8",
    "quantize_tolerance": 0.5,
    "out": "/o",
    "resume": True,
    "trust": True,
    "seed": 8,
    "device": "cuda:1",
    "threads": 9,
    "quiet": True,
    "verbose": True,
}


def test_every_option_is_known_to_these_tests() -> None:
    assert set(OTHER) == set(RunOptions.model_fields)


@pytest.mark.parametrize("name", RunOptions.model_fields)
def test_every_option_survives_toml(name: str, tmp_path: Path) -> None:
    options = parse({name: OTHER[name]})
    assert getattr(options, name) != getattr(RunOptions(), name)
    if name == "trust":  # is asked for each time
        assert "trust" not in write_toml(options)
        return
    path = tmp_path / "c.toml"
    path.write_text(write_toml(options), encoding="utf-8")
    assert parse(read_toml(path)) == options


@pytest.mark.parametrize("name", RunOptions.model_fields)
def test_every_option_is_described_in_a_panel(name: str) -> None:
    field = RunOptions.model_fields[name]
    assert field.description
    assert field.description.endswith(".")
    assert isinstance(field.json_schema_extra, dict)
    assert field.json_schema_extra["panel"] in PANELS
    assert field.annotation is bool or field.json_schema_extra["metavar"]


def test_single_values_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("budget = 0.2\nrank-multiple = 8\ninput-size = 32\nmean = 0.5\nignore = 'fc'\n")
    options = load_options({}, path)
    assert options.budget == (Kept(fraction=0.2),)
    assert options.rank_multiple == (("*", 8),)
    assert options.input_size == (32,)
    assert options.mean == (0.5,)
    assert options.ignore == ("fc",)


def test_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("budget = 0.2\nseed = 3\n")
    options = load_options({"seed": "4", "metric": None}, path)
    assert (options.budget, options.seed, options.metric) == ((Kept(fraction=0.2),), 4, "params")


def test_a_recipe_counts_where_it_is_given(tmp_path: Path) -> None:
    """Options that are given beside it go before it, and it goes before those that lie under it."""
    path = tmp_path / "c.toml"
    path.write_text("epochs = 3\nlr = 0.1\n")
    found = load_options({"recipe": "thorough", "lr": "0.2"}, path)
    assert (found.epochs, found.lr, found.augment) == (30, 0.2, True)
    path.write_text('recipe = "thorough"\nepochs = 3\n')
    assert (load_options({}, path).epochs, load_options({"epochs": "5"}, path).epochs) == (3, 5)
    of_plan = RunOptions().model_dump(mode="json", exclude_none=True) | {"epochs": 2}
    assert load_options({"recipe": "thorough"}, under=of_plan, under_name="plan.json").epochs == 30
    assert RunOptions(recipe="thorough").epochs == 30


NULLABLE = [name for name, field in RunOptions.model_fields.items() if field.default in (None, ())]


@pytest.mark.parametrize("name", sorted({*NULLABLE} - MEANS_NONE))
def test_none_takes_back_what_is_underneath(name: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(write_toml(parse({name: OTHER[name]})), encoding="utf-8")
    assert getattr(load_options({}, path), name) == getattr(parse({name: OTHER[name]}), name)
    for none in ("none", ["none"]):
        assert load_options({name: none}, path) == RunOptions()
    path.write_text(f"{name} = 'none'\n", encoding="utf-8")
    under = {"loader_workers": 0, name: OTHER[name]}  # as a run of this version has written it
    assert load_options({"trust": True}, path, under=under) == RunOptions(trust=True)


def test_none_that_is_a_value_stays_one() -> None:
    options = load_options({"weights": "none", "cache": "none"})
    assert (options.weights, options.cache) == (Path("none"), Path("none"))


def test_resume_without_a_folder_by_none() -> None:
    with pytest.raises(InputError, match="--resume: expected --out DIR"):
        load_options({"resume": True, "out": "none"})


def test_paths_are_relative_to_where_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "study" / "c.toml"
    path.parent.mkdir()
    path.write_text(
        "model = 'net.py:make'\nweights = 'w.pt'\ndata = 'imagefolder:images'\n"
        "metric_fn = '../metric.py:fn'\nstorage = 'sqlite:///s.db'\nout = '/abs/out'\n"
    )
    options = load_options({"weights": "w2.pt", "loss": "loss.py:L"}, path)
    study = str(path.parent)
    assert options.model == f"{study}/net.py:make"
    assert options.data == f"imagefolder:{study}/images"
    assert options.metric_fn == f"{study}/../metric.py:fn"
    assert options.storage == f"sqlite:///{study}/s.db"
    assert str(options.out) == "/abs/out"
    assert str(options.weights) == f"{tmp_path}/here/w2.pt"
    assert options.loss == f"{tmp_path}/here/loss.py:L"


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("model", "digits", "digits"),
        ("model", "torchvision:resnet18", "torchvision:resnet18"),
        ("model", "torchvision:resnet18:num_classes=3", "torchvision:resnet18:num_classes=3"),
        ("model", "pkg.mod:make", "pkg.mod:make"),
        ("model", "/a/net.py:make", "/a/net.py:make"),
        ("data", "torchvision:FashionMNIST:d", "torchvision:FashionMNIST:/base/d"),
        ("data", "imagefolder:/d", "imagefolder:/d"),
        ("data", "digits", "digits"),
        ("loss", "cross_entropy", "cross_entropy"),
        ("weights", "none", "none"),
        ("storage", "s.jsonl", "/base/s.jsonl"),
        ("storage", "sqlite:////s.db", "sqlite:////s.db"),
        ("storage", "sqlite:///:memory:", "sqlite:///:memory:"),
        ("storage", "postgresql://u@h/db", "postgresql://u@h/db"),
    ],
)
def test_absolute(key: str, value: str, wanted: str) -> None:
    assert absolute({key: value}, Path("/base")) == {key: wanted}
    assert absolute({key: wanted}, Path("/elsewhere")) == {key: wanted}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "1.5"}, "--budget: expected a fraction to keep (0.2), a percentage (20%), an amount"),
        ({"budget": "0"}, "above 0 and at most 1, got '0'."),
        ({"budget": "nan"}, "--budget: expected"),
        ({"budget": "half"}, "--budget: expected a fraction to keep"),
        ({"budget": "20"}, "(did you mean 20%?), got '20'."),
        ({"limit": "flops=x"}, "--limit: expected a fraction to keep"),
        ({"seed": "1.5"}, "--seed: expected a valid integer"),
        ({"rank_multiple": ["x=0"]}, "--rank-multiple: expected a number greater than or equal to 1"),
        ({"rank_multiple": ["x"]}, "--rank-multiple: expected a valid integer"),
        ({"input_size": "1,2,3,4"}, "--input-size: expected at most 3 values"),
        ({"val_split": "1"}, "--val-split: expected a number less than 1"),
        ({"decompositions": ","}, "--decompositions: expected at least 1 value"),
        ({"resume": True}, "--resume: expected --out DIR"),
    ],
)
def test_errors_name_the_option(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        load_options(given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bugdet = 0.2", "c.toml: expected known options, got 'bugdet'. Did you mean 'budget'?"),
        ("[search]\nseed = 1", "c.toml: expected known options, got 'search'."),
        ("seed = -1", "seed in c.toml: expected a number greater than or equal to 0, got -1."),
        ("seed =", "--config: expected valid TOML"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_options({}, path)
    assert message in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--config: expected a TOML file that can be read"):
        load_options({}, tmp_path / "c.toml")


def test_a_plan_from_before_loader_workers_were_called_so() -> None:
    found = load_options({}, under={"workers": 0, "seed": 3}, under_name="plan.json")
    assert (found.loader_workers, found.workers, found.seed) == (0, None, 3)
    assert load_options({}, under={"workers": 2, "loader_workers": 0}, under_name="p").workers == 2


FREE = {"out", "resume", "trust", "quiet", "verbose", "timeout", "loader_workers", "cache"} | {
    *("workers", "artifacts", "storage_timeout"),
    *("accept", "export", "quantize", "quantize_tolerance", "track"),
}


@pytest.mark.parametrize("name", RunOptions.model_fields)
def test_only_options_that_decide_nothing_may_change_on_resume(name: str) -> None:
    stored, given = RunOptions(), parse({name: OTHER[name]})
    if name in FREE:
        check_same(stored, given, Path("runs/a"))
    else:
        with pytest.raises(MismatchError, match=f"--{name.replace('_', '-')} "):
            check_same(stored, given, Path("runs/a"))


def test_refusal_shows_both_values() -> None:
    with pytest.raises(MismatchError) as error:
        check_same(parse({"budget": "0.5,0.2"}), parse({"budget": "0.5", "seed": 3}), Path("runs/a"))
    assert str(error.value).startswith(
        "--resume of runs/a: expected --budget 0.5,0.2, --seed 0, as it was started, got --budget 0.5, --seed 3."
    )


def test_resume_takes_what_is_not_given_from_the_run(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("budget = [0.2]\nseed = 5\n")
    options = load_options({"resume": True, "out": str(tmp_path), "seed": "6"})
    assert (options.budget, options.seed) == ((Kept(fraction=0.2),), 6)


def test_neither_options_nor_help_import_torch() -> None:
    code = (
        "import sys, ranksearch.cli, ranksearch.runs; ranksearch.runs.load_options; "
        "sys.exit(bool({'torch', 'optuna', 'torchvision', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
