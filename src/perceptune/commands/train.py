"""`perceptune train`: Hydra composes; one training, one with several seeds, or many are run.

Its functions run in the processes of a multirun as well.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceptune.commands.composition import composed
from perceptune.errors import UserError, fail
from perceptune.paths import register_resolvers

if TYPE_CHECKING:
    from omegaconf import DictConfig

_GROUP = "PERCEPTUNE_GROUP"  # tells the jobs of one command which folder they share


def main(arguments: list[str]) -> None:
    """Train as `arguments` say, once or many times."""
    run = composed("train", arguments, _job)
    if {"-m", "--multirun"} & set(arguments):
        words = [word for word in arguments if not word.startswith(("-", "hydra."))]
        with _grouped(" ".join(["multirun", *words])):
            run()
    else:
        run()


def _job(config_of_job: "DictConfig") -> Any:
    """What Hydra calls, once for each job, maybe in another process."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from optuna_joblib_sweeper import current_trial
    from perceptune import terminal
    from perceptune.config import parse

    settings = HydraConfig.get()
    alone = settings.mode is RunMode.RUN
    # As they were said: what is in them is resolved in the configuration, not here.
    said: Any = OmegaConf.to_container(settings.overrides.task, resolve=False)
    overrides = list(map(str, said))
    group = _group()
    try:
        config = parse(config_of_job)
        if config.repeats > 1 and not current_trial():
            return _repeat(config, overrides, settings)
        result = _train(config, overrides, settings, group)
    except UserError as error:
        if alone:
            if not hasattr(error, "outcome"):  # refused, not failed on the way
                _withdraw(Path(settings.runtime.output_dir), settings.output_subdir)
            fail(str(error))  # leaves by SystemExit, past Hydra's own report
        if not current_trial():  # of a failed trial the sweeper tells
            print(f"{' '.join(overrides)}: {error}", file=sys.stderr, flush=True)
        raise
    if alone:
        print(terminal.summary(result))
    elif group is not None and not current_trial():
        from perceptune.seeds import Note

        print(terminal.one_line(result, overrides), flush=True)
        Note.of(config, overrides, result, _tags(config, settings)).leave(group.folder)
    return result.objective(config.objectives)


def _withdraw(folder: Path, notes: str | None) -> None:
    """Take back the notes that Hydra has left for a job that never ran, and folders now empty."""
    if notes:
        shutil.rmtree(folder / notes, ignore_errors=True)
    here = Path.cwd()
    for place in (folder, *folder.parents):
        if here not in place.parents:
            return
        try:
            place.rmdir()
        except OSError:  # somebody else's files are in it
            return


def _train(config: Any, overrides: list[str], settings: Any, group: Any) -> Any:
    """One run, of one seed; in a study of several, unless one is being confirmed."""
    from dataclasses import replace

    from optuna_joblib_sweeper import current_trial
    from perceptune import experiment, together

    if current_trial().confirming:
        config = replace(config, repeats=1)  # each fresh seed is a run of its own
    if config.repeats > 1:
        return together.train(config, overrides, _tags(config, settings))
    folder = Path(settings.runtime.output_dir)
    return experiment.train(config, overrides, folder, group, _tags(config, settings))


def _repeat(config: Any, overrides: list[str], settings: Any) -> Any:
    """Several seeds: on all cores, or one after another where other jobs have these."""
    from contextlib import nullcontext

    from perceptune import repeats
    from perceptune.experiment import name_of

    folder, group = Path(settings.runtime.output_dir), _group()
    tags = _tags(config, settings)
    n_jobs = settings.launcher.get("n_jobs", 1) if group is None else 1
    with _grouped(name_of(config, overrides)) if group is None else nullcontext(group) as group:
        done = repeats.train_all(config, overrides, folder, group, tags, n_jobs)
    return repeats.objective(done, config.objectives)


def _tags(config: Any, settings: Any) -> dict[str, str]:
    """Which preset was chosen, if one was, and what its source reports, if it does."""
    found = {"preset": settings.runtime.choices.get("experiment"), "reported": config.reported}
    return {key: str(value) for key, value in found.items() if value}


@contextmanager
def _grouped(name: str) -> Iterator[Any]:
    """Several runs as children of one parent, which is closed when all have ended."""
    from perceptune import seeds
    from perceptune.tracking.interrupts import interrupts_stay_here
    from perceptune.tracking.lifecycle import Group, close_group

    with tempfile.TemporaryDirectory(prefix="perceptune-") as folder:
        group = Group(Path(folder), name[:200])
        group.save()
        os.environ[_GROUP] = folder
        status = "FINISHED"
        try:
            with interrupts_stay_here():
                yield group
        except BaseException as error:
            by_signal = isinstance(error, KeyboardInterrupt | SystemExit)
            status = "KILLED" if by_signal else "FAILED"
            raise
        finally:
            del os.environ[_GROUP]
            try:
                if status != "KILLED":
                    seeds.conclude(group)
            finally:
                close_group(group, status)


def _group() -> Any:
    from perceptune.tracking.lifecycle import Group

    return Group.load(Path(os.environ[_GROUP])) if _GROUP in os.environ else None


if _GROUP in os.environ:  # a job's process: it composes before it calls `_job`
    register_resolvers()
