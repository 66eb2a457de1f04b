"""A study read from its storage; the standard library alone, until it is read."""

from optuna_joblib_sweeper.result import SweepResult


def load_study(storage: str, name: str) -> SweepResult:
    """Read a study from its storage, finished or not.

    Args:
        storage: the path of a journal, or the URL of a database.
        name: the study's.

    Raises:
        SweepError: no such storage or study, or the storage is damaged.
    """
    from optuna_joblib_sweeper._record import read_study

    return read_study(storage, name)
