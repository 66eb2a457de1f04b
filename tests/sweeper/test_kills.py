"""The kill matrix: real signals on real processes, then trials and runs are counted."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial

import pytest
from apps import App, alive, group_members

from optuna_joblib_sweeper.testing import wait_until

Start = Callable[..., "subprocess.Popen[str]"]
MLFLOW = ("hydra.sweeper.mlflow.enabled=true", "hydra.sweeper.mlflow.plots=false")


def runs(app: App) -> list[tuple[str, str, str]]:
    """(trial, status, reason) of the children, then the parent with trial ""."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{app.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    tags = [(run.data.tags, run.info.status) for run in found]
    return sorted((t.get("trial", ""), status, t.get("reason", "")) for t, status in tags)


def test_a_killed_worker_loses_no_trial_and_repeats_none_that_was_finished(app: App) -> None:
    app.run("deadly=[2]")

    assert app.states() == ["COMPLETE"] * 6
    attempts = app.attempts()
    # Trial 2 died once; at most one innocent went with it; each of the others ran once.
    assert "2-0" in attempts
    assert "2-1" in attempts
    assert len(attempts) <= 8
    assert {a.partition("-")[0] for a in attempts} == set("012345")


@pytest.mark.slow
def test_a_poison_trial_is_found_and_given_up_with_its_reason(app: App) -> None:
    app.run("deadly=[1]", "deadly_attempts=99")

    trials = app.study().trials
    assert [trial.state.name for trial in trials].count("COMPLETE") == 5
    assert trials[1].state.name == "FAIL"
    assert "killed its worker process 3 times" in trials[1].user_attrs["reason"]


@pytest.mark.slow
def test_a_worker_killed_from_outside_twice_costs_two_retries(app: App, started: Start) -> None:
    process = started("seconds=0.7", "hydra.sweeper.n_trials=8")
    killed: set[int] = set()
    for _ in range(2):
        wait_until(lambda: any(alive(pid) and pid not in killed for pid in app.workers()))
        victim = next(pid for pid in app.workers() if alive(pid) and pid not in killed)
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
        wait_until(lambda: any(pid not in killed and alive(pid) for pid in app.workers()))
    process.wait(timeout=300)

    assert process.returncode == 0
    assert app.states() == ["COMPLETE"] * 8


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_killed_driver_takes_its_workers_along_and_the_same_command_goes_on(
    app: App, started: Start, n_jobs: int
) -> None:
    jobs = f"hydra.sweeper.n_jobs={n_jobs}"
    process = started("seconds=0.3", jobs)
    wait_until(lambda: len(app.attempts()) >= 3)
    workers = app.workers()
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(alive, workers)))

    finished = [t.number for t in app.study().trials if t.state.is_finished()]
    app.run(jobs)

    assert app.states() == ["COMPLETE"] * 6
    for number in finished:
        assert [a for a in app.attempts() if a.startswith(f"{number}-")] == [f"{number}-0"]


@pytest.mark.slow
def test_driver_and_workers_killed_at_once_resume(app: App, started: Start) -> None:
    process = started("seconds=0.3")
    wait_until(lambda: len(app.attempts()) >= 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    app.run()
    assert app.states() == ["COMPLETE"] * 6


@pytest.mark.parametrize(
    ("number", "code", "whole_group"),
    [
        (signal.SIGINT, 130, True),
        pytest.param(signal.SIGTERM, 143, False, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_everything_at_once_and_leaves_nothing_running(
    app: App, started: Start, number: signal.Signals, code: int, whole_group: bool
) -> None:
    process = started("seconds=30")
    wait_until(lambda: len(app.attempts()) == 2)
    began = time.monotonic()
    # A terminal sends Ctrl-C to every process, kill to one.
    (os.killpg if whole_group else os.kill)(process.pid, number)
    output, _ = process.communicate(timeout=300)
    wait_until(lambda: not group_members(process.pid))
    seconds = time.monotonic() - began

    assert process.returncode == code, output
    assert seconds < 15, output  # the tasks would have slept for 30
    assert "Traceback" not in output
    assert "run the same command to resume" in output
    assert app.states() == ["WAITING"] * 2
    app.run()
    assert app.states() == ["COMPLETE"] * 6


@pytest.mark.slow
def test_an_interrupted_study_leaves_no_mlflow_run_running(app: App, started: Start) -> None:
    process = started("seconds=30", *MLFLOW)
    wait_until(lambda: len(app.attempts()) == 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert [(trial, status) for trial, status, _ in runs(app)] == [
        ("", "KILLED"),
        ("0", "KILLED"),
        ("1", "KILLED"),
    ]

    app.run(*MLFLOW)
    # Two children went on in their own runs: seven runs in all.
    assert [(trial, status) for trial, status, _ in runs(app)] == [
        (trial, "FINISHED") for trial in ["", *"012345"]
    ]


@pytest.mark.slow
def test_kills_leave_one_mlflow_run_a_trial_with_the_truth(app: App, started: Start) -> None:
    deadly = ("deadly=[1]", "deadly_attempts=99", "hydra.sweeper.max_retries=0")
    process = started("seconds=2", *deadly, *MLFLOW)
    wait_until(lambda: any(a.startswith("3-") for a in app.attempts()))
    process.kill()
    process.wait()
    app.run(*deadly, "failing=[4]", *MLFLOW)

    assert [(trial, status) for trial, status, _ in runs(app)] == [
        ("", "FINISHED"),
        ("0", "FINISHED"),
        ("1", "FAILED"),
        ("2", "FINISHED"),
        ("3", "FINISHED"),
        ("4", "FAILED"),
        ("5", "FINISHED"),
    ]
    reasons = {trial: reason for trial, _, reason in runs(app)}
    assert "killed its worker" in reasons["1"]
    assert reasons["4"] == "ValueError: no luck with this one"


def test_a_second_driver_on_the_same_journal_is_refused(app: App, started: Start) -> None:
    started("seconds=30")
    wait_until(lambda: bool(app.attempts()))
    second = app.run(ok=False)

    assert second.returncode == 1
    assert "is in use by another sweep" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_full_disk_ends_a_study_in_a_line_and_it_resumes_once_there_is_space(app: App) -> None:
    app.run("hydra.sweeper.n_trials=3")
    before = app.study().trials
    size = (app.folder / "optuna.journal").stat().st_size
    room = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size + 3000, resource.RLIM_INFINITY))
    command = app.command("hydra.sweeper.n_trials=8")
    full = subprocess.run(
        command, cwd=app.folder, preexec_fn=room, capture_output=True, text=True, check=False
    )
    assert full.returncode == 1, full.stdout + full.stderr
    assert f"no space is left in {app.folder}; make space and run the same" in full.stderr
    assert "Traceback" not in full.stdout + full.stderr
    assert len([t for t in app.study().trials if t.state.is_finished()]) < 8

    app.run("hydra.sweeper.n_trials=8")
    assert app.states() == ["COMPLETE"] * 8
    assert app.study().trials[:3] == before


def test_a_trial_that_finds_no_space_is_not_counted(app: App) -> None:
    source = (app.folder / "app.py").read_text()
    full = "OSError(28, 'No space left on device', 'weights.npz')"
    (app.folder / "app.py").write_text(source.replace('ValueError("no luck with this one")', full))
    done = app.run("failing=[2]", ok=False)
    assert done.returncode == 1
    assert "no space is left in" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    app.run()
    assert app.states() == ["COMPLETE"] * 6


@pytest.mark.slow
def test_a_torn_journal_and_stale_locks_are_mended(app: App) -> None:
    app.run("hydra.sweeper.n_trials=2")
    journal = app.folder / "optuna.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code":5,"worker_id":"gone","trial')  # as a kill inside a write leaves it
    (app.folder / "optuna.journal.lock").symlink_to("gone")
    app.run()

    assert app.states() == ["COMPLETE"] * 6


@pytest.mark.slow
def test_a_worker_killed_inside_a_journal_write_is_mended_on_the_spot(app: App) -> None:
    source = (app.folder / "app.py").read_text()
    # What SIGKILL between acquiring the journal's lock and the end of the line leaves behind.
    torn = (
        "        while True:\n"  # the other worker may hold the lock
        "            try:\n"
        "                os.symlink('optuna.journal', 'optuna.journal.lock')\n"
        "                break\n"
        "            except FileExistsError:\n"
        "                continue\n"
        "        with open('optuna.journal', 'ab') as file:\n"
        '            file.write(b\'{"op_code":5,"worker_id":"me","tri\')\n'
        "        os.kill("
    )
    (app.folder / "app.py").write_text(source.replace("        os.kill(", torn))
    done = app.run("deadly=[2]")

    assert app.states() == ["COMPLETE"] * 6
    # Optuna would wait for the lock for 30 s, and say so.
    assert "Forcibly releasing" not in done.stdout + done.stderr
