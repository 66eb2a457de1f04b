"""A study and its run in MLflow, which has the winner's scores on the test set."""

from collections.abc import Iterable
from dataclasses import dataclass

from optuna_joblib_sweeper import SweepResult, TrialResult
from optuna_joblib_sweeper.mlflow_runs import winner_of
from perceptune.tracking import reading
from perceptune.tracking.reading import RunRecord


@dataclass(frozen=True)
class TrackedStudy:
    """A study and its run in MLflow.

    Attributes:
        result: the study.
        uri: the store that has its run, None if no store has it.
        run: its run, None if no store has it.
    """

    result: SweepResult
    uri: str | None = None
    run: RunRecord | None = None

    @classmethod
    def find(cls, result: SweepResult, uris: Iterable[str]) -> "TrackedStudy":
        """Find the study's run, in the first of the stores that has it.

        Raises:
            UserError: a store cannot be read.
        """
        for uri in uris if result.run_id else ():
            run = reading.find_run(uri, str(result.run_id))
            if run is not None:
                return cls(result, uri, run)
        return cls(result)

    def test_accuracy(self, trial: TrialResult) -> float | None:
        """Test accuracy of a trial's network; None if the test set was not read for it."""
        if self.run is None:
            return None
        of_front = self.run.metrics.get(f"trial_{trial.number}/test/accuracy")
        # The study may have been resumed since: the accuracy is that of the winner in its tags.
        named = trial.run_id is not None and winner_of(self.run.tags) == trial.run_id
        return self.run.metrics.get("test/accuracy") if named and of_front is None else of_front
