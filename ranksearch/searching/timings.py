"""What the plans that were measured during a search tell about times, for the plans that come after them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ranksearch.costs import is_measured
from ranksearch.planning import Plan, Problem, Repricing, Tables, chains_of
from ranksearch.timing import Ratio


@dataclass
class Timings:
    """Plans that were measured, and the corrections of candidates' times that follow from them."""

    repricing: Repricing = field(default_factory=Repricing)
    plans: list[tuple[Plan, Ratio]] = field(default_factory=list)

    def measure(self, problem: Problem, plan: Plan) -> Ratio:
        """The time of a plan over the dense model's. What its layers take within it is taken in."""
        assert problem.timer is not None
        chains = chains_of(problem.layers, plan)
        ratio = problem.timer.ratio(chains)
        if all(plan.key != known.key for known, _ in self.plans):
            self.plans.append((plan, ratio))
            seconds = problem.timer.layer_seconds(chains)
            self.repricing = self.repricing.knowing(problem.tables, plan, _time(problem), seconds)
        return ratio

    def priced(self, problem: Problem, flops: float = 0.0) -> Problem:
        """The problem with what is known by now about its candidates' times; flops: see `Repricing.of`."""
        return replace(problem, tables=self.repricing.of(problem.tables, flops))

    def predicted(self, tables: Tables, plan: Plan, flops: float = 0.0) -> float:
        """The share of the dense model's time that a plan of the tables is by now predicted to take."""
        metric = _time(tables)
        return self.repricing.cost(tables, plan, flops).of(metric) / tables.dense.of(metric)

    def known(self, tables: Tables) -> Tables:
        """The tables with corrected times, and what they predict for each plan beside what was measured."""
        if not self.plans or tables.times is None:
            return tables
        pairs = dict.fromkeys((self.predicted(tables, plan), ratio.median) for plan, ratio in self.plans)
        times = replace(tables.times, plans=tuple(pairs))
        return replace(tables, tables=self.repricing.of(tables.tables), times=times)


def _time(tables: Tables) -> str:
    """The cost metric that is measured: there is at most one."""
    return next(name for name in tables.dense.amounts if is_measured(name))
