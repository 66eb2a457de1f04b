"""Files are looked at before they are read."""

import os
from pathlib import Path

import pytest

from perceptune.data.files import fingerprint, regular_file
from perceptune.errors import UserError

REMEDY = "see the README"


def test_a_regular_file_is_accepted_and_its_status_returned(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert regular_file(tmp_path / "a", remedy=REMEDY).st_size == 5


def test_what_is_no_regular_file_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in (".", "pipe", "dangling", "absent", "nul\0l", "x" * 300):
        with pytest.raises(UserError) as caught:
            fingerprint(tmp_path / name, remedy=REMEDY)
        assert str(caught.value).endswith(REMEDY)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="a folder or a device"):
        regular_file(Path(os.devnull), remedy=REMEDY)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(UserError, match=r"has .*, expected .* at most; see"):
        regular_file(tmp_path / "a", remedy=REMEDY, most_bytes=4)


def test_an_empty_file_is_refused_as_those_of_the_system_are_that_never_end(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="is empty; see the README"):
        regular_file(tmp_path / "a", remedy=REMEDY)
