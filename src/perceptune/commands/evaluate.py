"""`perceptune evaluate MODEL [MODEL …] [OVERRIDE …]`: scores on a test set, printed and recorded.

For several models the mean of their probabilities is scored.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perceptune import app, networks
from perceptune.config import Config
from perceptune.data import inputs, sources
from perceptune.data.dataset import Dataset
from perceptune.data.files import expanded
from perceptune.data.split import Part, split
from perceptune.errors import UserError
from perceptune.evaluation import confused_pairs
from perceptune.nn.checkpoint import SavedNetwork
from perceptune.runs.results import Predictions, log_predictions
from perceptune.terminal import Parser, print_table
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.recorder import take
from perceptune.tracking.store import ExperimentRef

_USAGE = "perceptune evaluate MODEL [MODEL ...] [OVERRIDE ...]"
_PAIRS = 5


def main(arguments: Sequence[str]) -> None:
    """Evaluate, print and record.

    Raises:
        UserError: no such model or data, or they do not fit together.
    """
    parser = Parser("perceptune evaluate", usage=_USAGE, description=__doc__)
    parser.add_argument("words", nargs="+", metavar="MODEL", help="a run id, models:/… or an .npz")
    words = parser.parse_args(list(arguments)).words
    overrides = [word for word in words if "=" in word and not _is_file(word)]
    names = [word for word in words if word not in overrides]
    if not names:
        raise UserError(f"no MODEL; usage: {_USAGE}")
    config = app.compose(overrides)
    found = [networks.load(name, config.tracking.uri) for name in names]
    networks.refuse_mixture(found, names)
    config = _with_data_of(found[0], config, overrides)
    data = _data(config, found, names, named=_names_data(overrides))
    part = _part(data, config, found, names, overrides)
    probabilities = networks.mean_probabilities(found, part.images[part.rows], data.pixel_max)
    predictions = Predictions.of("test", part, data, probabilities)
    metrics = predictions.metrics("test")
    _print(predictions, metrics)
    if config.tracking.enabled:
        _record(config, predictions, metrics, names)


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except OSError:  # an override too long for a name
        return False


def _names_data(overrides: Sequence[str]) -> bool:
    return any(word.startswith(("data=", "data.path=", "data.dir=")) for word in overrides)


def _with_data_of(network: SavedNetwork, config: Config, overrides: Sequence[str]) -> Config:
    """`config` with the data that the network was trained on, unless other is named."""
    own = network.metadata.get("data", {})
    group = any(word.startswith("data=") for word in overrides)
    if not group and own.get("name") not in (None, "", config.data.name):
        config = app.compose([f"data={own['name']}", *overrides])
    if _names_data(overrides):
        return config
    changes: dict[str, Any] = {}
    if isinstance(own.get("path"), str):
        places = [own["path"], own.get("origin") or ""]  # the second, if this is another folder
        there = [place for place in places if expanded(place).is_file()]
        changes = {
            "data.path": [*there, *places][0],
            "data.pixel_max": network.metadata["pixel_max"],
        }
    elif isinstance(own.get("dir"), str) and expanded(own["dir"]).is_dir():
        changes = {"data.dir": own["dir"]}
    return config.changed(**changes)


def _data(
    config: Config, found: Sequence[SavedNetwork], names: Sequence[str], *, named: bool
) -> Dataset:
    """Load the data, and see that the first network can be tested on it."""
    data, metadata = sources.load(config.data), found[0].metadata
    if not named and metadata.get("data", {}).get("digest", data.digest) != data.digest:
        raise UserError(
            f"{data.origin} has changed since {names[0]} was trained on it; to test on it "
            f"nevertheless, name it: data={data.name}"
            + (f" data.path={config.data.path}" if config.data.path else "")
        )
    if tuple(metadata["shape"]) != tuple(data.shape):
        raise UserError(
            f"{names[0]} takes images of {_by(metadata['shape'])} pixels, data={data.name} has "
            f"{_by(data.shape)}; choose other data"
        )
    known, numbers = metadata["classes"], all(name.isdecimal() for name in data.classes)
    if len(data.classes) > len(known) or (len(data.classes) < len(known) and not numbers):
        raise UserError(
            f"{names[0]} has {len(known)} classes, data={data.name} has {len(data.classes)}; "
            "choose other data"
        )
    white = _range(data, config, metadata["pixel_max"], names[0])
    return replace(data, classes=tuple(known) if numbers else data.classes, pixel_max=white)


def _range(data: Dataset, config: Config, own: int, name: str) -> int:
    """The range of the data's pixels; where they may as well be dark, it must be named."""
    judged = config.data.path is not None and config.data.pixel_max is None
    highest = max(float(images.max()) for key, images in data.arrays().items() if "images" in key)
    if not judged or highest > own or data.pixel_max == own:
        if data.pixel_max != own:
            print(f"pixels from 0 to {data.pixel_max} are scaled to {name}'s 0 to {own}")
        return data.pixel_max
    if inputs.is_far_below(data.pixel_max, own):
        raise UserError(
            f"{data.origin} has pixels up to {highest:g}, {name} was trained on 0 to {own}; set "
            f"data.pixel_max={data.pixel_max} if that is their range, or {own} if they are dark"
        )
    return own


def _part(
    data: Dataset,
    config: Config,
    found: Sequence[SavedNetwork],
    names: Sequence[str],
    overrides: Sequence[str],
) -> Part:
    """The test part; of data that no network was trained on and that has none, all samples."""
    owns = [network.metadata.get("data", {}) for network in found]
    seeds = [own.get("split_seed") for own in owns if own.get("digest") == data.digest]
    if data.test_images is not None:
        return split(data, validation=0, seed=0).test
    if not seeds:
        return Part(data.images, data.labels, np.arange(len(data.labels), dtype=np.int64))
    chosen = any(word.startswith("data.split_seed=") for word in overrides)
    seed = config.data.split_seed if chosen or not isinstance(seeds[0], int) else seeds[0]
    _refuse_trained_on(data.digest, seed, found, names)
    return split(data, validation=0, seed=seed).test


def _refuse_trained_on(
    digest: str, split_seed: int, found: Sequence[SavedNetwork], names: Sequence[str]
) -> None:
    """Refuse a split that would test a network on its own training samples."""
    for network, name in zip(found, names, strict=True):
        own = network.metadata.get("data", {})
        if own.get("digest") == digest and own.get("split_seed") != split_seed:
            raise UserError(
                f"data.split_seed={split_seed} would test {name} on samples that it was trained "
                f"on; set data.split_seed={own.get('split_seed')}"
            )


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _record(
    config: Config, predictions: Predictions, metrics: dict[str, float], names: Sequence[str]
) -> None:
    ref = ExperimentRef(config.tracking.uri, config.tracking.experiment)
    short = ", ".join(name[:12] if name.isalnum() else name for name in names)
    name = f"evaluate {short} on {config.data.name}"[:200]
    with open_run(ref, name=name, tags={"kind": "evaluation"}, recorder=take()) as run:
        run.log_params({"models": ", ".join(names), "data.name": config.data.name})
        run.log_metrics(metrics)
        if config.tracking.figures != "none":
            log_predictions(run, predictions)
    print(f"         run  {run.identified()}  {name}")


def _print(predictions: Predictions, metrics: dict[str, float]) -> None:
    scores, classes = predictions.scores(), predictions.classes
    counts = scores.confusion.sum(axis=1)
    rows = [
        (name, f"{precision:.4f}", f"{recall:.4f}", f"{f1:.4f}", f"{count:,}")
        for name, precision, recall, f1, count in zip(
            classes, scores.precision, scores.recall, scores.f1, counts, strict=True
        )
    ]
    print_table(["class", "precision", "recall", "F1", "samples"], rows, left=["class"])
    right, total = scores.confusion.trace(), len(predictions.labels)
    print(f"    accuracy  {scores.accuracy:.4f}, {right:,} of {total:,} correct")
    print(f"        loss  {scores.loss:.4f}, calibration error {metrics['test/ece']:.4f}")
    pairs = [
        f"{classes[true]} → {classes[guess]} {count}×"
        for true, guess, count in confused_pairs(scores.confusion)[:_PAIRS]
    ]
    print(f"    mistakes  {', '.join(pairs) or 'none'}")
