"""`perceptune ui`: MLflow's own UI on the store in use, by default on this machine only."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from perceptune.commands.parser import Parser
from perceptune.errors import UserError
from perceptune.tracking.store import Place, default_uri, find_experiment, refuse_absent

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PATIENCE = 120  # seconds for the server to answer


def main(arguments: Sequence[str]) -> None:
    """Start the UI, open it on the experiment, and stay until it is interrupted.

    Raises:
        UserError: no store yet, a port in use, or an address that others can reach.
    """
    asked = _parse(arguments)
    refuse_absent(asked.store)
    servers = [_mlflow(asked)]
    _refuse_used(asked.host, asked.port)
    if asked.studies:
        servers.append(_optuna(asked, Path("mlruns/optuna.journal")))
        _refuse_used(asked.host, asked.port + 1)
        print(f"     studies  http://{_in_url(asked.host)}:{asked.port + 1}")
    _run(servers, f"http://{_in_url(asked.host)}:{asked.port}", asked)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("perceptune ui", description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1", help="another address needs --public")
    parser.add_argument(
        "--public",
        action="store_true",
        help="let others in: whoever reaches the port can read, change and delete every run",
    )
    parser.add_argument("--studies", action="store_true", help="optuna-dashboard at the next port")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--experiment", default="perceptune", help="what to open")
    parser.add_argument("--store", default=os.environ.get("MLFLOW_TRACKING_URI") or default_uri())
    asked = parser.parse_args(list(arguments))
    if not 1 <= asked.port <= 65_534:
        raise UserError(f"--port must be from 1 to 65534, got {asked.port}")
    if asked.host not in _LOOPBACK:
        if not asked.public:
            raise UserError(
                f"--host {asked.host} would let others read, change and delete every run; "
                "add --public if that is meant"
            )
        print(f"warning: whoever reaches {asked.host} can change and delete every run")
    return asked


def _mlflow(asked: Namespace) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", asked.store]
    command += ["--host", asked.host, "--port", str(asked.port), "--workers", "1"]
    return command + (["--allowed-hosts", "*"] if asked.public else [])


def _optuna(asked: Namespace, journal: Path) -> list[str]:
    program = Path(sys.executable).with_name("optuna-dashboard")
    found = str(program) if program.is_file() else shutil.which("optuna-dashboard")
    if found is None:
        raise UserError("--studies needs optuna-dashboard: pip install optuna-dashboard")
    if not journal.is_file():
        raise UserError(f"no studies yet: {journal} does not exist")
    return [found, "--host", asked.host, "--port", str(asked.port + 1), str(journal)]


def _refuse_used(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port of which a closed connection still lingers is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {host} cannot be used: {error.strerror}; choose --port"
            ) from None


def _run(commands: Sequence[Sequence[str]], url: str, asked: Namespace) -> None:
    """Keep all servers until one ends, or we are interrupted; then end them with their children."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    started = [
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that its workers end with it
        )
        for command in commands
    ]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        experiment = find_experiment(Place(asked.store, asked.experiment))
        page = (
            f"{url}/#/experiments/{experiment}/runs?workflowType=machine_learning"
            if experiment
            else url
        )
        _wait(started[0], url)
        print(f"  look at it  {page}\n    to leave  Ctrl-C", flush=True)
        if not asked.no_browser and sys.stdout.isatty():
            webbrowser.open(page)
        while all(server.poll() is None for server in started):
            time.sleep(0.2)
        raise UserError("the server has ended by itself")
    finally:
        for server in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
        for server in started:
            server.wait()


def _wait(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError("MLflow's server did not start; try it by hand: mlflow ui")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.2)
    raise UserError(f"MLflow's server did not answer within {_PATIENCE} s")
