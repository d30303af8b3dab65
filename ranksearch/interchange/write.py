"""Plans written in another format."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ranksearch.files import check_no_links, write_text
from ranksearch.interchange.base import PlanExport, PlanExporter, export_of
from ranksearch.planning import PlanRecord


def plan_path(plan: Path, exporter: PlanExporter) -> Path:
    """Where a plan file goes in another format: beside it, `aimet-plan-0.3.json`, which no pattern of plans matches."""
    return plan.with_name(f"{exporter.name}-{plan.stem}.json")


def export_plan_file(plan: PlanRecord, exporter: PlanExporter, path: Path) -> PlanExport:
    """Write a plan in another format; a reader sees the old file or the new one.

    Raises InputError where the plan has no chains, or where the path is a link.
    """
    found = export_of(exporter, plan)
    check_no_links(path.parent, (re.sub(r"([*?[])", r"[\1]", path.name),))
    write_text(path, json.dumps(found.content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return found
