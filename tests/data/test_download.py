"""The downloader against local mirrors that stall, break off, send wrong files or are down."""

import gzip
import hashlib
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from perceptune.data import download, idx
from perceptune.data.download import fetch
from perceptune.errors import UserError

CONTENT = bytes(range(256)) * 256  # 64 KiB
FILES = {"a.gz": hashlib.sha256(CONTENT).hexdigest(), "b.gz": hashlib.sha256(CONTENT).hexdigest()}
TIMEOUT = 0.5  # seconds; a loopback server that responds does so in milliseconds


class Mirrors(ThreadingHTTPServer):
    """Mirrors on one server, each with its own behaviour, by the first part of the path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.closing = threading.Event()  # ends every stall at the test's end
        self.folder: Path | None = None  # what the good mirror serves in place of CONTENT
        self.requested: list[str] = []

    def at(self, character: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{character}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that give up are the point of these tests."""


class Handler(BaseHTTPRequestHandler):
    """Responds as the mirror in the path."""

    server: Mirrors

    def do_GET(self) -> None:
        _, character, name = self.path.split("/")
        self.server.requested.append(f"{character}/{name}")
        getattr(self, character)(name)

    def head(self, status: int, size: int, **more: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        for key, value in more.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def good(self, name: str) -> None:
        folder = self.server.folder
        content = (folder / name).read_bytes() if folder else CONTENT
        self.head(200, len(content))
        self.wfile.write(content)

    def packing(self, name: str) -> None:
        """Sends gzip as a transfer encoding to whoever accepts it."""
        if "gzip" in self.headers["Accept-Encoding"]:
            packed = gzip.compress(CONTENT)
            self.head(200, len(packed), Content_Encoding="gzip")
            self.wfile.write(packed)
        else:
            self.good(name)

    def silent(self, name: str) -> None:
        self.server.closing.wait(30)

    def stalling(self, name: str) -> None:
        self.head(200, len(CONTENT))
        self.wfile.write(CONTENT[:3000])
        self.wfile.flush()
        self.server.closing.wait(30)

    def trickling(self, name: str) -> None:
        self.head(200, len(CONTENT))
        for start in range(0, len(CONTENT), 512):
            self.wfile.write(CONTENT[start : start + 512])
            self.wfile.flush()
            if self.server.closing.wait(TIMEOUT / 6):
                return

    def breaking(self, name: str) -> None:
        self.head(200, len(CONTENT))
        self.wfile.write(CONTENT[:3000])

    def short(self, name: str) -> None:
        """Half the file, with a header that claims it to be all."""
        self.head(200, len(CONTENT) // 2)
        self.wfile.write(CONTENT[: len(CONTENT) // 2])

    def lying(self, name: str) -> None:
        page = b"<html>Please sign in to this hotel's network</html>"
        self.head(200, len(page))
        self.wfile.write(page)

    def failing(self, name: str) -> None:
        self.head(500, 0)

    def lacking(self, name: str) -> None:
        self.head(404, 0)

    def circling(self, name: str) -> None:
        self.head(302, 0, Location=self.path)

    def babbling(self, name: str) -> None:
        self.wfile.write(b"no HTTP at all\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Mirrors() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def down() -> str:
    """The address of a mirror that is down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


BAD = {
    "silent": "stalled for 0.5 s",
    "stalling": "stalled for 0.5 s",
    "trickling": "stalled for 0.5 s",
    "breaking": "closed the connection before the end",
    "short": "sent another file",
    "lying": "sent another file",
    "failing": "answered 500",
    "lacking": "answered 404",
    "circling": "answered 302",
    "babbling": "no connection",
}


@pytest.fixture(autouse=True)
def fast_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A higher limit, so that a slow download is detected quickly."""
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_SECOND", 20_000)


def test_a_good_mirror_delivers_every_file(mirrors: Mirrors, tmp_path: Path) -> None:
    paths = fetch(FILES, mirrors=[mirrors.at("good")], folder=tmp_path / "new", timeout=TIMEOUT)
    assert {name: path.read_bytes() for name, path in paths.items()} == dict.fromkeys(
        FILES, CONTENT
    )


def test_existing_files_are_not_downloaded_again(mirrors: Mirrors, tmp_path: Path) -> None:
    first = fetch(FILES, mirrors=[mirrors.at("good")], folder=tmp_path, timeout=TIMEOUT)
    (tmp_path / ".lock").unlink(missing_ok=True)
    assert fetch(FILES, mirrors=[mirrors.at("good")], folder=tmp_path, timeout=TIMEOUT) == first
    assert not (tmp_path / ".lock").exists()  # so a read-only folder is enough
    assert mirrors.requested == ["good/a.gz", "good/b.gz"]


def test_a_file_damaged_since_is_replaced(mirrors: Mirrors, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "a.gz").write_bytes(CONTENT[:-number])
        paths = fetch(FILES, mirrors=[mirrors.at("good")], folder=tmp_path, timeout=TIMEOUT)
        assert paths["a.gz"].read_bytes() == CONTENT
    for number in (1, 2):  # each may be the user's own
        assert (tmp_path / f"a.gz.other-{number}").read_bytes() == CONTENT[:-number]


def test_a_server_that_compresses_transfers_does_not_change_the_file(
    mirrors: Mirrors, tmp_path: Path
) -> None:
    paths = fetch(FILES, mirrors=[mirrors.at("packing")], folder=tmp_path, timeout=TIMEOUT)
    assert paths["a.gz"].read_bytes() == CONTENT


@pytest.mark.parametrize("character", BAD)
def test_after_a_bad_mirror_the_next_one_delivers(
    character: str, mirrors: Mirrors, tmp_path: Path
) -> None:
    order = [mirrors.at(character), mirrors.at("good")]
    paths = fetch(FILES, mirrors=order, folder=tmp_path, timeout=TIMEOUT)
    assert paths["b.gz"].read_bytes() == CONTENT
    # The mirror that delivered the first file is tried first for the second.
    assert mirrors.requested[-2:] == ["good/a.gz", "good/b.gz"]


def test_after_a_mirror_that_is_down_the_next_one_delivers(
    down: str, mirrors: Mirrors, tmp_path: Path
) -> None:
    paths = fetch(FILES, mirrors=[down, mirrors.at("good")], folder=tmp_path, timeout=TIMEOUT)
    assert paths["a.gz"].read_bytes() == CONTENT


@pytest.mark.parametrize("character", BAD)
def test_when_no_mirror_delivers_one_line_says_what_was_tried_and_why(
    character: str, down: str, mirrors: Mirrors, tmp_path: Path
) -> None:
    order = [down, mirrors.at(character)]
    with pytest.raises(UserError) as caught:
        fetch(FILES, mirrors=order, folder=tmp_path, timeout=TIMEOUT)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("cannot download a.gz")
    assert f"{down}/a.gz: no connection" in line
    assert f"{mirrors.at(character)}/a.gz: {BAD[character]}" in line
    assert "PERCEPTUNE_DATA_DIR" in line
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == []


def test_a_folder_that_cannot_be_written_ends_in_one_line(mirrors: Mirrors, tmp_path: Path) -> None:
    obstacle = tmp_path / "file"  # a folder cannot be made below a file, not even by root
    obstacle.write_text("")
    with pytest.raises(UserError, match="PERCEPTUNE_CACHE_DIR") as caught:
        fetch(FILES, mirrors=[mirrors.at("good")], folder=obstacle / "x", timeout=TIMEOUT)
    assert "\n" not in str(caught.value)
    assert mirrors.requested == []


def test_a_data_set_is_downloaded_once_and_read_from_the_cache(
    mirrors: Mirrors, imitation: Path, private_cache: Path
) -> None:
    mirrors.folder = imitation
    known = {
        file: hashlib.sha256((imitation / file).read_bytes()).hexdigest() for file in idx.CONTENTS
    }
    kind = replace(idx.MNIST, packed=known)
    order = [mirrors.at("lacking"), mirrors.at("good")]
    first = idx.load(kind, mirrors=order, timeout=5.0)
    second = idx.load(kind, mirrors=order, timeout=5.0)
    assert first.images.shape == (60_000, 784)
    assert first.digest == second.digest
    assert first.origin == str(private_cache.resolve() / "downloads" / "mnist")
    assert mirrors.requested == ["lacking/train-images-idx3-ubyte.gz"] + [
        f"good/{file}" for file in idx.CONTENTS
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_drawn_on_a_terminal_only_and_never_on_stdout(
    terminal: bool,
    mirrors: Mirrors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    fetch(FILES, mirrors=[mirrors.at("good")], folder=tmp_path, timeout=TIMEOUT)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("a.gz" in shown.err) == terminal


@pytest.mark.parametrize("kind", [idx.MNIST, idx.FASHION_MNIST], ids=lambda kind: str(kind.name))
def test_a_published_set_knows_four_hashes_and_two_mirrors(kind: idx.IdxSet) -> None:
    assert list(kind.packed) == list(idx.CONTENTS)
    assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in kind.packed.values())
    assert len(set(kind.packed.values())) == 4
    assert len(set(kind.mirrors)) >= 2
    assert len(kind.classes) == 10
