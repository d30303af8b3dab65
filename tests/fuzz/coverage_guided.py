"""What reads files of other people, fuzzed by coverage: `pip install atheris`, then

    python tests/fuzz/coverage_guided.py plan.json -runs=100000

for a file of some kind (`--list` names them). Options are those of libFuzzer. A crash is an error that was not raised
on purpose; libFuzzer keeps the file that made it.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ranksearch"]):
    import ranksearch.cli.tables
    import ranksearch.interchange.reading
    import ranksearch.planning.plan_file
    import ranksearch.planning.tables_record
    import ranksearch.probing.rows
    import ranksearch.probing.spectrafile
    import ranksearch.reading
    import ranksearch.records
    import ranksearch.runs.config  # noqa: F401
    from ranksearch import testing
    from ranksearch.errors import RankSearchError

sys.path.insert(0, str(Path(__file__).parent))

from damage import BINARY, TEXT
from valid import valid_files


def main() -> None:
    name, *options = sys.argv[1:] or ["--list"]
    if name not in (*TEXT, *BINARY):
        print(*TEXT, *BINARY, sep="\n")
        return
    folder = Path(tempfile.mkdtemp(prefix="ranksearch-fuzz-"))
    kind = valid_files(folder, testing.tiny_problem(testing.tiny_task()))[name]
    corpus, place = folder / "corpus", folder / "read"
    corpus.mkdir()
    place.mkdir()
    (corpus / name).write_bytes(kind.content)
    warnings.simplefilter("ignore")

    def one(content: bytes) -> None:
        path = place / name
        path.write_bytes(content)
        with suppress(RankSearchError):
            kind.read(path)

    # Text is mostly refused where it begins: seeds and longer inputs come first.
    atheris.Setup([sys.argv[0], *options, "-len_control=0", "-max_len=100000", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
