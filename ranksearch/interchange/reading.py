"""Files of other compressors, read as data, and the plans that they make of a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranksearch.costs import ALWAYS, Budget, Cost, Kept
from ranksearch.errors import InputError, expected
from ranksearch.interchange.from_aimet import AimetScores, is_scores, parse_scores
from ranksearch.interchange.from_ranks import DEFAULT, ImportedRanks, parse_ranks
from ranksearch.networks import Layer
from ranksearch.planning import Plan
from ranksearch.reading import decoded, parse_json, read_bytes

_PICKLES = (b"\x80", b"PK\x03\x04")
"""How pickles begin, and files of torch.save, which are archives of them."""

AS_JSON = (
    "A pickle can run code when it is read, so it is not read here. Write it as JSON where it was made: "
    "import json, pickle; from pathlib import Path; scores = pickle.loads(Path(FILE).read_bytes()); "
    "Path('scores.json').write_text(json.dumps({name: {str(ratio): score for ratio, score in own.items()} "
    "for name, own in scores.items()}))."
)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises InputError where a file is none; a pickle is told apart, and never read."""
    try:
        content = read_bytes(path)
    except OSError as error:
        raise InputError(expected(str(path), f"a file of {what}", error.strerror)) from error
    if content.startswith(_PICKLES):
        raise InputError(expected(str(path), "JSON", "a pickle", AS_JSON))
    try:
        data = parse_json(decoded(content))
    except ValueError as error:
        raise InputError(expected(str(path), "JSON", error)) from error
    if not isinstance(data, dict):
        raise InputError(expected(str(path), "a JSON object", type(data).__name__))
    return data


def read_ranks(path: Path, decomposition: str = DEFAULT) -> ImportedRanks | AimetScores:
    """What a JSON file says of the ranks of a model: `{module: rank}`, a file of chains, or AIMET's greedy scores,
    `{layer: {ratio: score}}`.

    decomposition: what a rank alone stands for. Raises InputError that names the file and the module. Nothing in the
    file is imported or run, and a pickle is not read.
    """
    data = read_json(path, "ranks")
    return parse_scores(path, data) if is_scores(data) else parse_ranks(path, data, decomposition)


def plan_of(
    given: ImportedRanks | AimetScores,
    layers: Sequence[Layer],
    dense: Cost,
    kept: Kept | None = None,
    metric: str = "params",
) -> tuple[Plan, Budget]:
    """The plan that a file makes of a model, and its budget: of ranks what they cost, of scores what is to be kept.

    layers: of the model, including those that have to stay dense. dense: cost of the dense model. Raises InputError
    where scores come without a budget, ranks with one, or where ranks make the model larger.
    """
    if isinstance(given, AimetScores):
        if kept is None:
            way_out = "Scores leave the choice of ranks open: say how much to keep, for example `budget=0.5`."
            raise InputError(expected("budget", "one, for scores", "none", way_out))
        if metric not in ALWAYS:
            raise InputError(expected("metric", f"{' or '.join(ALWAYS)}, for scores", metric))
        budget = Budget.of(dense, kept, metric)
        return given.plan(layers, dense, budget), budget
    if kept is not None:
        raise InputError(expected("budget", "none, as the ranks are given", kept.name))
    plan = given.plan(layers, dense)
    if plan.cost.params > dense.params:
        got = f"{plan.cost.params:,} parameters, more than the dense model's {dense.params:,}"
        raise InputError(expected("ranks", "ranks that make the model smaller", got))
    return plan, Budget.at_most(dense, plan.cost.params)
