"""What tests of a swept app need: a trial that keeps its reports, waiting, contracts to subclass.

It needs no test framework, and refuses to know how a study runs.
"""

import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna_joblib_sweeper.current import CurrentTrial, set_current
from optuna_joblib_sweeper.errors import SweepError
from optuna_joblib_sweeper.reading import load_study
from optuna_joblib_sweeper.result import SweepResult


class FakeTrial(CurrentTrial):
    """A trial that keeps what is reported to it, and can be made to stop or to die at a step.

    Attributes:
        reports: what was reported, by step.
        prune_at: from this step on it should stop.
        die_at: a report of this step raises KeyboardInterrupt, as an interruption would.
    """

    prune_at: int | None = None
    die_at: int | None = None
    _folder: Path | None

    def __init__(self, number: int = 0, folder: Path | None = None, **attributes: Any) -> None:
        """Make a trial of the study `fake`.

        Args:
            folder: its own folder, made at the first look.
            attributes: others, such as `attempt=1` or `prune_at=3`.
        """
        vars(self).update(number=number, study_name="fake", _folder=folder, **attributes)
        self.reports: dict[int, float] = {}

    def __bool__(self) -> bool:
        """True, as inside a sweep."""
        return True

    @property
    def folder(self) -> Path | None:
        """The one given; None without one."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def report(self, value: float, step: int) -> None:
        """Keep the value.

        Raises:
            KeyboardInterrupt: at the step `die_at`.
        """
        if step == self.die_at:
            raise KeyboardInterrupt
        self.reports[step] = value

    def should_prune(self) -> bool:
        """Whether `prune_at` is reached."""
        return self.prune_at is not None and max(self.reports, default=-1) >= self.prune_at

    @contextmanager
    def running(self) -> Iterator["FakeTrial"]:
        """Be what `current_trial()` returns inside the block."""
        set_current(self)
        try:
            yield self
        finally:
            set_current(None)


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Return once `condition` holds.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition did not hold within {seconds:g} s")
        time.sleep(0.02)


class StudyContract:
    """What holds for every app and every storage; subclass it, and pytest runs it.

        class TestMyApp(StudyContract):
            command = (sys.executable, "/path/to/app.py")
            overrides = ("epochs=2",)

    Attributes:
        command: how the app is started.
        overrides: what makes its trials short.
        storage: of the study, below the test's own `{folder}`, or a server's URL.
    """

    command: Sequence[str] = ()
    overrides: Sequence[str] = ()
    storage = "{folder}/contract.journal"

    def arguments(self, folder: Path, *overrides: str) -> list[str]:
        """The command of the study, which a test runs in `folder`."""
        storage, again = self.storage.format(folder=folder), shlex.join(self.command)
        settings = {"study_name": "contract", "storage": storage, "command": f"'{again}'"}
        own = (f"hydra.sweeper.{key}={value}" for key, value in settings.items())
        return [*self.command, "--multirun", *own, *self.overrides, *overrides]

    def run(self, folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
        """Run the study to its end."""
        arguments = self.arguments(folder, *overrides)
        return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)

    def study(self, folder: Path) -> SweepResult:
        """The study as its storage has it."""
        return load_study(self.storage.format(folder=folder), "contract")

    def test_the_same_command_resumes_and_the_winner_trains_again(self, tmp_path: Path) -> None:
        """A larger budget adds trials and changes none that is finished."""
        self.run(tmp_path, "hydra.sweeper.n_trials=2")
        before = self.study(tmp_path).trials
        done = self.run(tmp_path, "hydra.sweeper.n_trials=4")
        assert done.returncode == 0, done.stdout + done.stderr
        after = self.study(tmp_path)
        assert after.trials[:2] == before
        assert [trial.state in ("complete", "pruned") for trial in after.trials] == [True] * 4
        assert after.winner_command is not None
        subprocess.run(after.winner_command, shell=True, cwd=tmp_path, check=True)

    def test_a_killed_study_resumes(self, tmp_path: Path) -> None:
        """SIGKILL loses no finished trial and costs none of the budget."""
        six, quiet = "hydra.sweeper.n_trials=6", subprocess.DEVNULL
        command = self.arguments(tmp_path, six)
        process = subprocess.Popen(command, cwd=tmp_path, stdout=quiet, stderr=quiet)
        wait_until(lambda: bool(self.finished(tmp_path)) or process.poll() is not None)
        process.kill()
        process.wait()
        before = self.finished(tmp_path)
        self.run(tmp_path, six)
        after = self.finished(tmp_path)
        assert len(after) == 6
        assert [after[trial.number] for trial in before] == before

    def finished(self, folder: Path) -> list[Any]:
        """The finished trials so far; none before there is a study."""
        try:
            return self.study(folder).of("complete", "pruned")
        except SweepError:
            return []

    def test_trials_are_pruned(self, tmp_path: Path) -> None:
        """Each that reports a value stops, where the pruner lets none live."""
        pruner = ("hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.upper=-1e300")
        self.run(tmp_path, *pruner, "hydra.sweeper.n_trials=2")
        assert [trial.state for trial in self.study(tmp_path).trials] == ["pruned"] * 2
