from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from ranksearch.errors import InputError
from ranksearch.objects import load_object


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_from_file_relative_to_base(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "own.py", "def make():\n    return 41\n")
    assert load_object("own.py:make", option="--model", base=tmp_path / "sub")() == 41
    assert load_object("sub/own.py:make", option="--model")() == 41


def test_file_is_imported_once(tmp_path: Path) -> None:
    write(tmp_path / "own.py", "class A: pass\n")
    assert load_object("own.py:A", option="x") is load_object(f"{tmp_path}/own.py:A", option="x")


def test_functions_of_files_can_be_pickled(tmp_path: Path) -> None:
    write(tmp_path / "own.py", "def make():\n    return 41\n")
    make = load_object("own.py:make", option="x")
    assert pickle.loads(pickle.dumps(make)) is make


def test_file_imports_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "neighbour_of_own.py", "VALUE = 7\n")
    write(tmp_path / "deep" / "own.py", "from neighbour_of_own import VALUE\n")
    assert load_object("deep/own.py:VALUE", option="x") == 7


def test_module_in_working_directory(tmp_path: Path) -> None:
    write(tmp_path / "pkg_for_test" / "__init__.py", "")
    write(tmp_path / "pkg_for_test" / "inner.py", "class A:\n    f = 5\n")
    try:
        assert load_object("pkg_for_test.inner:A.f", option="x") == 5
    finally:
        for name in ("pkg_for_test", "pkg_for_test.inner"):
            sys.modules.pop(name, None)


def test_installed_modules_are_not_shadowed(tmp_path: Path) -> None:
    write(tmp_path / "json.py", "loads = None\n")
    assert callable(load_object("json:loads", option="x"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", "--loss: expected package.module:name or path/file.py:name, got 'nothing'"),
        (":x", "expected package.module:name"),
        ("own.py:mkae", "a name defined in own.py, got 'mkae'. Did you mean 'make'?"),
        ("own.py:make.depth", "a name defined in own.py, got 'depth'"),
        ("onw.py:make", "Did you mean 'own.py'?"),
        ("torch.nnn:Linear", "got 'torch.nnn'. Did you mean 'nn'?"),
        ("surely_not_there.x:y", "got 'surely_not_there'"),
        ("broken.py:x", "ZeroDivisionError"),
        ("needs.py:x", "No module named 'surely_not_installed'"),
        (
            "needs_module:x",
            "can be imported (needs_module), got ModuleNotFoundError: No module named 'surely",
        ),
    ],
)
def test_errors_name_option_and_way_out(tmp_path: Path, spec: str, message: str) -> None:
    write(tmp_path / "own.py", "def make():\n    return 41\n")
    write(tmp_path / "broken.py", "x = 1 / 0\n")
    write(tmp_path / "needs.py", "import surely_not_installed\n")
    write(tmp_path / "needs_module.py", "import surely_not_installed\n")
    with pytest.raises(InputError) as error:
        load_object(spec, option="--loss")
    assert str(error.value).startswith("--loss: expected")
    assert message in str(error.value)


def test_a_broken_file_is_read_again_once_mended(tmp_path: Path) -> None:
    path = write(tmp_path / "own.py", "x = 1 / 0\n")
    with pytest.raises(InputError):
        load_object("own.py:x", option="x")
    path.write_text("x = 12345\n")
    assert load_object("own.py:x", option="x") == 12345
