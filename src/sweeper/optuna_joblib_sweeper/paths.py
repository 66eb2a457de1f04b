"""The files and folders of a study, each named here and nowhere else; makes none of them."""

import re
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path


def sqlite_file(uri: str) -> Path | None:
    """The file behind a SQLite URI; None for a server, and for a database in memory."""
    scheme, _, rest = uri.partition(":///")
    path = rest.partition("?")[0]
    local = scheme.startswith("sqlite") and path and not path.startswith((":", "file:"))
    return Path(path) if local else None


def absolute_uri(uri: str) -> str:
    """The same store wherever a task changes its folder to."""
    if sqlite_file(uri) is None:
        return uri
    scheme, _, rest = uri.partition(":///")
    return f"{scheme}:///{Path(rest).absolute()}"


@dataclass(frozen=True)
class StudyPaths:
    """Where everything of one study is.

    Attributes:
        study_name: the study's.
        sweep_dir: where this start of the study writes.
        storage: the absolute path of a journal, or the URL of a database.
        root: where the trials' own folders are: the sweep dir of the study's first start.
    """

    study_name: str
    sweep_dir: Path
    storage: str
    root: Path

    @classmethod
    def read(cls, study_name: str, sweep_dir: Path, storage: str | None) -> "StudyPaths":
        """From `hydra.sweeper.storage`: null, a path (from where the app was started) or a URL."""
        folder = sweep_dir.absolute()
        storage = storage or str(folder / "optuna.journal")
        if "://" not in storage:
            storage = str(_at_home(storage).absolute())
        return cls(study_name, folder, absolute_uri(storage), folder)

    def confirmation(self, study_name: str) -> "StudyPaths":
        """Those of the study that confirms this one."""
        return replace(self, study_name=study_name, sweep_dir=self.sweep_dir / "confirm")

    @property
    def journal(self) -> Path | None:
        """The journal; None where the storage is a database."""
        return None if "://" in self.storage else Path(self.storage)

    @property
    def file(self) -> Path | None:
        """The file of the storage; None where it is a server."""
        return self.journal or sqlite_file(self.storage)

    @property
    def recorded_root(self) -> str:
        """`root` as the storage keeps it: relative to a file above it, as both may be moved."""
        if self.file and self.root.is_relative_to(self.file.parent):
            return str(self.root.relative_to(self.file.parent))
        return str(self.root)

    def rooted(self, recorded: str) -> "StudyPaths":
        """With the `root` that the storage keeps as `recorded`."""
        return replace(self, root=(self.file.parent if self.file else Path()) / recorded)

    @property
    def trial_lock(self) -> Path | None:
        """Held while a trial is taken; None where the storage is a server, which has locks."""
        return self.file and self.file.with_name(f"{self.file.name}.sweep-trials")

    @property
    def driver_lock(self) -> Path | None:
        """Held while a driver works on a journal."""
        return self.journal and self.journal.with_name(f"{self.journal.name}.sweep-driver")

    @property
    def write_lock(self) -> Path | None:
        """Optuna's own lock of a journal, a symbolic link."""
        return self.journal and self.journal.with_name(f"{self.journal.name}.lock")

    @property
    def write_locks(self) -> list[Path]:
        """That lock, and those that Optuna was about to break, as killed writers left them."""
        if self.write_lock is None:
            return []
        broken = self.write_lock.parent.glob(f"{escape(self.write_lock.name)}*.rename")
        return [lock for lock in (self.write_lock, *broken) if lock.is_symlink()]

    @property
    def folders(self) -> list[Path]:
        """Where a study writes: its storage, if that is a file, its results, its trials."""
        file = self.journal or sqlite_file(self.storage)
        return [*([file.parent] if file else []), self.sweep_dir, self.root]

    def trial_folder(self, number: int) -> Path:
        """What `CurrentTrial.folder` is, over all attempts."""
        return self.root / "trials" / self.study_name / str(number)

    @property
    def composed(self) -> Path:
        """The app's config at this start."""
        return self.sweep_dir / "multirun.yaml"

    @property
    def results(self) -> Path:
        """The best values and parameters."""
        return self.sweep_dir / "optimization_results.yaml"

    @property
    def overlays(self) -> Path:
        """What `--config-dir` takes to find the winner's overlay."""
        return self.sweep_dir / "best"

    @property
    def overlay_name(self) -> str:
        """What `+experiment=` takes to choose it."""
        return re.sub(r"[^\w-]+", "-", self.study_name)

    @property
    def overlay(self) -> Path:
        """The winner's overlay."""
        return self.overlays / "experiment" / f"{self.overlay_name}.yaml"


def _at_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # `~name` of a user that does not exist
        return Path(path)
