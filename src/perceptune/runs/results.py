"""What a finished run shows: pictures of its network and predictions, tables of its mistakes.

Knows neither MLflow nor how the network was trained.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perceptune import figures
from perceptune.data.split import Part
from perceptune.evaluation import Scores, calibrate, confused_pairs, mistakes, score
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.tracking.run import Run

_SHOWN = 40  # samples in a gallery
_UNITS = 64  # first-layer units in a picture


@dataclass(frozen=True)
class Predictions:
    """What a network, or several, said about a part of the data.

    Attributes:
        part: its name, `test` or `validation`.
        images: (samples, height, width), for showing.
        rows: (samples,) where each stands in the data set.
        labels: (samples,) the truth.
        probabilities: (samples, classes).
        classes: their names.
    """

    part: str
    images: Array
    rows: Array
    labels: Array
    probabilities: Array
    classes: Sequence[str]

    @classmethod
    def of(
        cls,
        part: str,
        samples: Part,
        shape: Sequence[int],
        probabilities: Array,
        names: Sequence[str],
    ) -> "Predictions":
        """What was predicted for all `samples`, images of `shape` (height, width)."""
        images = samples.images[samples.rows].reshape(-1, *shape)
        labels = samples.labels[samples.rows]
        return cls(part, images, samples.rows, labels, probabilities, names)

    def scores(self) -> Scores:
        """How good they are."""
        return score(self.labels, self.probabilities)

    def metrics(self, prefix: str) -> dict[str, float]:
        """Everything that is a number, by metric name."""
        error = calibrate(self.labels, self.probabilities).error
        return self.scores().metrics(prefix) | {f"{prefix}/ece": error}


def show(run: Run, said: Predictions, suffix: str = "") -> None:
    """Record the pictures and tables of `said`; `suffix` tells several sets of a run apart."""
    scores = said.scores()
    wrong = mistakes(said.labels, said.probabilities)
    with tempfile.TemporaryDirectory() as scratch:

        def place(name: str) -> Path:
            return Path(scratch) / f"{name}{suffix}.png"

        figures.confusion(place("confusion"), scores.confusion, said.classes)
        figures.per_class(
            place("per_class"), scores.precision, scores.recall, scores.f1, said.classes
        )
        figures.calibration(place("calibration"), calibrate(said.labels, said.probabilities))
        title = f"the most confident of {len(wrong):,} mistakes ({said.part}): true → predicted"
        _gallery(place("mistakes"), said, wrong[:_SHOWN], title)
        # Always the same samples, so that runs can be compared.
        some = np.random.default_rng(0).permutation(len(said.labels))[:_SHOWN]
        _gallery(place("samples"), said, some, f"random samples ({said.part}): true → predicted")
        _log_all(run, Path(scratch))
    columns, rows = _mistakes_table(said, wrong)
    run.log_table(f"mistakes{suffix}.json", columns, rows)
    pairs = [
        [said.classes[true], said.classes[predicted], count]
        for true, predicted, count in confused_pairs(scores.confusion)
    ]
    run.log_table(f"confused_pairs{suffix}.json", ["true", "predicted", "count"], pairs)


def show_weights(
    run: Run, network: Network, theta: Array, shape: Sequence[int], suffix: str = ""
) -> None:
    """Record a picture of what first-layer units look for, the strongest first."""
    weight = network.layout.layers(theta)[0].weight  # (inputs, units)
    strength = np.linalg.norm(weight, axis=0)
    chosen = np.argsort(-strength, kind="stable")[:_UNITS]
    pictures = weight.T[chosen].reshape(-1, *shape)
    title = (
        f"first-layer weights, {len(chosen)} of {weight.shape[1]} units, strongest first: "
        "orange excites, violet inhibits"
    )
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / f"weights{suffix}.png"
        figures.tiles(picture, pictures, [f"unit {unit}" for unit in chosen], title=title)
        _log_all(run, Path(scratch))


def captions(
    names: Sequence[str], labels: Array, predicted: Array, probabilities: Array
) -> list[str]:
    """What stands below each sample of a gallery; all arrays (samples,)."""
    # Words such as "T-shirt/top → Ankle boot" are wider than the image above them.
    form = "{}\n→ {}\n{:.1%}" if max(map(len, names)) > 3 else "{} → {}  {:.1%}"
    return [
        form.format(names[true], names[guess], share)
        for true, guess, share in zip(labels, predicted, probabilities, strict=True)
    ]


def _gallery(path: Path, said: Predictions, chosen: Array, title: str) -> None:
    sure = said.probabilities[chosen].max(axis=1)
    predicted = said.probabilities[chosen].argmax(axis=1)
    labels = said.labels[chosen]
    texts = captions(said.classes, labels, predicted, sure)
    figures.gallery(path, said.images[chosen], texts, labels == predicted, title=title, columns=8)


def _mistakes_table(said: Predictions, wrong: Array) -> tuple[list[str], list[list[object]]]:
    """All wrong predictions: where, what, and how sure."""
    rows: list[list[object]] = []
    for position in wrong:
        shares = said.probabilities[position]
        true, guess = int(said.labels[position]), int(shares.argmax())
        rows.append(
            [
                int(said.rows[position]),
                said.classes[true],
                said.classes[guess],
                round(float(shares[guess]), 4),
                round(float(shares[true]), 4),
            ]
        )
    return ["index", "true", "predicted", "probability", "probability_of_true"], rows


def _log_all(run: Run, folder: Path) -> None:
    for picture in sorted(folder.glob("*.png")):
        run.log_file(picture, "plots")
