"""Every preset in conf/experiment is documented, and runs: here on few, small images."""

from pathlib import Path

import numpy as np
import pytest

from perceptune import app
from perceptune.data import sources
from support import configure, run

FOLDER = app.root() / "conf" / "experiment"
PRESETS = sorted(file.stem for file in FOLDER.glob("*.yaml"))
SMALL = ("tracking.enabled=false", "data.validation=0.1", "train.epochs=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The overrides that use the embedded digits in the form of each source, by its name."""
    folder = tmp_path_factory.mktemp("data")
    digits = sources.load(configure(folder).data)
    table = np.column_stack([digits.labels, digits.images])
    header = ",".join(["label", *(f"pixel{number}" for number in range(64))])
    np.savetxt(folder / "train.csv", table, "%d", ",", header=header, comments="")
    images = digits.images.reshape(-1, 8, 8)
    np.savez(
        folder / "mnist.npz",
        x_train=images[300:],
        y_train=digits.labels[300:],
        x_test=images[:300],
        y_test=digits.labels[:300],
    )
    return {
        "csv": f"data.path={folder / 'train.csv'}",
        "npz": f"data.path={folder / 'mnist.npz'}",
        "mnist": "data=digits",
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_opens_with_its_command_and_says_what_was_measured(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# perceptune train experiment={name}")
    comment = " ".join(line[2:] for line in lines[2:12] if line.startswith("#"))
    for word in ("Source:", "Measured:", "% ±", "seeds", "two cores"):
        assert word in comment, word


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(name: str, data: dict[str, str], tmp_path: Path) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    [source] = [kind for kind in data if f"/data: {kind}\n" in text + _inherited(text)]
    result = run(tmp_path, f"experiment={name}", data[source], *SMALL)
    assert "test/accuracy" in result.metrics


VARIANTS = ["model.hidden=[10,10]", "model.dropout=0.1", "train.l2=1e-4"]
VARIANTS += ["train.batch_size=32", "optimizer=adam", "optimizer=rmsprop"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_leaky_10_is_one_override(
    variant: str, data: dict[str, str], tmp_path: Path
) -> None:
    assert variant in (FOLDER / "leaky_10.yaml").read_text()
    result = run(tmp_path, "experiment=leaky_10", data["csv"], *SMALL, variant)
    assert "test/accuracy" in result.metrics


def _inherited(text: str) -> str:
    """The text of the preset that this one starts from, if there is one."""
    return "".join(
        (FOLDER / f"{name}.yaml").read_text() for name in PRESETS if f"  - {name}\n" in text
    )


@pytest.mark.slow
def test_adam_reaches_97_percent_with_two_layers_on_mnist(mnist: Path, tmp_path: Path) -> None:
    words = ("experiment=ann_128_64_adam", f"data.dir={mnist}", "tracking.enabled=false")
    assert run(tmp_path, *words).metrics["test/accuracy"] >= 0.97
