"""Servers of `perceptune ui`, each a process that ends with the one that started it.

    python -m perceptune.tracking.servers runs ARGUMENT …            of `mlflow ui`
    python -m perceptune.tracking.servers studies HOST PORT JOURNAL  optuna-dashboard

Refuses to know who looks at them.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_joblib_sweeper.processes import end_with

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def command(kind: str, *arguments: str) -> list[str]:
    """The command that starts a server of this process."""
    return [sys.executable, "-m", __name__, str(os.getpid()), kind, *arguments]


def guarded(app: App, host: str, port: int) -> App:
    """`app` for requests to its own address alone, from its own pages or from none.

    A page of another site could otherwise ask for anything, as itself or, by a name that it lets
    point to this machine, as a page of this server. On an address that others can reach any name
    may be the server's.
    """
    names = {at(name, port) for name in (*LOOPBACK, host)}

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        named, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        foreign = host in LOOPBACK and named.lower() not in names
        if foreign or (origin is not None and origin != f"http://{named}"):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"refused: the request is of another host or site\n"]
        return app(environ, start_response)

    return guard


def at(host: str, port: int) -> str:
    """An address as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(app: App, host: str, port: int) -> None:
    """Serve `app`, a thread for each request, until the process ends."""
    with make_server(host, port, guarded(app, host, port), _Server, _Silent) as server:
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def main(parent: str, kind: str, *arguments: str) -> None:
    """Run a server until it or the process `parent` ends."""
    end_with(int(parent))
    if kind == "runs":
        from mlflow.cli import cli

        cli(["ui", *arguments])
    else:
        from optuna_dashboard import wsgi  # type: ignore[import-not-found]

        host, port, journal = arguments
        serve(wsgi(journal), host, int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
