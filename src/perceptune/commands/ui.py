"""`perceptune ui [--port N] [--host ADDRESS --public] [--studies]`: MLflow's UI for the store.

Only this machine can reach it by default.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from optuna_joblib_sweeper.secrets import masked
from perceptune.errors import UserError
from perceptune.terminal import Parser, how_to_install
from perceptune.tracking import servers
from perceptune.tracking.reading import find_experiment
from perceptune.tracking.store import ExperimentRef, default_experiment, default_uri

# No reports to anyone, and no consumers of jobs, which are eight more processes.
_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
_START_SECONDS = 120  # for the server to answer
_JOURNAL = Path("mlruns/optuna.journal")


def main(arguments: Sequence[str]) -> None:
    """Start the UI, open it on the experiment, and stay until it is interrupted.

    Raises:
        UserError: no store yet, a port in use, or an address that others can reach.
    """
    options = _parse(arguments)
    far = options.store.startswith(("http://", "https://"))
    commands = [] if far else [_mlflow(options)]
    page = _page(options)  # before any server starts: the store may be refused
    if options.studies:
        commands.append(_optuna(options))
        print(f"     studies  http://{servers.at(options.host, options.port + 1)}")
    if far:
        _show(masked(options.store).rstrip("/") + page, options, stop=bool(commands))
    if commands:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        with _running(commands) as running:
            if not far:
                url = f"http://{servers.at(options.host, options.port)}"
                _wait(running[0], url)
                _show(url + page, options)
            while all(server.poll() is None for server in running):
                time.sleep(0.2)
            raise UserError("the server exited unexpectedly")


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("perceptune ui", description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1", help="another address needs --public")
    parser.add_argument(
        "--public",
        action="store_true",
        help="allow other machines: anyone who can connect can read, change and delete every run",
    )
    parser.add_argument("--studies", action="store_true", help="optuna-dashboard at the next port")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--experiment", default=default_experiment(), help="experiment to open")
    parser.add_argument("--store", default=default_uri())
    options = parser.parse_args(list(arguments))
    if not 1 <= options.port <= 65_534:
        raise UserError(f"--port must be from 1 to 65534, got {options.port}")
    if options.host not in servers.LOOPBACK:
        if not options.public:
            raise UserError(
                f"--host {options.host} would let others read, change and delete every run; "
                "add --public to allow it"
            )
        print(f"warning: anyone who can connect to {options.host} can change and delete every run")
    return options


def _mlflow(options: Namespace) -> list[str]:
    _refuse_used(options.host, options.port)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = options.store
    if options.public:
        os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = "*"
    return servers.command("runs", options.host, str(options.port))


def _optuna(options: Namespace) -> list[str]:
    _refuse_used(options.host, options.port + 1)
    if find_spec("optuna_dashboard") is None:
        raise UserError(f"--studies needs optuna-dashboard: {how_to_install('optuna-dashboard')}")
    if not _JOURNAL.is_file():
        raise UserError(f"no studies yet: {_JOURNAL} does not exist")
    return servers.command("studies", options.host, str(options.port + 1), str(_JOURNAL))


def _refuse_used(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # what follows repeats the address
        raise UserError(f"port {port} of {host} cannot be used: {reason}; choose --port") from None


@contextmanager
def _running(commands: Sequence[Sequence[str]]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The servers while the block runs; at its end they and their children are stopped."""
    running = [
        subprocess.Popen(
            command,
            env=_ENVIRONMENT | os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that its children end with it
        )
        for command in commands
    ]
    try:
        yield running
    finally:
        for server in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
        for server in running:
            server.wait()


def _page(options: Namespace) -> str:
    """The experiment's page, below the server's address."""
    experiment = find_experiment(ExperimentRef(options.store, options.experiment))
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning" if experiment else ""


def _show(page: str, options: Namespace, *, stop: bool = True) -> None:
    print(f"     open it  {page}")
    if stop:
        print("     stop it  Ctrl-C", flush=True)
    if not options.no_browser and sys.stdout.isatty():
        webbrowser.open(page)


def _wait(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Return when the server answers.

    Raises:
        UserError: it exited, or does not answer in time.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError("MLflow's server did not start; run `mlflow ui` to see why")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.05)
    raise UserError(f"MLflow's server did not answer within {_START_SECONDS} s")
