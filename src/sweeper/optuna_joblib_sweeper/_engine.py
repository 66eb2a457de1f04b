"""Runs a study's trials to the end of the budget, whatever dies on the way."""

import itertools
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import cloudpickle
import psutil
from optuna.trial import FrozenTrial

from optuna_joblib_sweeper import _private, _storage, _worker, processes
from optuna_joblib_sweeper._job import Job
from optuna_joblib_sweeper._pool import WorkerDiedError, stream
from optuna_joblib_sweeper._record import TrialRecord
from optuna_joblib_sweeper._study import StudyStore
from optuna_joblib_sweeper._tally import Tally
from optuna_joblib_sweeper.errors import SweepError

log = logging.getLogger(__name__)

DEATHS_WITHOUT_TRIAL = 3
CRASHES_BEFORE_SUSPICION = 2


class Engine:
    """One study's trials on one pool of workers."""

    def __init__(self, store: StudyStore, job: Job, keep: set[psutil.Process]) -> None:
        """Nothing runs yet.

        Args:
            keep: processes below this one that are not the sweep's.

        Raises:
            SweepError: the task can't be sent to another process.
        """
        self.store = store
        self.job = job
        self.settings = job.plan.settings
        self.tally = Tally(job.plan.settings, job.plan.budget, store.trials())
        self.observe: Callable[[FrozenTrial], None] = lambda trial: None
        self._keep = keep
        self._idle_deaths = 0
        self._counted = {trial.number for trial in store.trials() if trial.state.is_finished()}
        self._run_token = partial(_worker.run_token, secrets.token_hex(8), *sent(job))

    def run(self) -> str | None:
        """Run until the budget is used up.

        Returns:
            Why it stopped before that, if it did.

        Raises:
            SweepError: too many trials failed.
        """
        while True:
            for suspect in self.store.suspects():
                if self._stop() is None:
                    self._run_phase([suspect.number], n_jobs=1)
            if self._stop() is not None or self.tally.left == 0:
                break
            before = self.tally.finished
            died = self._run_phase(self._tokens(), n_jobs=self.settings.n_jobs)
            if not died and self.tally.finished == before:
                break  # the rest of the budget is with another driver of the same database
        failure = self.tally.too_many_failures()
        if failure:
            raise SweepError(failure)
        return None if self.tally.left == 0 else self._stop()

    def recover(self) -> None:
        """Give back what dead drivers left running.

        A trial that was running each time a driver died hard is tried alone, in the end not again.
        """
        for trial in self.store.abandoned():
            crashes = TrialRecord.of(trial).crashes + 1
            if crashes > self.settings.max_retries + CRASHES_BEFORE_SUSPICION:
                self._give_up(trial, f"the whole sweep died {crashes} times while this trial ran")
            else:
                suspect = crashes >= CRASHES_BEFORE_SUSPICION
                self.store.give_back(trial, crashes=crashes, suspect=suspect)

    def release(self) -> None:
        """After an error here or a signal: end the workers and give back what was in flight."""
        self._end_workers()
        for trial in self.store.running(self.job.driver):
            self.store.give_back(trial)
        self._count_told()

    def _end_workers(self) -> None:
        processes.kill_descendants(keep=self._keep)
        _storage.mend(self.store.paths)

    def _stop(self) -> str | None:
        return self.tally.too_many_failures() or self.tally.stop_reason()

    def _tokens(self) -> Iterator[None]:
        left = self.tally.left
        several = itertools.count() if left is None else range(left)
        return (None for _ in itertools.takewhile(lambda _: self._stop() is None, several))

    def _run_phase(self, tokens: Iterable[int | None], n_jobs: int) -> bool:
        """Run the tokens; True if a worker died, whose trials are then waiting again."""
        died, before = False, self.tally.finished
        try:
            for number in stream(self._run_token, tokens, n_jobs, self.settings):
                if number is not None:
                    self._count(number)
        except WorkerDiedError:
            died = True
            self._end_workers()
        # A cluster may lose a worker without a word: its trial is running, and no token is left.
        lost = self.store.running(self.job.driver)
        self._count_told()
        if self.tally.finished > before:
            self._idle_deaths = 0
        if died or lost:
            self._retry(lost)
        return died or bool(lost)

    def _retry(self, lost: list[FrozenTrial]) -> None:
        """One of `lost` killed a worker; which one is known only if it was alone."""
        self._idle_deaths = 0 if lost else self._idle_deaths + 1
        if self._idle_deaths >= DEATHS_WITHOUT_TRIAL:
            died = f"workers died {self._idle_deaths} times before they took a trial"
            raise SweepError(f"{died}; hydra.sweeper.backend=sequential shows why")
        for trial in lost:
            deaths = TrialRecord.of(trial).deaths + (1 if len(lost) == 1 else 0)
            if deaths > self.settings.max_retries:
                self._give_up(trial, f"killed its worker process {deaths} times")
            else:
                log.warning("trial %d lost its worker and is tried again", trial.number)
                self.store.give_back(trial, deaths=deaths, suspect=True)

    def _give_up(self, trial: FrozenTrial, reason: str) -> None:
        self.store.give_up(trial, reason)
        self._count(trial.number)

    def _count_told(self) -> None:
        """Count results that are stored, but whose workers died before they returned."""
        for trial in self.store.trials():
            ours = TrialRecord.of(trial).driver == self.job.driver
            if ours and trial.state.is_finished() and trial.number not in self._counted:
                self._count(trial.number)

    def _count(self, number: int) -> None:
        trial = self.store.trial(number)
        self._counted.add(number)
        self.tally.add(trial)
        self.observe(trial)


def sent(job: Job) -> tuple[Mapping[str, str], bytes]:
    """The app's script, if a worker can't read the job without it, and the job, pickled.

    Raises:
        SweepError: the task can't be sent to another process.
    """
    try:
        pickled = cloudpickle.dumps(job)
    except Exception as error:
        unsent = f"the task function can't be sent to a worker process: {error}"
        remedy = "keep open files and locks out of globals, or set backend=sequential"
        raise SweepError(f"{unsent}; {remedy}") from None
    alone = job.whole and _private.can_be_sent(pickled)
    return {} if alone else _private.main_module(), pickled
