"""How the plans were found: trials in their order, what decided them, how far cheap scores can be trusted, where the
time went."""

from __future__ import annotations

from dataclasses import dataclass

from ranksearch.reports.chart import Chart, Line, Point, make_chart
from ranksearch.reports.content import RunContent
from ranksearch.reports.figures import NOTHING, figure, seconds, share
from ranksearch.reports.stages import Stages
from ranksearch.reports.tables_of_text import number
from ranksearch.reports.texts import Texts

MOST_STAGES = 24
MOST_TRIALS = 600


@dataclass(frozen=True)
class Agreement:
    """How one score ranks plans as a more expensive one does."""

    budget: str
    cheap: str
    expensive: str
    plans: int
    correlation: str


def histories(run: RunContent, texts: Texts) -> list[Chart]:
    """A chart per budget and stage: the score of each trial, and the best one so far."""
    keys = dict.fromkeys((row.get("budget", ""), row.get("stage", "")) for row in run.trials)
    charts = [_history(k, run, *key, texts) for k, key in enumerate(keys)]
    return [chart for chart in charts if chart is not None]


def _history(place: int, run: RunContent, budget: str, stage: str, texts: Texts) -> Chart | None:
    rows = [row for row in run.trials if (row.get("budget"), row.get("stage")) == (budget, stage)]
    found = [
        (k, y)
        for row in rows
        if (k := number(row, "trial")) is not None and (y := number(row, stage)) is not None
    ]
    if len(found) < 2 or sum(y > 0 for _, y in found) < 2:
        return None
    best, so_far = [], float("inf")
    for k, y in found:
        so_far = min(so_far, y)
        best.append((k, so_far))
    score = texts.label("score", stage)
    return make_chart(
        f"history{place}",
        texts("history_title", asked=budget, score=score),
        texts("history_summary", count=len(found), best=figure(so_far)),
        x_label=texts("axis_trial"),
        y_label=texts("axis_score", score=score),
        points=[
            Point(k, y, f"{texts('axis_trial')} {k:.0f}: {figure(y)}", "trial")
            for k, y in found[:MOST_TRIALS]
        ],
        lines=[Line(best, "best", texts("legend_best"), step=True)],
        legend=[("trial", texts("origin_trial"))],
        log_y=True,
    )


def agreements(run: RunContent, texts: Texts) -> list[Agreement]:
    """Spearman's correlations of the run."""
    if run.front is None:
        return []
    return [
        Agreement(
            found.asked,
            texts.label("score", found.cheap),
            texts.label("score", found.expensive),
            found.plans,
            NOTHING if found.correlation is None else f"{found.correlation:.2f}".replace("-", "−"),
        )
        for found in run.front.rank_correlations
    ]


def agreement_charts(run: RunContent, texts: Texts) -> list[Chart]:
    """For each pair of scores, every plan by both; points of the same budget look alike."""
    if run.front is None:
        return []
    pairs = dict.fromkeys((found.cheap, found.expensive) for found in run.front.rank_correlations)
    asked = dict.fromkeys(plan.asked for plan in run.front.plans)
    budgets = {name: f"series{k % 6}" for k, name in enumerate(asked)}
    charts = []
    for place, (cheap, expensive) in enumerate(pairs):
        points = [
            Point(a, b, f"{texts('budget', asked=p.asked)}: {figure(a)}, {figure(b)}", budgets[p.asked])
            for p in run.front.plans
            if (a := p.scores.get(cheap)) is not None and (b := p.scores.get(expensive)) is not None
        ]
        names = [texts.label("score", name) for name in (cheap, expensive)]
        chart = make_chart(
            f"agreement{place}",
            texts("agreement_title", cheap=names[0], expensive=names[1]),
            texts("agreement_summary", count=len(points), cheap=names[0], expensive=names[1]),
            x_label=texts("axis_score", score=names[0]),
            y_label=texts("axis_score", score=names[1]),
            points=points[:MOST_TRIALS],
            legend=[(style, texts("budget", asked=name)) for name, style in budgets.items()],
            log_x=True,
            log_y=True,
        )
        charts += [chart] if chart is not None and len(points) > 2 else []
    return charts


MOST_PARAMETERS = 12


@dataclass(frozen=True)
class ImportanceRow:
    """A parameter of the search space and its share; width: of its bar, in per cent of the longest."""

    name: str
    share: str
    width: float


def importances(run: RunContent, texts: Texts) -> list[tuple[str, list[ImportanceRow]]]:
    """By budget, the parameters that decided most whether a trial was good."""
    found = []
    for record in run.front.importances if run.front is not None else ():
        kept = sorted(record.shares.items(), key=lambda pair: -pair[1])[:MOST_PARAMETERS]
        longest = max((part for _, part in kept), default=0.0) or 1.0
        rows = [ImportanceRow(name, share(part, 1.0), round(100 * part / longest, 1)) for name, part in kept]
        score = texts.label("score", record.score)
        found.append((texts("importances_title", asked=record.asked, score=score), rows))
    return found


@dataclass(frozen=True)
class StageRow:
    """A stage and its time. width: of its bar, in per cent of the longest."""

    name: str
    time: str
    part: str
    width: float


def stage_rows(stages: Stages | None, texts: Texts) -> list[StageRow]:
    """The stages in the order of the run, and what is left; short ones are joined where there are many."""
    if stages is None:
        return []
    found = dict(stages.seconds)
    kept = sorted(found, key=found.__getitem__, reverse=True)[:MOST_STAGES]
    rows = [(name, found[name]) for name in found if name in kept]
    if len(found) > len(kept):
        rows.append((texts("stages_short"), sum(found[name] for name in found if name not in kept)))
    rows.append((texts("stages_rest"), stages.rest))
    longest, whole = max(spent for _, spent in rows) or 1.0, max(stages.total, sum(stages.seconds.values()))
    return [
        StageRow(name, seconds(spent), share(spent, whole), round(100 * spent / longest, 1))
        for name, spent in rows
    ]
