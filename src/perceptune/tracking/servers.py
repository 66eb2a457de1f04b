"""Servers of `perceptune ui`, each a process that ends with the one that started it.

    python -m perceptune.tracking.servers runs HOST PORT             MLflow's UI
    python -m perceptune.tracking.servers studies HOST PORT JOURNAL  optuna-dashboard

The URI of the store of runs is in MLFLOW_BACKEND_STORE_URI: every user sees the arguments.

Refuses to know who looks at them.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_joblib_sweeper.mlflow_runs import without_collection
from optuna_joblib_sweeper.processes import end_with

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_SECONDS = 2  # for answers that are under way when a server is stopped
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


def serve_runs(uri: str, host: str, port: int) -> None:
    """Serve MLflow's UI for a store until the process ends.

    As `mlflow ui` does, which prepares the store in a process of its own and then starts another to
    serve it; either imports MLflow. The names are those by which the first tells the second.
    """
    root = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "mlflow-artifacts:/")
    files = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION", "./mlartifacts")
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": root,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": files,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with without_collection():
        import uvicorn
        from mlflow.server.fastapi_app import app
        from mlflow.server.handlers import initialize_backend_stores

        initialize_backend_stores(uri, uri, root)
    uvicorn.run(app, host=host, port=port, log_config=None, timeout_graceful_shutdown=_SECONDS)


def main(parent: str, kind: str, host: str, port: str, *journal: str) -> None:
    """Run a server until it or the process `parent` ends."""
    end_with(int(parent))
    if kind == "runs":
        serve_runs(os.environ["MLFLOW_BACKEND_STORE_URI"], host, int(port))
    else:
        from optuna_dashboard import wsgi  # type: ignore[import-not-found]

        serve(wsgi(*journal), host, int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
