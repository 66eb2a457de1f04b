"""`perceptune evaluate MODEL [MODEL …] [OVERRIDE …]`: scores on a test set, printed and recorded.

For several models the mean of their probabilities is scored.
"""

from collections.abc import Sequence
from pathlib import Path

from perceptune import app, networks
from perceptune.config import Config
from perceptune.data import sources
from perceptune.data.split import split
from perceptune.errors import UserError
from perceptune.evaluation import confused_pairs
from perceptune.nn.checkpoint import SavedNetwork
from perceptune.runs.results import Predictions, log_predictions
from perceptune.terminal import Parser, print_table
from perceptune.tracking.lifecycle import open_run
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
    overrides = [word for word in words if "=" in word and not Path(word).is_file()]
    names = [word for word in words if word not in overrides]
    if not names:
        raise UserError(f"no MODEL; usage: {_USAGE}")
    where = app.compose(overrides).tracking
    found = [networks.load(name, where.uri) for name in names]
    networks.refuse_mixture(found, names)
    config = app.compose([*_own_data(found[0], overrides), *overrides])
    predictions = _predict(config, found, names)
    metrics = predictions.metrics("test")
    _print(predictions, metrics)
    if config.tracking.enabled:
        _record(config, predictions, metrics, names)


def _own_data(network: SavedNetwork, overrides: Sequence[str]) -> list[str]:
    """Overrides for the data that the network was trained on, unless other data is named.

    The split is the network's as well, so that it is not tested on its training samples.
    """
    data = network.metadata.get("data", {})
    own = []
    if not any(word.startswith("data=") for word in overrides) and data.get("name"):
        own.append(f"data={data['name']}")
    if isinstance(data.get("split_seed"), int):
        own.append(f"data.split_seed={data['split_seed']}")
    return own


def _predict(config: Config, found: Sequence[SavedNetwork], names: Sequence[str]) -> Predictions:
    data = sources.load(config.data)
    test = split(data, validation=0, seed=config.data.split_seed).test
    metadata = found[0].metadata
    if tuple(metadata["shape"]) != tuple(data.shape):
        raise UserError(
            f"{names[0]} takes images of {_by(metadata['shape'])} pixels, data={data.name} has "
            f"{_by(data.shape)}; choose other data"
        )
    if len(metadata["classes"]) != len(data.classes):
        raise UserError(
            f"{names[0]} has {len(metadata['classes'])} classes, data={data.name} has "
            f"{len(data.classes)}; choose other data"
        )
    if data.test_images is None:
        _refuse_trained_on(data.digest, config.data.split_seed, found, names)
    images = test.images[test.rows]
    probabilities = networks.mean_probabilities(found, images, data.pixel_max)
    return Predictions.of("test", test, data, probabilities)


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
    with open_run(ref, name=name, tags={"kind": "evaluation"}) as run:
        run.log_params({"models": ", ".join(names), "data.name": config.data.name})
        run.log_metrics(metrics)
        if config.tracking.figures != "none":
            log_predictions(run, predictions)
    print(f"         run  {run.id}  {name}")


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
