"""The same command gives the same numbers: records the results of commands, to compare later.

    python tests/same_numbers.py record FILE      with the code before a change
    python tests/same_numbers.py compare FILE     with the code after it, on the same machine

Needs PERCEPTUNE_DATA_DIR with the four MNIST files. Metrics are compared digit by digit and weights
by their digest; only what a clock measures is left out. Another processor or BLAS rounds otherwise,
so a record is of one machine, and is not committed.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FAST = ("tracking.figures=none",)
PRESETS = (
    "ann_128_64_adam",
    "ann_128_64_sgd",
    "ann_128_64_tuned",
    "kaggle_csv",
    "kaggle_csv_sigmoid",
    "keras_20",
    "leaky_10",
    "mlp_20",
    "mlp_20_minibatch",
    "notebook_mnist",
)
SHORT = ("train.epochs=2", "train.metrics_every=1", *FAST)
STUDY = ("-m", "sweeps=digits", "hydra.sweeper.n_jobs=1", "hydra.sweeper.mlflow.plots=false")
COMMANDS: dict[str, tuple[str, ...]] = {
    "digits": ("train",),
    "mnist": ("train", "data=mnist", *SHORT),
    **{f"preset {name}": ("train", f"experiment={name}", *SHORT) for name in PRESETS},
    "study": ("train", *STUDY, "hydra.sweeper.n_trials=6", "train.epochs=5", *FAST),
    "study of means": (
        *("train", *STUDY, "hydra.sweeper.n_trials=3", "train.epochs=3", "repeats=2", *FAST),
        *("hydra.sweeper.study_name=means", "hydra.sweeper.confirm.top=1"),
    ),
    "repeats": ("train", "repeats=3", "train.epochs=5", *FAST),
    "seeds": ("train", "-m", "seed=range(2)", "train.epochs=3", *FAST),
    "compare": ("compare", "backends=[numpy]", "train.epochs=3", *FAST),
    "regularized": (
        *("train", "optimizer=adamw", "schedule=one_cycle", "schedule.warmup=1", "train.epochs=5"),
        *("model.dropout=0.2", "model.input_dropout=0.1", "train.l1=1e-5", "train.l2=1e-4"),
        *("train.clip_norm=1", "train.max_norm=3", "train.label_smoothing=0.1", "train.ema=0.99"),
        *("model.init=orthogonal", "model.activation=elu", "data.standardize=true"),
        *("tracking.diagnostics=true", "train.patience=3", *FAST),
    ),
    "optimizers": (
        *("train", "-m", "optimizer=sgd,momentum,nesterov,rmsprop,adagrad,adam,adamw"),
        *("train.epochs=2", "hydra.launcher.n_jobs=1", "model.activation=leaky_relu", *FAST),
    ),
}


def main(action: str, file: Path) -> int:
    """Record to `file`, or compare with it; the exit code says whether all is the same."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(Path(folder), name) for name in COMMANDS}
    if action == "record":
        file.write_text(json.dumps(found, indent=1, sort_keys=True))
        print(f"{len(found)} commands recorded in {file}")
        return 0
    before = json.loads(file.read_text())
    differences = list(_differences(before, json.loads(json.dumps(found))))
    print("\n".join(differences) or f"{len(found)} commands give the same numbers")
    return bool(differences)


def measure(folder: Path, name: str) -> Any:
    """Run one command in a store of its own; metrics, histories and weights of each of its runs."""
    place = folder / name.replace(" ", "_")
    place.mkdir()
    _write_inputs(place)
    program = Path(sys.executable).with_name("perceptune")
    environment = {**os.environ, "PERCEPTUNE_CACHE_DIR": str(folder / "cache")}
    arguments = [*COMMANDS[name], *_inputs(name, place)]
    done = subprocess.run(
        [str(program), *arguments], cwd=place, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    print(name, flush=True)
    return _runs(place)


def _inputs(name: str, place: Path) -> list[str]:
    if "kaggle" in name or "leaky" in name:
        return [f"data.path={place / 'train.csv'}", "data.validation=200"]
    if "notebook" in name:
        return [f"data.path={place / 'mnist.npz'}", "data.validation=300"]
    return []


def _write_inputs(place: Path) -> None:
    """A CSV as Kaggle's and an archive as Keras's, of some real digits."""
    from perceptune.data import idx

    home = Path(os.environ["PERCEPTUNE_DATA_DIR"])
    data = idx.load(idx.MNIST, folder=home, cache=place.parent / "cache")
    rows = np.column_stack([data.labels[:2000], data.images[:2000]])
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    np.savetxt(place / "train.csv", rows, fmt="%d", delimiter=",", header=header, comments="")
    assert data.test_images is not None
    np.savez(
        place / "mnist.npz",
        x_train=data.images[:3000].reshape(-1, 28, 28),
        y_train=data.labels[:3000],
        x_test=data.test_images[:500].reshape(-1, 28, 28),
        y_test=data.test_labels[:500],
    )


def _runs(place: Path) -> list[Any]:
    """What the store holds, in an order that does not depend on times and ids."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlruns/mlflow.db")
    experiments = [each.experiment_id for each in client.search_experiments()]
    found = []
    for run in client.search_runs(experiments, max_results=1000):
        metrics = {key: value for key, value in run.data.metrics.items() if not _timed(key)}
        histories = {
            key: [[entry.step, entry.value] for entry in _history(client, run, key)]
            for key in metrics
        }
        folder = place / "mlruns" / "artifacts" / run.info.run_id / "artifacts"
        weights = {
            str(path.relative_to(folder)): _digest(path) for path in sorted(folder.rglob("*.npz"))
        }
        found.append({"status": run.info.status, "metrics": histories, "weights": weights})
    return sorted(found, key=lambda run: json.dumps(run, sort_keys=True))


def _history(client: Any, run: Any, key: str) -> list[Any]:
    entries = client.get_metric_history(run.info.run_id, key)
    return sorted(entries, key=lambda entry: (entry.step, entry.timestamp))


def _timed(metric: str) -> bool:
    words = ("seconds", "samples_per", "megabytes", "best_value")
    return any(word in metric for word in words)


def _digest(path: Path) -> str:
    """Of the arrays alone: the metadata may change."""
    sha = hashlib.sha256()
    with np.load(path) as archive:
        for name in sorted(set(archive.files) - {"meta"}):
            sha.update(name.encode())
            sha.update(np.ascontiguousarray(archive[name]).tobytes())
    return sha.hexdigest()


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """One line for each place where the two differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if key not in now or key not in before:
                yield f"{path} {key}: only {'before' if key in before else 'now'}"
            else:
                yield from _differences(before[key], now[key], f"{path} {key}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(*pair, f"{path}[{index}]")
    elif before != now:
        yield f"{path}: {before} before, {now} now"


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("record", "compare"):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
