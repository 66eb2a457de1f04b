"""A run from top to bottom, read back from the store."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optuna_joblib_sweeper.testing import FakeTrial, wait_until
from perceptune import __version__
from perceptune.errors import DivergedError, UserError
from perceptune.nn.checkpoint import load_network
from perceptune.nn.fit import fit
from perceptune.runs import run as run_module
from perceptune.runs.training import start
from support import COMMAND, configure, run, runs_in, store_of

FIGURES = ["curves", "confusion", "per_class", "calibration", "mistakes", "samples", "weights"]
TAGS = {"pid", "host", "boot_id", "blas", "threads", "data.sha256", "perceptune.version"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """One ordinary run, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder, "train.epochs=3", "model.hidden=[16]")
    [record] = runs_in(folder)
    return folder, record


def _artifacts(folder: Path, record: Any) -> Path:
    return folder / "mlruns" / "artifacts" / str(record.info.run_id) / "artifacts"


def test_parameters_are_the_flattened_configuration(finished: tuple[Path, Any]) -> None:
    params = finished[1].data.params
    assert params["optimizer.lr"] == "0.001"
    assert params["train.epochs"] == "3"
    assert params["data.name"] == "digits"
    assert params["seed"] == "0"
    assert params["model.layers"] == "1"
    assert params["model.width_1"] == "16"
    assert params["model.parameters"] == str(64 * 16 + 16 + 16 * 10 + 10)
    assert not [name for name in params if name.startswith("tracking.")]


def test_every_epoch_has_every_metric(finished: tuple[Path, Any]) -> None:
    from mlflow import MlflowClient

    folder, record = finished
    client = MlflowClient(store_of(folder))
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "epoch_seconds"):
        history = client.get_metric_history(record.info.run_id, name)
        assert [entry.step for entry in history] == [1, 2, 3], name


def test_final_metrics_agree_with_the_weights_kept(finished: tuple[Path, Any]) -> None:
    folder, record = finished
    metrics = record.data.metrics
    saved = load_network(_artifacts(folder, record) / "weights" / "best.npz")
    training = start(configure(folder), [])
    test = training.parts.test
    probabilities = saved.network.probabilities(saved.theta, test.images[test.rows])
    right = probabilities.argmax(axis=1) == test.labels[test.rows]
    assert metrics["test/accuracy"] == right.mean()
    recall = [right[test.labels[test.rows] == label].mean() for label in range(10)]
    assert [metrics[f"test/recall/{label}"] for label in range(10)] == recall
    assert metrics["best/val_accuracy"] == max(
        entry.value for entry in _history(folder, record, "val/accuracy")
    )
    assert {"test/loss", "best/epoch", "fit_seconds", "test/precision/9", "test/f1/9"} <= set(
        metrics
    )


def _history(folder: Path, record: Any, name: str) -> list[Any]:
    from mlflow import MlflowClient

    return list(MlflowClient(store_of(folder)).get_metric_history(record.info.run_id, name))


def test_tags_data_and_artifacts_are_complete(finished: tuple[Path, Any]) -> None:
    folder, record = finished
    tags = record.data.tags
    assert set(tags) >= TAGS
    assert tags["outcome"] == "finished"
    assert tags["perceptune.version"] == __version__
    assert record.info.run_name == "adam lr=0.001 [16] relu epochs=3"
    assert record.info.status == "FINISHED"
    [data] = record.inputs.dataset_inputs
    assert data.dataset.name == "digits"
    assert tags["data.sha256"].startswith(data.dataset.digest)
    assert json.loads(data.dataset.profile)["train"] == 1294
    files = {
        str(p.relative_to(_artifacts(folder, record)))
        for p in _artifacts(folder, record).rglob("*.*")
    }
    assert files == {
        *("weights/best.npz", "weights/last.npz", "config.yaml", "overrides.yaml"),
        *(f"plots/{name}.png" for name in FIGURES),
        *("mistakes.json", "confused_pairs.json"),
    }
    assert not list((folder / "mlruns").glob("checkpoints/*"))


def test_one_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        run(folder, "tracking.enabled=false", "train.epochs=2", "model.dropout=0.2", f"seed={seed}")
        return load_network(folder / "output" / "weights" / "last.npz").theta.tobytes()

    assert weights("a", 0) == weights("b", 0) != weights("c", 1)


def test_a_diverged_training_says_so_and_logs_no_such_number(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"diverged in epoch 1.*optimizer.lr=1e\+09"):
        run(tmp_path, "optimizer=sgd", "optimizer.lr=1e9", "train.epochs=3")
    [record] = runs_in(tmp_path)
    assert record.info.status == "FAILED"
    assert record.data.tags["outcome"] == "diverged"
    assert "epoch 1" in record.data.tags["reason"]
    assert all(np.isfinite(list(record.data.metrics.values())))


# Without validation nothing but the weights themselves tells that the last step was the end.
EXPLOSIONS = [
    ("optimizer.lr=100", "model.hidden=[64,64,64]"),
    ("optimizer.lr=1e38", "model.hidden=[]"),
    ("optimizer.lr=1e38", "model.hidden=[16]", "train.epochs=2", "train.ema=0.9"),
    ("optimizer.lr=1e38", "model.hidden=[16]", "train.evaluate_test=false"),
]


@pytest.mark.parametrize("overrides", EXPLOSIONS, ids=" ".join)
def test_weights_that_are_not_finite_are_never_kept(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    fixed = ("data.validation=0", "train.batch_size=null", "optimizer=sgd", "train.epochs=3")
    with pytest.raises(DivergedError, match="diverged"):
        run(tmp_path, *fixed, "model.activation=leaky_relu", *overrides)
    [record] = runs_in(tmp_path)
    assert record.info.status == "FAILED"
    assert record.data.tags["outcome"] == "diverged"
    assert all(np.isfinite(list(record.data.metrics.values())))
    assert not list(tmp_path.rglob("*.npz"))


def test_an_end_that_is_not_finite_is_not_hidden_by_a_good_best_epoch(tmp_path: Path) -> None:
    training = start(configure(tmp_path, "train.epochs=2"), [])
    for record in fit(
        training.network, training.state, training.config.recipe, training.parts.train
    ):
        if record.number == 2:
            training.state.theta[-1] = -np.inf
            with pytest.raises(DivergedError, match="epoch 2: its weights are not finite"):
                training.record_epoch(record)
        else:
            training.record_epoch(record)


def test_a_trial_whose_weights_are_not_finite_is_told_no_value(tmp_path: Path) -> None:
    trial = FakeTrial(folder=tmp_path)
    words = ("optimizer=sgd", "optimizer.lr=1e45", "train.batch_size=null", "data.validation=0")
    with pytest.raises(DivergedError):
        run(tmp_path, "tracking.enabled=false", "objective=train/loss", *words, trial=trial)
    assert not trial.reports


def test_a_crash_leaves_a_failed_run_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("the disk caught fire")

    monkeypatch.setattr(run_module, "record_results", broken)
    with pytest.raises(RuntimeError):
        run(tmp_path, "train.epochs=1")
    [record] = runs_in(tmp_path)
    assert record.info.status == "FAILED"
    assert record.data.tags["reason"] == "RuntimeError: the disk caught fire"


def test_patience_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    result = run(tmp_path, "tracking.enabled=false", "train.epochs=500", "train.patience=3")
    assert result.outcome == "stopped_early"
    assert result.epochs == result.best_epoch + 3


@pytest.mark.parametrize(
    ("objective", "best"),
    [
        ("val/accuracy", max),
        ("val/loss", min),
        ("train/loss", min),
        ("[val/loss,fit_seconds]", min),
    ],
)
def test_the_objective_decides_which_epoch_is_kept_and_is_the_value_of_a_trial(
    tmp_path: Path, objective: str, best: Callable[[Iterable[float]], float]
) -> None:
    # It overfits: validation loss has its minimum long before accuracy has its maximum.
    long = ("model.hidden=[64]", "train.epochs=80", "optimizer.lr=0.02", "data.split_seed=3")
    trial = FakeTrial(folder=tmp_path / "trial")
    result = run(tmp_path, *long, "tracking.enabled=false", f"objective={objective}", trial=trial)
    name = objective.strip("[").partition(",")[0]
    values = [row[name] for row in result.history]
    assert result.metrics[name] == best(values) == values[result.best_epoch - 1]
    assert best(trial.reports.values()) == best(values)  # what a pruner has seen
    losses = [row["val/loss"] for row in result.history]
    assert min(losses) < losses[-1]  # so that the last epoch is not the best by every objective


def test_without_validation_the_last_weights_are_the_best(tmp_path: Path) -> None:
    result = run(tmp_path, "tracking.enabled=false", "train.epochs=3", "data.validation=0")
    folder = tmp_path / "output" / "weights"
    best, last = (load_network(folder / f"{name}.npz").theta for name in ("best", "last"))
    assert result.best_epoch == 3
    np.testing.assert_array_equal(best, last)


def test_the_test_set_is_read_only_when_asked(tmp_path: Path) -> None:
    result = run(tmp_path, "tracking.enabled=false", "train.epochs=1", "train.evaluate_test=false")
    assert not [name for name in result.metrics if name.startswith("test/")]


COMPOSITIONS = [
    ("optimizer=sgd", "schedule=step", "model.activation=sigmoid", "model.init=xavier_uniform"),
    ("optimizer=momentum", "schedule=cosine", "model.activation=tanh", "model.init=lecun_normal"),
    ("optimizer=nesterov", "schedule=one_cycle", "model.activation=elu", "model.init=orthogonal"),
    ("optimizer=rmsprop", "schedule=exponential", "model.activation=silu", "model.hidden=[]"),
    (
        "optimizer=adagrad",
        "schedule.warmup=1",
        "model.activation=softplus",
        "train.batch_size=400",
    ),
    ("optimizer=adamw", "data.standardize=true", "model.activation=gelu", "train.ema=0.9"),
    (
        "train.l1=1e-5",
        "train.l2=1e-4",
        "train.max_norm=3",
        "train.clip_norm=1",
        "model.init=normal",
    ),
    ("model.dropout=0.2", "model.input_dropout=0.1", "train.label_smoothing=0.1", "threads=2"),
    ("model.hidden=[32,32,32]", "model.activation=leaky_relu", "model.dtype=float64"),
    ("train.metrics_every=2", "train.weight_decay=0.01", "model.init=he_uniform"),
]


@pytest.mark.parametrize("overrides", COMPOSITIONS, ids=" ".join)
def test_any_composition_of_the_groups_trains(overrides: tuple[str, ...], tmp_path: Path) -> None:
    result = run(tmp_path, "tracking.enabled=false", "train.epochs=4", *overrides)
    assert result.metrics["val/loss"] < np.log(10)  # better than chance


def _started(folder: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    """The real command in a process of its own."""
    command = [*COMMAND, "train", *overrides]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait_for(found: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    def there() -> bool:
        assert process.poll() is None, "the training ended too early"
        return bool(found())

    wait_until(there, seconds=300)


LONG = (
    "train.epochs=150",
    "train.checkpoint_seconds=0",
    "train.ema=0.99",
    "model.dropout=0.1",
    "schedule=cosine",
)


def test_a_killed_run_is_resumed_in_place_to_the_same_bits(tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    straight.mkdir()
    run(straight, "tracking.enabled=false", *LONG)

    killed = tmp_path / "killed"
    killed.mkdir()
    process = _started(killed, *LONG)
    _wait_for(lambda: list(killed.glob("mlruns/checkpoints/*.npz")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    [record] = runs_in(killed)
    assert record.info.status == "RUNNING"

    result = run(killed, f"resume={record.info.run_id}")
    assert result.run.id == record.info.run_id
    [record] = runs_in(killed)
    assert record.info.status == "FINISHED"
    assert record.data.tags["outcome"] == "finished"
    steps = [entry.step for entry in _history(killed, record, "val/accuracy")]
    assert steps == list(range(1, 151))
    for name in ("best", "last"):
        resumed = load_network(_artifacts(killed, record) / "weights" / f"{name}.npz")
        whole = load_network(straight / "output" / "weights" / f"{name}.npz")
        assert resumed.theta.tobytes() == whole.theta.tobytes()
    with pytest.raises(UserError, match=r"no checkpoint at .* the run has finished"):
        run(killed, f"resume={record.info.run_id}")


@pytest.mark.slow
def test_the_next_start_closes_the_dead_and_leaves_the_living_alone(tmp_path: Path) -> None:
    dead, living = _started(tmp_path, *LONG), None
    try:
        _wait_for(lambda: list(tmp_path.glob("mlruns/checkpoints/*.npz")), dead)
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        [victim] = [path.stem for path in tmp_path.glob("mlruns/checkpoints/*.npz")]
        living = _started(tmp_path, *LONG, "train.epochs=100000")
        _wait_for(lambda: len(list(tmp_path.glob("mlruns/checkpoints/*.npz"))) == 2, living)
        run(tmp_path, "train.epochs=1")
        statuses = {record.info.run_id: record.info.status for record in runs_in(tmp_path)}
        assert statuses.pop(victim) == "FAILED"
        assert sorted(statuses.values()) == ["FINISHED", "RUNNING"]
        [alive] = [name for name, status in statuses.items() if status == "RUNNING"]
        with pytest.raises(UserError, match="still being trained, by process"):
            run(tmp_path, f"resume={alive}")
    finally:
        for process in (dead, living):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_an_interrupted_run_is_closed_and_can_be_resumed(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    process = _started(tmp_path, *LONG, "train.epochs=100000")
    _wait_for(lambda: list(tmp_path.glob("mlruns/checkpoints/*.npz")), process)
    process.send_signal(number)
    assert process.wait(timeout=300) == code
    [record] = runs_in(tmp_path)
    assert record.info.status == "KILLED"
    assert record.data.tags["reason"] == "interrupted"
    assert (tmp_path / "mlruns" / "checkpoints" / f"{record.info.run_id}.npz").is_file()


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(UserError, match="is damaged, or not a Perceptune file"):
        run(tmp_path, "resume=checkpoint.npz")


@pytest.mark.slow
def test_eight_processes_start_at_once_on_a_store_that_does_not_exist(tmp_path: Path) -> None:
    processes = [_started(tmp_path, "train.epochs=2", f"seed={seed}") for seed in range(8)]
    assert [process.wait(timeout=300) for process in processes] == [0] * 8
    runs = runs_in(tmp_path)
    assert sorted(record.data.params["seed"] for record in runs) == [str(s) for s in range(8)]
    assert {record.info.status for record in runs} == {"FINISHED"}


def test_five_seeds_of_the_defaults_average_97_percent_on_the_digits(tmp_path: Path) -> None:
    accuracies = [
        run(tmp_path, "tracking.enabled=false", f"seed={seed}").metrics["test/accuracy"]
        for seed in range(5)
    ]
    assert np.mean(accuracies) >= 0.97


@pytest.mark.slow
def test_the_defaults_reach_97_5_percent_on_mnist(mnist: Path, tmp_path: Path) -> None:
    result = run(tmp_path, "data=mnist", f"data.dir={mnist}", "tracking.enabled=false")
    assert result.metrics["test/accuracy"] >= 0.975


@pytest.mark.slow
def test_the_long_mnist_command_of_the_readme_trains(mnist: Path, tmp_path: Path) -> None:
    words = (
        "data=mnist model.hidden=[256,128] model.activation=gelu model.init=he_normal "
        "optimizer=adamw optimizer.lr=2e-3 schedule=cosine train.epochs=20 train.batch_size=128"
    )
    result = run(tmp_path, *words.split(), f"data.dir={mnist}", "tracking.enabled=false")
    assert result.metrics["test/accuracy"] >= 0.98


def test_a_second_attempt_at_a_trial_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    overrides = ("tracking.enabled=false", "train.epochs=5", "train.checkpoint_seconds=0")
    first = FakeTrial(folder=tmp_path, die_at=3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *overrides, trial=first)
    assert list(first.reports) == [1, 2]
    second = FakeTrial(folder=tmp_path)
    run(tmp_path, *overrides, trial=second)
    assert list(second.reports) == [3, 4, 5]  # the checkpoint of epoch 3 was not yet written
    third = FakeTrial(folder=tmp_path)  # the finished trial has left none
    run(tmp_path, *overrides, trial=third)
    assert list(third.reports) == [1, 2, 3, 4, 5]


def test_a_trial_never_reads_the_test_set(tmp_path: Path) -> None:
    trial = FakeTrial(folder=tmp_path, prune_at=2)
    result = run(tmp_path, "tracking.enabled=false", "train.epochs=9", trial=trial)
    assert (result.outcome, list(trial.reports)) == ("pruned", [1, 2])
    assert not [name for name in result.metrics if name.startswith("test/")]
    with pytest.raises(UserError, match="refused in a study"):
        run(tmp_path, "tracking.enabled=false", "train.evaluate_test=true", trial=trial)
