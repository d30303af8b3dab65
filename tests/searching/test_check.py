"""A storage that is checked: nothing of the check stays in it, and what others have in it stays."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from ranksearch.errors import InputError
from ranksearch.searching.studies import check_storage, open_storage
from ranksearch.searching.studies.patient import close


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # connections are left to the end
def test_nothing_stays_of_a_check(location: str) -> None:
    storage = open_storage(location)
    study = optuna.create_study(storage=storage, study_name="own")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert check_storage(location, 5.0) > 0
    close(storage)
    storage = open_storage(location)
    assert optuna.get_all_study_names(storage) == ["own"]
    assert [t.value for t in optuna.load_study(study_name="own", storage=storage).trials] == [1.0]
    close(storage)


def test_a_journal_that_was_not_there_is_not_left_behind(tmp_path: Path) -> None:
    check_storage(tmp_path / "new" / "s.jsonl", 5.0)
    assert not [*tmp_path.rglob("*.jsonl*")]
    (tmp_path / "notes.jsonl").write_text("mine")
    with pytest.raises(InputError, match="expected an Optuna journal"):
        check_storage(tmp_path / "notes.jsonl", 5.0)
    assert (tmp_path / "notes.jsonl").read_text() == "mine"
