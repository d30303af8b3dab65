"""What a study says of itself where Optuna's dashboard opens it."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

import ranksearch
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching.studies import describe_study, open_storage
from ranksearch.tasks import Task


@pytest.fixture(scope="module")
def journal(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "study.jsonl"
    options = {"decompositions": ["svd"], "finetune_trials": 0, "refit_trials": 2, "progress": False}
    ranksearch.search(tiny_task, 0.5, n_trials=3, storage=str(path), **options)
    return path


def note_of(study: optuna.Study) -> str:
    """As optuna_dashboard.get_note reads it."""
    attrs = study._storage.get_study_system_attrs(study._study_id)
    assert attrs["dashboard:note_ver"] >= 1
    parts = sorted(key for key in attrs if key.startswith("dashboard:note_str:"))
    return "".join(attrs[key] for key in parts)


def test_values_have_names_and_studies_notes(journal: Path) -> None:
    names = optuna.get_all_study_names(open_storage(journal))
    found = {name: optuna.load_study(study_name=name, storage=open_storage(journal)) for name in names}
    assert {name: study.metric_names for name, study in found.items()} == {
        "ranksearch-0.5-divergence": ["divergence"],
        "ranksearch-0.5-refitted": ["divergence as delivered"],
    }
    note = note_of(found["ranksearch-0.5-divergence"])
    assert note.startswith("**Divergence** of plans that keep 0.5 of the parameters.")
    assert (SEARCH_SPACES.get("sensitivities").__doc__ or "").partition("\n")[0] in note
    for attr in ("ranks", "cost", "origin", "scores"):
        assert f"`{attr}`" in note
        assert attr in found["ranksearch-0.5-divergence"].trials[-1].user_attrs
    assert {"plan uniform", "plan energy"} <= found["ranksearch-0.5-divergence"].user_attrs.keys()


def test_the_dashboard_reads_the_note(journal: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="pip install 'ranksearch[dashboard]'")
    study = optuna.load_study(study_name="ranksearch-0.5-divergence", storage=open_storage(journal))
    assert dashboard.get_note(study) == note_of(study)


def test_a_note_that_was_edited_stays() -> None:
    study = optuna.create_study()
    describe_study(study, "divergence", "a" * 3000)
    assert note_of(study) == "a" * 3000
    describe_study(study, "divergence", "b")
    assert note_of(study) == "a" * 3000
