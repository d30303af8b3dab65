"""Eight processes on one search in a database: each trial is run once, none is lost, the front is that of one process.

It takes minutes, and is run where RANKSEARCH_FAULTS is set: 200 trials for each process with 100.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from ranksearch import testing
from ranksearch.searching import SearchSettings, front_record, search, shared
from ranksearch.searching.studies import Artifacts, open_storage
from ranksearch.searching.studies.patient import close
from ranksearch.searching.studies.queue import ORDINAL

WORKERS = 8
TRIALS = 2 * int(os.environ.get("RANKSEARCH_FAULTS", "0")) * WORKERS

MEMBER = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from ranksearch import testing
from ranksearch.searching import work
from ranksearch.searching.studies import Artifacts, open_storage

torch.set_num_threads(1)
location, folder, own = sys.argv[1:]
task = replace(testing.tiny_task(), cache=Path(folder, own))
artifacts = Artifacts.at(Path(folder, "artifacts"))
print(work(task, open_storage(location), "many", artifacts=artifacts, timeout=300.0))
"""


@pytest.mark.skipif(not TRIALS, reason="takes long: RANKSEARCH_FAULTS=100")
def test_each_trial_once_and_none_lost(postgres: Any, tmp_path: Path) -> None:
    problem = testing.tiny_problem(replace(testing.tiny_task(), cache=tmp_path / "cache"))
    settings = SearchSettings(
        budgets=(0.5,), n_trials=TRIALS, objective="reconstruction", space="ranks", sampler="random",
        study_name="many", finetune_trials=0, refit_trials=0,
    )  # fmt: skip
    alone = search(problem, settings, storage=InMemoryStorage())
    storage = open_storage(postgres.url)
    with ExitStack() as stack:
        stack.callback(close, storage)
        others = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", MEMBER, postgres.url, str(tmp_path), f"member-{number}"],
                    stdout=subprocess.PIPE, text=True,
                )
            )
            for number in range(1, WORKERS)
        ]  # fmt: skip
        with shared(problem, settings, storage, Artifacts.at(tmp_path / "artifacts")) as board:
            together = search(problem, settings, storage=storage, board=board)
        counts = [int(process.communicate(timeout=300)[0]) for process in others]
        (study,) = [s for s in optuna.get_all_study_names(storage) if not s.endswith("-workers")]
        trials = optuna.load_study(study_name=study, storage=storage).trials
        print(Counter(trial.state.name for trial in trials), counts)
        done = [trial.user_attrs[ORDINAL] for trial in trials if trial.state == TrialState.COMPLETE]
        assert sorted(done) == list(range(TRIALS))
        assert len(trials) == TRIALS
        assert sum(counts) > TRIALS // 2
        fronts = [
            front_record(each, model="m", metric="params", dense=problem.dense) for each in (alone, together)
        ]
        assert fronts[0] == fronts[1]
