"""Servers answer requests to their own address, from their own pages or from none."""

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import make_server

import pytest

from optuna_joblib_sweeper.processes import identity
from optuna_joblib_sweeper.testing import wait_until
from perceptune.tracking import servers


def _deletes_all(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a guarded server that does whatever it is asked for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    app = servers.guarded(_deletes_all, "127.0.0.1", port)
    with make_server("127.0.0.1", port, app) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield port
        server.shutdown()
        thread.join()


def _asked(port: int, method: str, headers: dict[str, str]) -> int:
    """The status of the answer to a request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.putrequest(method, "/api/studies/0", skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value.format(port=port))
    connection.endheaders()
    return connection.getresponse().status


OWN = [
    {"Host": "127.0.0.1:{port}"},
    {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"},
    {"Host": "LOCALHOST:{port}"},
    {"Host": "[::1]:{port}"},
]
FOREIGN = [
    {},
    {"Host": "evil.example"},
    {"Host": "evil.example:{port}"},
    {"Host": "localhost.evil.example:{port}"},
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1:{port}", "Origin": "http://evil.example"},
    {"Host": "127.0.0.1:{port}", "Origin": "https://127.0.0.1:{port}"},
    {"Host": "127.0.0.1:{port}", "Origin": "null"},
    {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    ("headers", "status"), [(h, 204) for h in OWN] + [(h, 403) for h in FOREIGN]
)
def test_a_request_of_another_host_or_site_is_refused(
    port: int, method: str, headers: dict[str, str], status: int
) -> None:
    assert _asked(port, method, headers) == status


def test_a_public_server_has_any_name_but_answers_its_own_pages_alone() -> None:
    def answer(**environ: str) -> str:
        began: list[str] = []
        list(app(environ, lambda status, headers: began.append(status)))
        return began[0][:3]

    app = servers.guarded(_deletes_all, "0.0.0.0", 80)
    assert answer(HTTP_HOST="lab.example") == "204"
    assert answer(HTTP_HOST="lab.example", HTTP_ORIGIN="http://lab.example") == "204"
    assert answer(HTTP_HOST="lab.example", HTTP_ORIGIN="http://evil.example") == "403"


def test_a_server_ends_with_its_parent_however_that_ends() -> None:
    serve = (
        "from optuna_joblib_sweeper.processes import end_with; import sys, threading;"
        "end_with(int(sys.argv[1])); print('ready', flush=True); threading.Event().wait()"
    )
    start = (
        "import os, subprocess, sys;"
        "server = subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())]);"
        "print(server.pid, flush=True); server.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", start, serve], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    lines = sorted(parent.stdout.readline().strip() for _ in range(2))
    assert lines[1] == "ready"
    parent.kill()
    parent.communicate()
    wait_until(lambda: not identity(int(lines[0]))["process_start"], 60)  # none, or a zombie
