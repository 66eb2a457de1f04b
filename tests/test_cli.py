"""The command as a user types it: its output and its errors."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from optuna_joblib_sweeper import mlflow_runs
from optuna_joblib_sweeper.testing import wait_until
from perceptune import app, cli, terminal
from support import COMMAND, Perceptune, runs_in

HEAVY = ("numpy", "hydra", "omegaconf", "mlflow", "optuna", "matplotlib", "rich", "sklearn")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv=['perceptune','--help']; from perceptune.cli import main; main()"
    code += f"; sys.exit(any(name in sys.modules for name in {HEAVY}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert answer.returncode == 0
    assert b"perceptune train" in answer.stdout


def test_an_untracked_training_imports_no_mlflow(tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["perceptune", "train", "tracking.enabled=false", "train.epochs=1"]
from perceptune.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
sys.exit(any(name in sys.modules for name in ("mlflow", "optuna", "sklearn", "matplotlib")))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "accuracy" in answer.stdout
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()
    assert len(list(tmp_path.glob("mlruns/hydra/*/*/weights/best.npz"))) == 1


@pytest.fixture(scope="module", autouse=True)
def _mlflow() -> None:
    """Import it once, so that no command of this process starts one that would."""
    mlflow_runs.import_client()


BAD = [
    ["fly"],
    ["train", "optimizer=adamm"],
    ["train", "train.epoch=5"],
    ["train", "model.hidden=[1"],
    ["train", "seed=0,1"],
    ["train", "train.epochs=abc"],
    ["train", "train.epochs=-1"],
    ["train", "train=5"],
    ["train", "data=mnist", "data.dir=/nowhere"],
    ["train", "data=csv", "data.path=nothing.csv"],
    ["train", "data=npz", "data.path=nothing.npz"],
    ["train", "data.validation=5000"],
    ["train", "data.validation=0.9999"],
    ["train", "experiment=nothing"],
    ["train", "sweeps=nothing"],
    ["train", "resume=nothing"],
    ["train", "tracking.uri=nonsense://x", "train.epochs=1"],
    ["train", "tracking.uri=sqlite:////proc/nowhere/x.db", "train.epochs=1"],
    ["train", "optimizer=sgd", "optimizer.lr=1e9", "tracking.enabled=false"],
    ["train", "--config-name", "nothing"],
    ["train", "--config-dir", "nowhere"],
    ["train", "--experimental-rerun", "job.pickle"],
    ["train", "--nonsense"],
    ["train", "${oops}"],
    ["train", "seed=${oops}"],
    ["train", "="],
    ["train", "+a.b.c=1"],
    ["train", "~nothing"],
    ["train", "-m", "train.epochs=0,-1", "tracking.enabled=false"],
    ["train", "repeats=0"],
    ["train", "repeats=2", "resume=abc"],
    ["train", "repeats=2", "register=abc"],
    ["train", "repeats=2", "data=csv", "data.path=nothing.csv"],
    ["train", "-m", "optimizer=adamm,sgd"],
]


STUDY = ["train", "-m", "sweeps=digits"]
BAD += [
    [*STUDY, "hydra.sweeper.n_trials=0"],
    [*STUDY, "hydra.sweeper.n_jobs=x"],
    [*STUDY, "hydra.sweeper.backend=nope"],
    [*STUDY, "hydra.sweeper.target=nan"],
    [*STUDY, "hydra.sweeper.confirm.top=-1"],
    [*STUDY, "hydra.sweeper.confirm.seeds=0"],
    [*STUDY, "hydra.sweeper.confirm.seeds=x"],
    [*STUDY, "hydra.sweeper.confirm.skip=-1"],
    [*STUDY, "repeats=2", "tracking.diagnostics=true"],
    [*STUDY, "hydra.sweeper.sampler.seed=x"],
    [*STUDY, "hydra.sweeper.sampler.seed=-1"],
    [*STUDY, "hydra.sweeper.params=abc"],
    [*STUDY, "hydra.sweeper.storage=/proc/x/j"],
    [*STUDY, "hydra.sweeper.storage=/tmp"],
    [*STUDY, "hydra.sweep.dir=/proc/x"],
    [*STUDY, "objective=[val/accuracy,val/loss]", "hydra.sweeper.direction=up"],
    [*STUDY, "data.validation=0"],
    [*STUDY, "resume=abc"],
    [*STUDY, "data=csv", "data.path=/nowhere"],
    [*STUDY, "train.evaluate_test=true"],
    [*STUDY, "model.nothing=choice(1,2)"],
    [*STUDY, "model.init=choice(foo,he_normal)"],
    ["train", "tracking.uri=sqlite:////tmp"],
    ["train", "hydra.run.dir=/proc/x", "tracking.enabled=false"],
    ["train", "data.validation=inf"],
    ["train", "-m", "seed=1,2", "hydra.launcher.n_jobs=0", "tracking.enabled=false"],
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_a_mistake_ends_in_a_message_without_traceback(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["perceptune", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capfd.readouterr()
    assert end.value.code not in (0, None)
    assert "Traceback" not in printed.err + printed.out
    assert printed.err.strip()
    assert not list(tmp_path.glob("mlruns/mlflow.db")) or not runs_in(tmp_path)
    if "-m" not in arguments and "optimizer.lr=1e9" not in arguments:
        assert not list(tmp_path.glob("mlruns/hydra"))
    journal = tmp_path / "mlruns" / "optuna.journal"
    assert not journal.exists() or not journal.read_bytes()


@pytest.mark.parametrize("folder", ["qu?est", "pct%20x"])
def test_a_folder_that_no_store_can_name_is_refused(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.setattr(sys, "argv", ["perceptune", "train"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert "rename it, or set tracking.uri" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_an_override_may_refer_to_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "seed=${threads}", "tracking.enabled=false", "train.epochs=1"]
    monkeypatch.setattr(sys, "argv", ["perceptune", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0, capfd.readouterr().err


def test_a_multirun_on_a_fresh_store_nests_its_jobs(perceptune: Perceptune, tmp_path: Path) -> None:
    answer = perceptune(
        *("train", "-m", "optimizer=sgd,adam", "model.hidden=[64],[128,64]", "train.epochs=2"),
        "tracking.figures=none",
    )
    assert answer.returncode == 0, answer.stderr
    runs = runs_in(tmp_path)
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {
        (run.data.params["optimizer.name"], run.data.params["model.hidden"]) for run in children
    } == {(optimizer, hidden) for optimizer in ("sgd", "adam") for hidden in ("[64]", "[128, 64]")}
    assert [run.info.status for run in runs] == ["FINISHED"] * 5
    outputs = {
        path.parent.parent for path in tmp_path.glob("mlruns/hydra/*/*/*/.hydra/config.yaml")
    }
    assert len(outputs) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlruns"]


def test_folders_of_jobs_may_be_named_by_what_was_typed(
    perceptune: Perceptune, tmp_path: Path
) -> None:
    subdir = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    words = ("train", "-m", "seed=0,1", "train.epochs=1", "tracking.figures=none", subdir)
    perceptune(*words, "hydra.launcher.n_jobs=1")
    names = {folder.name for folder in tmp_path.glob("mlruns/hydra/*/*/seed*")}
    folder = "seed={},tracking.figures=none,train.epochs=1"
    assert names == {folder.format(0), folder.format(1)}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_multirun_that_is_interrupted_closes_all_runs_without_a_traceback(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = "train -m seed=0,1 train.epochs=1000000 tracking.figures=none hydra.launcher.n_jobs=2"
    process = subprocess.Popen(
        [*COMMAND, *words.split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # As in a terminal: a test that runs in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    store = tmp_path / "mlruns" / "mlflow.db"
    wait_until(
        lambda: process.poll() is not None or (store.is_file() and _count(store, "metrics") > 1)
    )
    os.killpg(process.pid, number)  # a terminal sends it to all of them
    printed, _ = process.communicate()
    assert process.returncode == code, printed
    assert "Traceback" not in printed
    statuses = [run.info.status for run in runs_in(tmp_path)]
    assert len(statuses) == 3
    assert not {"RUNNING", "FINISHED"} & set(statuses)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["-m seed=0,1,2,3", "repeats=4"])
def test_a_killed_worker_loses_no_training_of_several(tmp_path: Path, words: str) -> None:
    settings = "train.epochs=150 tracking.figures=none hydra.launcher.n_jobs=2"
    process = subprocess.Popen([*COMMAND, "train", *words.split(), *settings.split()], cwd=tmp_path)
    store = tmp_path / "mlruns" / "mlflow.db"
    wait_until(
        lambda: process.poll() is not None or (store.is_file() and _count(store, "metrics") > 0)
    )
    with closing(sqlite3.connect(store)) as database:
        query = "SELECT tags.value FROM tags JOIN metrics USING (run_uuid) WHERE tags.key = 'pid'"
        worker = int(database.execute(query).fetchone()[0])
    assert worker in {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    os.kill(worker, signal.SIGKILL)
    assert process.wait() == 0
    [parent, *children] = sorted(
        runs_in(tmp_path), key=lambda run: "mlflow.parentRunId" in run.data.tags
    )
    finished = [run for run in children if run.info.status == "FINISHED"]
    assert sorted(run.data.params["seed"] for run in finished) == ["0", "1", "2", "3"]
    assert {run.info.status for run in children} == {"FINISHED", "FAILED"}
    assert parent.info.status == "FINISHED"
    assert "test/accuracy/mean" in parent.data.metrics


def _count(store: Path, table: str) -> int:
    """Runs that have rows in a table of a store that may not exist completely yet."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
            return int(
                database.execute(f"SELECT count(DISTINCT run_uuid) FROM {table}").fetchone()[0]
            )
    except sqlite3.Error:
        return 0


@pytest.mark.slow
def test_a_failing_job_loses_no_other_and_fails_the_parent(
    perceptune: Perceptune, tmp_path: Path
) -> None:
    answer = perceptune("train", "-m", "model.activation=relu,foo,tanh", "train.epochs=1")
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert "model.activation must be one of" in answer.stderr
    assert "tracking.parent" not in answer.stderr
    runs = runs_in(tmp_path)
    statuses = {run.data.tags.get("mlflow.parentRunId") is None: run.info.status for run in runs}
    assert statuses == {True: "FAILED", False: "FINISHED"}
    assert len(runs) == 3


UNTRACKED = ["tracking.enabled=false", "train.epochs=1"]


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]], ids=str)
def test_closed_streams_do_not_end_the_work(closed: list[int], tmp_path: Path) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    answer = subprocess.run(
        [*COMMAND, "train", *UNTRACKED], cwd=tmp_path, check=False, preexec_fn=close
    )
    assert answer.returncode == 0
    assert len(list(tmp_path.glob("mlruns/hydra/*/*/run.json"))) == 1


@pytest.mark.parametrize("words", ["repeats=2", "-m seed=0,1"])
def test_a_reader_that_went_away_does_not_end_the_work(words: str, tmp_path: Path) -> None:
    """As `| head -1` does; jobs of a multirun print in processes of their own."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, "train", *UNTRACKED, *words.split()]
    answer = subprocess.run(
        command, cwd=tmp_path, check=False, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert answer.returncode == 0, answer.stderr
    assert not [word for word in ("pipe", "Traceback", "Exception") if word in answer.stderr]
    assert len(list(tmp_path.rglob("best.npz"))) == 2


def test_what_cannot_be_written_is_reported_after_the_work(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [*COMMAND, "train", *UNTRACKED],
            cwd=tmp_path,
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert answer.returncode == 1
    last = answer.stderr.splitlines()[-1]
    assert last == "perceptune: cannot write to standard output: No space left on device"
    assert len(list(tmp_path.rglob("best.npz"))) == 1


def test_characters_that_a_terminal_lacks_are_replaced(tmp_path: Path) -> None:
    def answer_to(*words: str) -> "subprocess.CompletedProcess[str]":
        ascii_alone = os.environ | {"PYTHONIOENCODING": "ascii"}
        return subprocess.run(
            [*COMMAND, "train", *words],
            cwd=tmp_path,
            env=ascii_alone,
            capture_output=True,
            text=True,
            check=False,
        )

    answer = answer_to("repeats=2", "hydra.launcher.n_jobs=1", *UNTRACKED)
    assert answer.returncode == 0, answer.stderr
    assert "% ? " in answer.stdout  # ±
    answer = answer_to("données=1")
    assert answer.stderr.startswith("perceptune: donn?es does not exist")


@pytest.mark.parametrize(("uv", "start"), [("/bin/uv", "uv pip install --python "), ("", "")])
def test_the_command_that_installs_fits_the_environment(
    uv: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV", raising=False)
    if uv:
        monkeypatch.setenv("UV", uv)
    else:  # as where `python -m venv` has put pip into it
        monkeypatch.setattr(terminal, "find_spec", lambda name: name)
    assert terminal.how_to_install("torch").startswith(f"{start}{sys.executable} ")
    assert ("--torch-backend=cpu" in terminal.how_to_install("torch")) == bool(uv)
    assert terminal.how_to_install("jax", "optax").endswith(" jax optax")


@pytest.mark.parametrize("command", cli.COMMANDS)
@pytest.mark.parametrize("form", ["{} --help", "{} -h", "help {}"])
def test_every_command_prints_its_usage(
    command: str, form: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["perceptune", *form.format(command).split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert capfd.readouterr().out.startswith(f"usage: perceptune {command}")


def test_a_parent_that_does_not_exist_is_refused(perceptune: Perceptune, tmp_path: Path) -> None:
    answer = perceptune("train", "tracking.parent=abc", "train.epochs=1")
    assert answer.returncode == 1
    assert "tracking.parent=abc is no run in sqlite:///" in answer.stderr
    assert not runs_in(tmp_path)


def test_info_names_blas_and_store(perceptune: Perceptune) -> None:
    answer = perceptune("info")
    assert answer.returncode == 0, answer.stderr
    for word in ("numpy", "kernel", "cores", "store", "none yet"):
        assert word in answer.stdout


def test_the_repository_comes_before_stale_copies() -> None:
    assert (app.root() / "pyproject.toml").is_file()
