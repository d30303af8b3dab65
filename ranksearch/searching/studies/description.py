"""What a study says of itself where people open it, in Optuna's plots and dashboard: the name of its value, a note."""

from __future__ import annotations

from optuna.study import Study

from ranksearch.searching.studies.quiet import quiet_optuna

VERSION, PART = "dashboard:note_ver", "dashboard:note_str:"
"""Attributes in which optuna-dashboard, which need not be installed, keeps the note of a study (`save_note`)."""

LENGTH = 2045
"""Characters of a note in one attribute; some databases take no more."""


def describe_study(study: Study, value: str, note: str) -> None:
    """Name the value of a study's trials and give it a note in Markdown; not where it has a name: notes are edited."""
    if study.metric_names is not None:
        return
    with quiet_optuna():
        study.set_metric_names([value])
    set_attr, own = study._storage.set_study_system_attr, study._study_id
    for k, start in enumerate(range(0, len(note), LENGTH)):
        set_attr(own, f"{PART}{k}", note[start : start + LENGTH])
    set_attr(own, VERSION, 1)
