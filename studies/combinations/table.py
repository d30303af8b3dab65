"""The results as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLUMNS = ("model", "epochs", "parameters", "FLOPs", "KB", "test", "batch 1", "batch 32")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for every model as float and one as int8; times are relative to the dense float model's."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| " + " | ".join(["---"] * len(COLUMNS)) + " |"]
    for row in rows:
        for kind in ("float", "int8"):
            own = row[kind]
            times = [_time(own.get("time", {}).get(batch)) for batch in ("1", "32")]
            kept = len(own.get("float_layers", ()))
            name = row["model"] if kind == "float" else f"{row['model']}, int8"
            name += f" ({kept} of {own['layers']} layers float)" if kept else ""
            amounts = [str(row["epochs"]), f"{row['params']:,}", f"{row['flops'] / 1e6:.1f} M"]
            cells = [name, *amounts, f"{own['bytes'] / 1e3:.0f}", f"{own['test']:.2f}", *times]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _time(found: Sequence[float] | None) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})" if found else "–"
