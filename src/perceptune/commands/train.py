"""`perceptune train [OVERRIDE …]`: one training, one with several seeds, or with -m many.

Its functions run in the processes of a multirun as well.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from optuna_joblib_sweeper import CurrentTrial, current_trial
from optuna_joblib_sweeper.signals import deaf_children
from perceptune import app, terminal
from perceptune.config import Config, Tracking, parse
from perceptune.errors import UserError, fail
from perceptune.overrides.options import parse_options
from perceptune.tracking import recorder

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

    from perceptune.runs.run import Result


_PARENT = "tracking.parent="  # the override that passes the parent run's id to jobs


def main(arguments: list[str]) -> None:
    """Train as `arguments` say, once or many times.

    Raises:
        UserError: a mistake that the user can fix.
        SystemExit: of one job, with the line printed already.
    """
    given = parse_options("train", __doc__, arguments)
    with MultirunParent.held, deaf_children() if given.multirun else nullcontext():
        app.run("train", given, _job)


class MultirunParent(Callback):
    """Opens the parent run of a multirun before its jobs, which get its id as an override.

    A study has its own parent, made by the sweeper.
    """

    held = ExitStack()  # closed by `main`, however the multirun ends

    def on_job_end(self, config: "DictConfig", job_return: "JobReturn", **kwargs: Any) -> None:
        """Leave out what was not typed of the line that Hydra prints for a job that failed."""
        job_return.overrides = [
            word for word in job_return.overrides or () if not word.startswith(_PARENT)
        ]

    def on_multirun_start(self, config: "DictConfig", **kwargs: Any) -> None:
        """Open the parent; Hydra turns other errors of a callback into warnings."""
        if config.hydra.runtime.choices["hydra/sweeper"] != "basic":
            return
        try:
            self._open(config)
        except (UserError, OSError) as error:
            fail(str(error))

    def _open(self, config: "DictConfig") -> None:
        from perceptune.overrides.mistakes import is_sweep_of_group, refuse_sweep
        from perceptune.seeds import parent_run

        overrides = config.hydra.overrides.task
        words: Any = OmegaConf.to_container(overrides, resolve=False)
        refuse_sweep(words)
        if not any(map(is_sweep_of_group, words)):  # what all jobs have in common must be right
            keys: Any = [key for key in config if key != "hydra"]
            parse(OmegaConf.masked_copy(config, keys))
        tracking: Any = OmegaConf.to_container(config.tracking, resolve=True)
        if tracking["parent"] is not None:
            raise UserError("a multirun sets tracking.parent itself; leave it out")
        name = " ".join(["multirun", *words])
        folder = Path(str(config.hydra.sweep.dir))
        parent = self.held.enter_context(parent_run(Tracking(**tracking), name, folder))
        if parent is not None:
            with open_dict(config):
                overrides.append(f"{_PARENT}{parent.id}")


@app.in_start_folder
def _job(composed: "DictConfig") -> Any:
    """One job, called by Hydra, maybe in another process; returns the objective."""
    terminal.keep_output()
    settings, trial = HydraConfig.get(), current_trial()
    alone = settings.mode is RunMode.RUN
    # Interpolations are resolved in the configuration, not here.
    given: Any = OmegaConf.to_container(settings.overrides.task, resolve=False)
    overrides = [word for word in map(str, given) if not word.startswith(_PARENT)]
    folder = Path(settings.runtime.output_dir)
    preset = settings.runtime.choices.get("experiment")
    tags = {"preset": str(preset)} if preset else {}
    with app.refusals() if alone else _reported(overrides, trial):
        config = parse(composed)
        if config.repeats > 1 and not trial:
            n_jobs = settings.launcher.get("n_jobs", 1) if alone else None
            return _train_seeds(config, overrides, folder, tags, n_jobs)
        result = _train(config, overrides, folder, trial=trial, tags=tags, alone=alone)
    if alone:
        print(terminal.places(result))
    elif not trial:
        name = " ".join(overrides) or "defaults"
        print(terminal.job_line(name, result.metrics, result.run.id), flush=True)
    return _objective(config, [result])


@contextmanager
def _reported(overrides: list[str], trial: CurrentTrial | None) -> Iterator[None]:
    """Print the mistake of a job of a multirun; those of trials are reported by the sweeper."""
    try:
        yield
    except UserError as error:
        if not trial:
            print(f"{' '.join(overrides)}: {error}", file=sys.stderr, flush=True)
        raise


def _train(
    config: Config,
    overrides: list[str],
    folder: Path,
    *,
    tags: Mapping[str, str],
    trial: CurrentTrial | None = None,
    alone: bool = False,
) -> "Result":
    from perceptune.runs.run import train

    ready = recorder.take() if alone else None
    return train(config, overrides, folder, trial=trial, tags=tags, recorder=ready, quiet=not alone)


def _train_seeds(
    config: Config, overrides: list[str], folder: Path, tags: Mapping[str, str], n_jobs: int | None
) -> Any:
    """Train several seeds below a new parent run, or without `n_jobs` below the multirun's."""
    from perceptune import seeds
    from perceptune.runs.run import name_of

    seeds.refuse_single(config)
    with ExitStack() as own:
        if n_jobs is not None:
            parent = own.enter_context(
                seeds.parent_run(config.tracking, name_of(config, overrides), folder)
            )
            own.enter_context(deaf_children())
            if parent is not None:
                config = config.changed(**{"tracking.parent": parent.id})
        results = seeds.train_seeds(
            config, overrides, folder, partial(_train, tags=tags), n_jobs or 1, _print_seed
        )
    return _objective(config, results)


def _objective(config: Config, results: Sequence["Result"]) -> Any:
    """The means over the results in the form of Hydra's sweeper: one number or a tuple."""
    means = [
        fmean(result.metrics.get(name, math.nan) for result in results)
        for name in config.objectives
    ]
    return means[0] if len(means) == 1 else tuple(means)


def _print_seed(seed: int, result: "Result") -> None:
    print(terminal.job_line(f"seed {seed}", result.metrics, result.run.id), flush=True)
