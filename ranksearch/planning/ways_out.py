"""What would make the cheapest plan of some tables cheaper."""

from __future__ import annotations

from collections.abc import Sequence

from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.planning.plan import Table


def ways_out(tables: Sequence[Table], metric: str) -> list[str]:
    """What would make the cheapest plan cheaper in a metric: nothing of which there is no more."""
    found = []
    cheapest = [min(table.candidates, key=lambda c: c.cost.of(metric)) for table in tables]
    if any(rank > 1 for candidate in cheapest for rank in candidate.ranks):
        found.append("smaller ranks")
    offered = {c.decomposition for table in tables for c in table.candidates}
    others = [DECOMPOSITIONS.get(name) for name in DECOMPOSITIONS.usable() if name not in offered]
    if any(other.forms(table.layer) for other in others for table in tables):
        found.append("more decompositions")
    return found
