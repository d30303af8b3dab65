"""Pages from templates: what they say is worked out beside this file, how they look is in templates/."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ranksearch.redaction import without_folders
from ranksearch.reports.again import again, links
from ranksearch.reports.answer import answers, conditions, figure_rows
from ranksearch.reports.content import RunContent
from ranksearch.reports.figures import seconds
from ranksearch.reports.front_charts import delivered_chart, front_charts
from ranksearch.reports.layers import candidate_charts, plan_layers
from ranksearch.reports.probe_content import ProbeContent
from ranksearch.reports.probed import probe_answer, probe_charts, probe_layers
from ranksearch.reports.study import agreement_charts, agreements, histories, importances, stage_rows
from ranksearch.reports.texts import Texts
from ranksearch.visible import visible

REPORT_FILE = "report.html"


def _source(name: str) -> str:
    return files("ranksearch.reports").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    """Whatever a record holds is text in a page, never markup; a value that is missing is an error."""
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    # These two are the package's own, and neither holds a value of a record.
    environment.globals |= {"style": Markup(_source("style.css")), "script": Markup(_source("enhance.js"))}
    return environment


def _render(template: str, texts: Texts, **values: object) -> str:
    return _environment().get_template(template).render(t=texts, lang=texts.language, **values)


def report_text(run: RunContent, page: Path, texts: Texts) -> str:
    """The page of a run. page: the file that it will be, which links are relative to."""
    chosen = run.chosen
    records = (*chosen, *(record for record in run.records if record not in chosen))
    charts, legend = candidate_charts(run.tables, chosen, texts)
    first = records[0] if records else None
    held = next((r.footprint.time for r in records if r.footprint is not None and r.footprint.time), None)
    return _render(
        "run.html",
        texts,
        title=texts("title_run", name=run.name),
        model=_model_name(run),
        answers=answers(chosen, texts),
        delivered=bool(run.models),
        columns=[texts("budget", asked=record.asked) for record in records],
        rows=figure_rows(records, texts) if first is not None else [],
        held=None if held is None else conditions(held, texts),
        front=front_charts(run, texts),
        plans=[plan_layers(record, run.tables, texts) for record in chosen],
        candidates=charts,
        candidate_legend=legend,
        histories=histories(run, texts),
        importances=importances(run, texts),
        agreements=agreements(run, texts),
        agreement_charts=agreement_charts(run, texts),
        stages=stage_rows(run.stages, texts),
        total=None if run.stages is None else seconds(run.stages.total),
        again=again(run, page, texts),
        problems=run.problems,
    )


def _model_name(run: RunContent) -> str | None:
    names = [record.model.name for record in run.records]
    names += [run.tables.model.name] if run.tables is not None else []
    names += [run.front.model] if run.front is not None else []
    found = next((name for name in names if name), None)
    return None if found is None else without_folders(found)


def comparison_text(runs: Sequence[RunContent], page: Path, texts: Texts) -> str:
    """The page of several runs side by side."""
    chart = delivered_chart([(run.name, run.records) for run in runs], texts)
    return _render(
        "comparison.html",
        texts,
        title=texts("title_comparison", count=len(runs)),
        front=[chart] if chart is not None else [],
        runs=[
            (
                run.name,
                _model_name(run),
                [texts("budget", asked=record.asked) for record in run.records],
                figure_rows(run.records, texts) if run.records else [],
                answers(run.chosen, texts),
                again(run, page, texts),
            )
            for run in runs
        ],
        problems=[f"{run.name}: {problem}" for run in runs for problem in run.problems],
    )


def probe_text(probe: ProbeContent, page: Path, texts: Texts) -> str:
    """The page of a probe."""
    images = {name: b64encode(data).decode("ascii") for name, data in probe.figures.items()}
    return _render(
        "probe.html",
        texts,
        title=texts("title_probe", name=probe.name),
        model=None if probe.record.model is None else without_folders(probe.record.model),
        answer=probe_answer(probe.record, texts),
        charts=probe_charts(probe.record, texts),
        layers=probe_layers(probe.record),
        images=images,
        links=links(probe.folder, probe.files, page),
    )
