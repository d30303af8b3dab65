"""`package.module:name` and `file.py:name` to objects: the user's own models, data, metrics and losses."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from ranksearch.errors import InputError, expected, told


def close_match(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?`, or nothing where no known word is close."""
    found = nearest(word, known)
    return "" if found is None else f"Did you mean {found!r}?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is closest, None where none is close; case does not count."""
    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return by_fold[found[0]] if found else None


def check_source(option: str, spec: str, known: Iterable[str], base: Path | None = None) -> None:
    """Raise InputError for `SOURCE:…` where the source is nearly a known one, and no module of that name is there."""
    source, _, rest = spec.partition(":")
    known = tuple(known)
    near = nearest(source, known) if source.isidentifier() and source not in known else None
    if (
        near is None
        or ((base or Path()) / f"{source}.py").is_file()
        or importlib.util.find_spec(source) is not None
    ):
        return
    wanted = f"a source, {', '.join(known)}, or a module or file"
    raise InputError(expected(option, wanted, repr(spec), f"Did you mean '{near}:{rest}'?"))


def load_object(spec: str, *, option: str, base: Path | None = None) -> Any:
    """The object that `package.module:name` or `path/file.py:name` names.

    Relative paths start at `base` (default: the working directory), which is also looked into for modules,
    after everything that is installed. Raises InputError that names `option`.
    """
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise InputError(expected(option, "package.module:name or path/file.py:name", repr(spec)))
    base = (base or Path()).resolve()
    if where.endswith(".py") or "/" in where or os.sep in where:
        module = _from_file(base / Path(where).expanduser(), option)
    else:
        module = _from_name(where, option, base)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            raise InputError(
                expected(option, f"a name defined in {where}", repr(part), close_match(part, public))
            )
        found = getattr(found, part)
    return found


def _search_in(folder: Path) -> None:
    """Let modules beside the user's own be imported, without shadowing what is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


class _FromSource(SourceFileLoader):
    """Never takes bytecode from a cache, nor leaves any: that of a file that is mended within a second, to the same
    length, would be taken for that of the new one."""

    def path_stats(self, path: str | bytes) -> Mapping[str, Any]:
        raise OSError("no bytecode wanted")


def _from_file(path: Path, option: str) -> ModuleType:
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise InputError(
            expected(option, "an existing Python file", str(path), close_match(path.name, siblings))
        )
    path = path.resolve()
    # A name of its own per file: imported once, and functions of it can be pickled by data loader workers.
    module_name = f"_ranksearch_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    _search_in(path.parent)
    module_spec = importlib.util.spec_from_file_location(
        module_name, path, loader=_FromSource(module_name, str(path))
    )
    if module_spec is None or module_spec.loader is None:
        raise InputError(expected(option, "a Python file (.py)", str(path)))
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise InputError(expected(option, f"a file that can be imported ({path})", told(error))) from error
    return module


def _from_name(name: str, option: str, base: Path) -> ModuleType:
    _search_in(base)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                expected(option, f"a module that can be imported ({name})", told(error))
            ) from error
        parent, _, last = error.name.rpartition(".")
        way_out = close_match(last, _submodules(parent, base))
        raise InputError(
            expected(option, "a module, installed or in the working directory", repr(error.name), way_out)
        ) from error
    except Exception as error:
        raise InputError(expected(option, f"a module that can be imported ({name})", told(error))) from error


def _submodules(parent: str, base: Path) -> list[str]:
    if not parent:
        local = [p.stem for p in base.glob("*.py")] + [p.parent.name for p in base.glob("*/__init__.py")]
        return [*local, *sys.stdlib_module_names, *{name.partition(".")[0] for name in sys.modules}]
    paths = getattr(sys.modules.get(parent), "__path__", ())
    return [p.stem for path in paths for p in Path(path).iterdir() if p.suffix == ".py" or p.is_dir()]
