"""What the sweeper ships for tests of other people's apps, used on the foreign app."""

import sys
from pathlib import Path

import pytest
from apps import FOREIGN_APP

from optuna_joblib_sweeper import current_trial
from optuna_joblib_sweeper.testing import FakeTrial, StudyContract, wait_until


class TestForeignApp(StudyContract):
    command = (sys.executable, str(FOREIGN_APP))


@pytest.mark.slow
class TestSqlite(StudyContract):
    command = (sys.executable, str(FOREIGN_APP))
    storage = "sqlite:///{folder}/contract.db"


def test_a_fake_trial_is_the_current_one_only_inside_its_block(tmp_path: Path) -> None:
    with FakeTrial(3, folder=tmp_path / "own", attempt=1, die_at=2).running() as trial:
        assert current_trial() is trial
        assert (trial.number, trial.attempt, trial.confirming) == (3, 1, False)
        assert trial.folder is not None
        assert trial.folder.is_dir()
        trial.report(1.0, 1)
        with pytest.raises(KeyboardInterrupt):
            trial.report(2.0, 2)
    assert trial.reports == {1: 1.0}
    assert not current_trial()


def test_waiting_ends_with_an_error() -> None:
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        wait_until(lambda: False, seconds=0.1)
