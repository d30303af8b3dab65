"""The library in three calls: search for a plan, compress by it, save the result."""

from __future__ import annotations

from ranksearch.api.files import export, export_plan, quantize, read_ranks, report
from ranksearch.api.models import behaviour, compress, footprint, load, save
from ranksearch.api.plans import plan, search, work
from ranksearch.api.promise import Smallest, smallest
from ranksearch.api.tracked import track

__all__ = [
    "Smallest",
    "behaviour",
    "compress",
    "export",
    "export_plan",
    "footprint",
    "load",
    "plan",
    "quantize",
    "read_ranks",
    "report",
    "save",
    "search",
    "smallest",
    "track",
    "work",
]
