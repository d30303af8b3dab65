"""Whether what a run needs is there and works: packages, threads, the cache, a storage, data."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import torch
from packaging.requirements import Requirement

from ranksearch.cache import examine
from ranksearch.errors import InputError, RankSearchError, expected, told
from ranksearch.redaction import conceal, redact
from ranksearch.runs.config import load_options
from ranksearch.runs.options import RunOptions
from ranksearch.runs.settings import torch_threads
from ranksearch.runs.tasks import image_options, pick_cache, pick_device
from ranksearch.searching.studies import check_storage, quiet_optuna
from ranksearch.tasks.sources import load_data, look_through, text_options, wishes

FOR_DEVELOPERS = frozenset({"test", "studies", "dev"})
"""Extras that users do without."""


@dataclass(frozen=True)
class Check:
    """What was looked at. passed: None where there was nothing to look at. told: what was found, in one line."""

    name: str
    passed: bool | None
    told: str


def checks(given: Mapping[str, Any]) -> Iterator[Check]:
    """One check after the other, each as soon as it is known. given: options by name.

    Raises InputError for options that cannot be used together. What a check finds wrong is told in it.
    """
    options = load_options(given)
    yield _checked("installation", _installation)
    for extra in sorted({*metadata.metadata("ranksearch").get_all("Provides-Extra", [])} - FOR_DEVELOPERS):
        yield _checked(f"extra {extra}", partial(_extra, extra))
    yield _checked("threads", partial(_threads, options))
    yield _checked("device", lambda: str(pick_device(options.device)))
    yield _checked("cache", partial(_cache, options))
    yield _checked("storage", partial(_storage, options))
    yield _checked("data", partial(_data, options))


class _NothingToDoError(Exception):
    """There is nothing to check; the text says why."""


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except _NothingToDoError as reason:
        return Check(name, None, str(reason))
    except RankSearchError as error:
        return Check(name, False, str(error))
    except Exception as error:  # whatever it is, the other checks go on
        return Check(name, False, redact(told(error)))


def _requirements(extra: str) -> list[Requirement]:
    """What ranksearch requires, or, with an extra, what that adds."""
    every = [Requirement(text) for text in metadata.requires("ranksearch") or ()]
    if not extra:
        return [each for each in every if each.marker is None or each.marker.evaluate({"extra": ""})]
    return [each for each in every if each.marker is not None and _is_of(each, extra)]


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _versions(requirements: list[Requirement]) -> str:
    """The versions of what is required. Raises InputError for what is missing or of another version."""
    found = {}
    for each in requirements:
        try:
            found[each.name] = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            way_out = f"pip install {each.name}"
            raise InputError(
                expected(each.name, str(each.specifier) or "any version", "none", way_out)
            ) from None
        if not each.specifier.contains(found[each.name], prereleases=True):
            way_out = f"pip install --upgrade {each.name}"
            raise InputError(expected(each.name, str(each.specifier), found[each.name], way_out))
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _installation() -> str:
    own = f"ranksearch {metadata.version('ranksearch')}, Python {platform.python_version()}"
    return f"{own}, {_versions(_requirements(''))}"


def _extra(name: str) -> str:
    wanted = _requirements(name)
    installed = {each.metadata["Name"].lower().replace("_", "-") for each in metadata.distributions()}
    if not all(each.name.lower().replace("_", "-") in installed for each in wanted):
        raise _NothingToDoError(f"not installed: pip install 'ranksearch[{name}]'")
    return _versions(wanted)


def _threads(options: RunOptions) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with torch_threads(options):
        count = torch.get_num_threads()
    if count > cores:
        way_out = "Set `threads`, or the environment variable OMP_NUM_THREADS."
        raise InputError(expected("threads", f"at most {cores}, the cores of this process", count, way_out))
    return f"{count} of {cores} cores that this process may use"


def _cache(options: RunOptions) -> str:
    folder = pick_cache(options.cache)
    if folder is None:
        raise _NothingToDoError("nothing is kept")
    count, damaged = examine(folder)
    if damaged:
        got = f"{len(damaged)} that do not, such as {damaged[0].name}"
        way_out = "Runs compute them again. Remove them, and look after the disk."
        raise InputError(expected(str(folder), f"{count} entries that match their checksums", got, way_out))
    return f"{folder}: can be written to; {count} entries, all of which match their checksums"


def _storage(options: RunOptions) -> str:
    if options.storage is None:
        raise _NothingToDoError("none is named: `storage`")
    with quiet_optuna():
        taken = check_storage(options.storage, options.storage_timeout)
    return f"{conceal(str(options.storage))}: a trial was written and read back, {1000 * taken:.0f} ms"


def _data(options: RunOptions) -> str:
    if options.data is None:
        raise _NothingToDoError("none is named: `data`")
    data = load_data(
        options.data,
        images=image_options(options, wishes(options.model)),
        texts=text_options(options.model, options.input_size, blocks=False),
        test_split=options.test_split,
        seed=options.splitting_seed,
    )
    look_through(data)
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    sizes = {name: len(part) for name, part in parts.items() if part is not None}  # type: ignore[arg-type]
    for part in parts.values():
        if part is not None and len(part):  # type: ignore[arg-type]
            part[0]
    classes = f"; {len(data.classes)} classes" if data.classes else ""
    return (
        f"{options.data}: {', '.join(f'{size:,} {name}' for name, size in sizes.items())} examples{classes}"
    )
