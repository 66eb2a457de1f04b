"""`perceptune evaluate`: how good networks are on a test set, on the terminal and in MLflow."""

from collections.abc import Sequence
from pathlib import Path

from perceptune import exhibits, paths, saved
from perceptune.config import Config, parse
from perceptune.data.split import split
from perceptune.errors import UserError
from perceptune.evaluation import confused_pairs
from perceptune.nn.checkpoint import SavedNetwork
from perceptune.tracking.lifecycle import open_run
from perceptune.tracking.store import Place
from perceptune.training import load_data

_USAGE = "usage: perceptune evaluate MODEL [MODEL ...] [OVERRIDE ...]"
_PAIRS = 5


def main(arguments: Sequence[str]) -> None:
    """Evaluate, print and record; several models are asked together.

    Raises:
        UserError: no such model or data, or they do not fit together.
    """
    overrides = [word for word in arguments if "=" in word and not Path(word).is_file()]
    names = [word for word in arguments if word not in overrides]
    if not names or any(name.startswith("-") for name in names):
        raise UserError(_USAGE)
    store = compose([word for word in overrides if word.startswith("tracking.")]).tracking.uri
    networks = [saved.load(name, store) for name in names]
    saved.refuse_mixture(networks, names)
    config = compose([*_own_data(networks[0], overrides), *overrides])
    said = _ask(config, networks, names)
    metrics = said.metrics("test")
    _print(said, metrics)
    if config.tracking.enabled:
        _record(config, said, metrics, names)


def compose(overrides: Sequence[str]) -> Config:
    """The configuration, as `perceptune train` would have it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    paths.register_resolvers()
    with initialize_config_dir(str(paths.root() / "conf"), version_base="1.3"):
        return parse(hydra_compose("config", list(overrides)))


def _own_data(network: SavedNetwork, overrides: Sequence[str]) -> list[str]:
    """Where no data is named, what the network was trained on; the split that it knows, so
    that none of its training samples is taken for a test."""
    data = network.notes.get("data", {})
    own = []
    if not any(word.startswith("data=") for word in overrides) and data.get("name"):
        own.append(f"data={data['name']}")
    if isinstance(data.get("split_seed"), int):
        own.append(f"data.split_seed={data['split_seed']}")
    return own


def _ask(
    config: Config, networks: Sequence[SavedNetwork], names: Sequence[str]
) -> exhibits.Predictions:
    settings = config.data
    data = load_data(settings)
    test = split(data, validation=0, seed=settings.split_seed).test
    notes = networks[0].notes
    if tuple(notes["shape"]) != tuple(data.shape):
        raise UserError(
            f"{names[0]} takes images of {_by(notes['shape'])} pixels, data={data.name} has "
            f"{_by(data.shape)}; choose other data"
        )
    if len(notes["classes"]) != len(data.classes):
        raise UserError(
            f"{names[0]} knows {len(notes['classes'])} classes, data={data.name} has "
            f"{len(data.classes)}; choose other data"
        )
    if data.test_images is None:
        _refuse_trained_on(data.digest, settings.split_seed, networks, names)
    images = test.images[test.rows]
    shares = saved.mean_probabilities(networks, images, data.pixel_max)
    return exhibits.Predictions.of("test", test, data.shape, shares, data.classes)


def _refuse_trained_on(
    digest: str, split_seed: int, networks: Sequence[SavedNetwork], names: Sequence[str]
) -> None:
    """Where the test part is drawn from the data, another draw holds training samples."""
    for network, name in zip(networks, names, strict=True):
        own = network.notes.get("data", {})
        if own.get("digest") == digest and own.get("split_seed") != split_seed:
            raise UserError(
                f"data.split_seed={split_seed} would test {name} on samples that it was trained "
                f"on; its own is {own.get('split_seed')}"
            )


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _record(
    config: Config, said: exhibits.Predictions, metrics: dict[str, float], names: Sequence[str]
) -> None:
    place = Place(config.tracking.uri, config.tracking.experiment)
    short = ", ".join(name[:12] if name.isalnum() else name for name in names)
    name = f"evaluate {short} on {config.data.name}"[:200]
    with open_run(place, name=name, tags={"kind": "evaluation"}) as run:
        run.log_params({"models": ", ".join(names), "data.name": config.data.name})
        run.log_metrics(metrics)
        if config.tracking.figures != "none":
            exhibits.show(run, said)
    print(f"         run  {run.id}  {name}")


def _print(said: exhibits.Predictions, metrics: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    scores = said.scores()
    table = Table("class", box=None)
    for column in ("precision", "recall", "F1", "samples"):
        table.add_column(column, justify="right")
    counts = scores.confusion.sum(axis=1)
    rows = zip(said.classes, scores.precision, scores.recall, scores.f1, counts, strict=True)
    for name, precision, recall, f1, count in rows:
        table.add_row(name, f"{precision:.4f}", f"{recall:.4f}", f"{f1:.4f}", f"{count:,}")
    Console(highlight=False).print(table)
    right, total = scores.confusion.trace(), len(said.labels)
    print(f"    accuracy  {scores.accuracy:.4f}, {right:,} of {total:,} right")
    print(f"        loss  {scores.loss:.4f}, calibration error {metrics['test/ece']:.4f}")
    pairs = [
        f"{said.classes[true]} → {said.classes[guess]} {count}×"
        for true, guess, count in confused_pairs(scores.confusion)[:_PAIRS]
    ]
    print(f"    mistaken  {', '.join(pairs) or 'nothing'}")
