"""What several trainings of one setting, which differ by their seeds, come to together.

Each leaves a note in the folder of its group, from whatever process; whoever started them reads
the notes when all have ended, says a summary and records it on the parent run.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from perceptune import figures
from perceptune.conclusion import log_picture
from perceptune.config import Config, flatten, to_dict
from perceptune.experiment import UNRECORDED, Result
from perceptune.tracking.lifecycle import Group, parent_of
from perceptune.tracking.run import Run


@dataclass(frozen=True)
class Spread:
    """How a number differs between seeds; `sd` is the sample's, with n - 1."""

    mean: float
    sd: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of two values or more."""
        return cls(fmean(values), stdev(values), min(values), max(values))

    def metrics(self, name: str) -> dict[str, float]:
        """By metric name: `test/accuracy/mean` and so on for `name` test/accuracy."""
        return {f"{name}/{key}": value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Note:
    """What one training of a group came to.

    Attributes:
        seed: that it was trained with.
        words: what the user said, without the seed.
        settings: the recorded configuration, flat and without the seed: equal for one setting.
        metrics: final numbers, by metric name.
        history: every measurement, by metric name, with its `epoch`.
        run_id: where it is recorded, if it is.
        tags: short texts that were recorded with it.
    """

    seed: int
    words: list[str]
    settings: dict[str, Any]
    metrics: dict[str, float]
    history: list[dict[str, float]]
    run_id: str | None
    tags: dict[str, str]

    @classmethod
    def of(
        cls, config: Config, overrides: Sequence[str], result: Result, tags: Mapping[str, str]
    ) -> "Note":
        """The note of a training that has ended."""
        known = to_dict(config)
        settings = flatten({k: v for k, v in known.items() if k not in (*UNRECORDED, "seed")})
        words = [word for word in overrides if not word.startswith(("seed=", "tracking"))]
        return cls(
            seed=config.seed,
            words=words,
            settings=settings,
            metrics=result.metrics,
            history=[dict(measured) for measured in result.history],
            run_id=result.run.id,
            tags=dict(tags),
        )

    def leave(self, folder: Path) -> None:
        """Write the note to `folder`, where `notes` finds it."""
        with tempfile.NamedTemporaryFile(
            "w", dir=folder, suffix=".note", delete=False, encoding="utf-8"
        ) as file:
            json.dump(asdict(self), file)


@dataclass(frozen=True)
class Setting:
    """One configuration and its trainings, which differ by their seeds alone, in order of these."""

    notes: Sequence[Note]

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return [note.seed for note in self.notes]

    @property
    def spreads(self) -> dict[str, Spread]:
        """Of every number that all its trainings have, by metric name."""
        names = [n for n in self.notes[0].metrics if all(n in note.metrics for note in self.notes)]
        return {name: Spread.of([note.metrics[name] for note in self.notes]) for name in names}

    @property
    def best_run(self) -> str | None:
        """The run whose network is the best on validation samples: the test set chooses nothing."""
        best = max(self.notes, key=lambda note: note.metrics.get("val/accuracy", 0.0))
        return best.run_id


def notes(folder: Path) -> list[Note]:
    """What the trainings of a group have left."""
    return [Note(**json.loads(path.read_text())) for path in folder.glob("*.note")]


def settings_of(found: Sequence[Note]) -> list[Setting]:
    """The settings that were trained with two seeds or more, in the order of their words."""
    alike: dict[str, dict[int, Note]] = {}
    for note in found:
        alike.setdefault(_key(note), {})[note.seed] = note
    several = [
        Setting([by_seed[seed] for seed in sorted(by_seed)])
        for by_seed in alike.values()
        if len(by_seed) > 1
    ]
    return sorted(several, key=lambda setting: setting.notes[0].words)


def conclude(group: Group) -> None:
    """Say and record what the group's trainings came to, if some differ by their seeds alone."""
    found = notes(group.folder)
    settings = settings_of(found)
    if not settings:
        return
    print(summary(settings), flush=True)
    parent = parent_of(group)
    if parent is None:
        return
    if len({_key(note) for note in found}) == 1:
        record(parent, settings[0])
    else:
        record_table(parent, settings)


def record(run: Run, setting: Setting) -> None:
    """Record on a group's parent what its only setting came to."""
    spreads, one = setting.spreads, setting.notes[0]
    sizes = {"model.parameters": int(one.metrics["model/parameters"])}
    run.log_params(
        {**one.settings, **sizes, "seed": min(setting.seeds), "repeats": len(setting.seeds)}
    )
    run.log_metrics({k: v for name in spreads for k, v in spreads[name].metrics(name).items()})
    run.log_tags(
        {
            "kind": "repeats",
            "seeds": json.dumps(setting.seeds),
            "best_run_id": setting.best_run or "",
            **one.tags,
        }
    )
    histories = [note.history for note in setting.notes]
    log_picture(run, "seeds", lambda path: figures.seeds(path, histories))


def record_table(run: Run, settings: Sequence[Setting]) -> None:
    """Record on a multirun's parent what each of its settings came to."""
    part = scored_part(settings)
    rows = [
        [label, json.dumps(setting.seeds), *asdict(setting.spreads[part]).values()]
        for label, setting in zip(labels(settings), settings, strict=True)
    ]
    columns = ["setting", "seeds", *(f"{part}/{key}" for key in ("mean", "sd", "min", "max"))]
    run.log_table("seeds.json", columns, rows)


def summary(settings: Sequence[Setting]) -> str:
    """What to say of them at the terminal: a line for one, a table for several."""
    part = scored_part(settings)
    if len(settings) == 1:
        return in_words(part.replace("/", " "), settings[0].spreads[part], settings[0].seeds)
    rows = [
        (label, in_words("", setting.spreads[part], setting.seeds))
        for label, setting in zip(labels(settings), settings, strict=True)
    ]
    width = max(len(label) for label, _ in rows)
    title = f"{part.replace('/', ' ')}, mean ± standard deviation:"
    return "\n".join([title, *(f"  {label:<{width}}  {text}" for label, text in rows)])


def in_words(what: str, spread: Spread, seeds: Sequence[int]) -> str:
    """A spread of accuracies in words: `test accuracy 97.94 % ± 0.18 (5 seeds: 0–4), range …`."""
    straight = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    named = f"{seeds[0]}–{seeds[-1]}" if straight else ", ".join(map(str, seeds))
    numbers = f"{spread.mean * 100:.2f} % ± {spread.sd * 100:.2f}"
    extremes = f"{spread.min * 100:.2f}–{spread.max * 100:.2f} %"
    return f"{what} {numbers} ({len(seeds)} seeds: {named}), range {extremes}".strip()


def scored_part(settings: Sequence[Setting]) -> str:
    """The accuracy that all of them have: of the test set, if all have read it."""
    for part in ("test/accuracy", "val/accuracy"):
        if all(part in setting.spreads for setting in settings):
            return part
    return "train/accuracy"


def labels(settings: Sequence[Setting]) -> list[str]:
    """What tells the settings apart, in the user's own words."""
    words = [setting.notes[0].words for setting in settings]
    shared = set(words[0]).intersection(*words[1:])
    return [" ".join(word for word in own if word not in shared) or "defaults" for own in words]


def _key(note: Note) -> str:
    """The same for two trainings of one setting."""
    return json.dumps(note.settings, sort_keys=True)
