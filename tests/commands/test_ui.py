"""The UI: refuses unsafe addresses and absent stores, and shows the content of runs."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from optuna_joblib_sweeper.processes import identity
from optuna_joblib_sweeper.testing import wait_until
from perceptune import cli
from support import COMMAND, Perceptune, run, runs_in
from warm import WarmProcess

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no store"),
        (["--host", "0.0.0.0"], "add --public"),
        (["--port", "0"], "--port must be from 1"),
        (["--port", "many"], "invalid int value"),
        (["--fast"], "no option --fast"),
    ],
)
def test_the_ui_refuses_in_one_line(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.setattr(sys, "argv", ["perceptune", "ui", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capfd.readouterr()
    assert end.value.code == 1
    assert len(printed.err.splitlines()) == 1
    assert complaint in printed.err
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["perceptune", "ui", "--port", port])
        with pytest.raises(SystemExit):
            cli.main()
    [line] = capfd.readouterr().err.splitlines()
    assert f"port {port}" in line
    assert "choose --port" in line


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory, warm: WarmProcess
) -> Iterator[tuple[Path, str]]:
    """A folder with two runs and a study, and the address that the real command prints for it."""
    folder = tmp_path_factory.mktemp("shown")
    run(folder, "train.epochs=12")
    run(folder, "train.epochs=12", "optimizer=sgd", "model.activation=tanh", "model.hidden=[32]")
    study = "train -m sweeps=digits hydra.sweeper.n_trials=3 train.epochs=3"
    plots = "hydra.sweeper.mlflow.plots=false"
    warm.run([*study.split(), plots], folder).check_returncode()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [*COMMAND, "ui", "--port", str(port)], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield folder, server.stdout.readline().split()[-1]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=300)
        assert server.returncode == 128 + signal.SIGTERM
        wait_until(lambda: not _listens(port), 300)  # its workers are gone as well


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _served(folder: Path, port: int, *words: str) -> "subprocess.Popen[str]":
    """The real command, when it has printed an address."""
    command = [*COMMAND, "ui", "--port", str(port), *words]
    started = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert "open it" in started.stdout.readline()
    return started


@pytest.mark.slow
def test_the_servers_are_few_and_end_with_a_killed_command(shown: tuple[Path, str]) -> None:
    folder, address = shown
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = _served(folder, port)
    below = psutil.Process(started.pid).children(recursive=True)
    assert len(below) == 1
    assert not any("mlflow.db" in word for word in below[0].cmdline())  # every user sees them
    started.kill()
    started.communicate()
    wait_until(lambda: not any(identity(server.pid)["process_start"] for server in below), 60)
    assert _listens(int(address.split(":")[2].partition("/")[0]))  # another's stay


def test_the_address_of_a_server_is_printed(
    shown: tuple[Path, str], perceptune: Perceptune, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = shown[1].partition("/#")[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    printed = perceptune("ui").stdout
    assert printed.split()[-1] == shown[1]


EXPERIMENTS = "/api/2.0/mlflow/experiments"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", f"{EXPERIMENTS}/get-by-name?experiment_name=perceptune", {}, 200),
        ("GET", f"{EXPERIMENTS}/search?max_results=1", {"Host": "evil.example"}, 403),
        ("POST", f"{EXPERIMENTS}/delete", {"Origin": "http://evil.example"}, 403),
        ("GET", "/", {"Host": "evil.example"}, 403),
    ],
)
def test_the_server_answers_its_own_pages_alone(
    shown: tuple[Path, str], method: str, path: str, headers: dict[str, str], status: int
) -> None:
    place = shown[1].removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(place)
    connection.request(method, path, body=b"{}" if method == "POST" else None, headers=headers)
    assert connection.getresponse().status == status
    connection.close()


@pytest.fixture
def page(shown: tuple[Path, str], tmp_path: Path) -> Iterator[Any]:
    """A page of a real browser."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(300_000)
        yield page
        shots = os.environ.get("PERCEPTUNE_SCREENSHOTS")
        if shots:
            page.screenshot(path=str(Path(shots) / f"{tmp_path.name[5:30]}.png"))
        browser.close()


def _ids(folder: Path) -> dict[str, Any]:
    return {record.info.run_name: record for record in runs_in(folder)}


NAMES = ("adam lr=0.001 [128,64] relu epochs=12", "sgd lr=0.1 [32] tanh epochs=12")


@pytest.mark.browser
def test_the_address_lists_the_runs_by_what_is_different(
    shown: tuple[Path, str], page: Any
) -> None:
    page.goto(shown[1])
    for name in (*NAMES, "digits"):
        page.get_by_text(name, exact=True).first.wait_for()


@pytest.mark.browser
def test_two_runs_compare_by_settings_and_metrics(shown: tuple[Path, str], page: Any) -> None:
    folder, address = shown
    runs = _ids(folder)
    ids = ",".join(f'"{runs[name].info.run_id}"' for name in NAMES)
    base, experiment = re.split(r"#/experiments/", address)
    number = experiment.partition("/")[0]
    page.goto(f'{base}#/compare-runs?runs=[{ids}]&experiments=["{number}"]')
    for words in (*NAMES, "val/accuracy", "optimizer.name"):
        page.get_by_text(words).first.wait_for()
    page.wait_for_timeout(1500)  # the plot is drawn in its own time


@pytest.mark.browser
def test_a_study_shows_its_trials_below_it(shown: tuple[Path, str], page: Any) -> None:
    folder, address = shown
    parent = _ids(folder)["digits"].info.run_id
    children = [
        record.info.run_name
        for record in runs_in(folder)
        if record.data.tags.get("mlflow.parentRunId") == parent
    ]
    assert len(children) == 3
    base = address.partition("/runs")[0]
    page.goto(f"{base}/runs/{parent}")
    for name in children:
        page.get_by_text(name).first.wait_for()


@pytest.mark.browser
def test_the_gallery_of_mistakes_is_visible(shown: tuple[Path, str], page: Any) -> None:
    folder, address = shown
    record = _ids(folder)[NAMES[0]]
    base = address.partition("/runs")[0]
    page.goto(f"{base}/runs/{record.info.run_id}/artifacts/plots/mistakes.png")
    page.get_by_text("mistakes.png").first.wait_for()
    picture = page.locator("img[src^='blob:'], img[src*='mistakes'], .image-outer-container img")
    picture.first.wait_for()
    page.wait_for_timeout(500)
