"""One setting trained with several seeds: ordinary runs, side by side, below one parent.

A trial of a study with several seeds is another thing: see `together`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from perceptune.config import Config
from perceptune.errors import UserError
from perceptune.experiment import train
from perceptune.seeds import Note
from perceptune.tracking.lifecycle import Group


def seeds_of(config: Config) -> list[int]:
    """The seeds that `repeats` asks for."""
    return list(range(config.seed, config.seed + config.repeats))


def train_all(
    config: Config,
    overrides: list[str],
    folder: Path,
    group: Group,
    tags: Mapping[str, str],
    n_jobs: int = 1,
) -> list[Note]:
    """Train a network with each of the seeds, `n_jobs` at a time; the split is the same for all.

    One that fails loses no other; each that ends says a line.

    Raises:
        UserError: at least one has failed, or goes on with a run or registers one, which only
            a single training can.
    """
    for name in ("resume", "register"):
        if getattr(config, name) is not None:
            raise UserError(f"{name} is for one training, got repeats={config.repeats}; drop one")
    from joblib import Parallel, delayed

    words = [word for word in overrides if word.partition("=")[0] not in ("repeats", "seed")]
    jobs = [
        delayed(_train_one)(
            replace(config, seed=seed, repeats=1), [*words, f"seed={seed}"], folder, group, tags
        )
        for seed in seeds_of(config)
    ]
    done: list[Note] = []
    errors: list[str] = []
    # In the order in which they end, so that each is told at once.
    for ended in Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(jobs):
        if isinstance(ended, str):
            errors.append(ended)
        else:
            done.append(ended)
            print(_line(ended), flush=True)
    if errors:
        kinds = "; ".join(dict.fromkeys(errors))
        raise UserError(kinds if not done else f"{len(errors)} of {len(jobs)} failed: {kinds}")
    return done


def _train_one(
    config: Config, overrides: list[str], folder: Path, group: Group, tags: Mapping[str, str]
) -> Note | str:
    """The training's note, or what was wrong with it: an error would end the others as well."""
    try:
        result = train(config, overrides, folder / f"seed_{config.seed}", group, tags)
    except UserError as error:
        return str(error)
    note = Note.of(config, overrides, result, tags)
    note.leave(group.folder)
    return note


def objective(done: Sequence[Note], names: Sequence[str]) -> float | tuple[float, ...]:
    """What a sweep is told: the means of what `names` lists."""
    means = [fmean(note.metrics.get(name, math.nan) for note in done) for name in names]
    return means[0] if len(means) == 1 else tuple(means)


def _line(note: Note) -> str:
    parts = [
        f"{part} {note.metrics[f'{part}/accuracy']:.4f}"
        for part in ("val", "test")
        if f"{part}/accuracy" in note.metrics
    ]
    return f"seed {note.seed}: {', '.join(parts)}  {note.run_id or ''}".rstrip()
