"""Whatever a file holds, reading it gives a value or an error raised on purpose: valid files, damaged at random.

RANKSEARCH_FUZZ says how many damaged files of every kind to read.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from random import Random

import pytest
from damage import BINARY, TEXT, damaged
from valid import Kind

from ranksearch.errors import RankSearchError

pytestmark = pytest.mark.fuzz

COUNT = int(os.environ.get("RANKSEARCH_FUZZ", "40"))


@pytest.mark.parametrize("name", TEXT + BINARY)
def test_damaged_files_end_in_no_other_error(kinds: dict[str, Kind], tmp_path: Path, name: str) -> None:
    kind = kinds[name]
    path = tmp_path / name
    path.write_bytes(kind.content)
    kind.read(path)  # as it is, it can be read
    for case in range(COUNT):
        content = damaged(name, kind.content, Random(f"{name} {case}"))
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                kind.read(path)
            except RankSearchError as error:
                message = str(error)
                # Options are told a line each.
                assert message.replace("\n", "").isprintable(), f"{name}, case {case}: {message!r}"
                assert max(map(len, message.split("\n"))) < 3000, f"{name}, case {case}"
                message.encode()
            except Exception as error:
                raise AssertionError(f"{name}, case {case}: {error!r}\n{content[:3000]!r}") from error
