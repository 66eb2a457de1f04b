"""A page is published atomically, and replaces nothing but an earlier page."""

from pathlib import Path

import pytest

from perceptune.errors import UserError
from perceptune.reports.page import mean_and_sd, published, table


def _publish(folder: Path, text: str, *figures: str) -> None:
    with published(folder) as page:
        page.add(text)
        for name in figures:
            page.figure(name, "a figure").write_bytes(b"png")


def test_a_page_replaces_an_earlier_one_and_leaves_none_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "page"
    _publish(folder, "# One", "old")
    _publish(folder, "# Two", "new")
    assert (folder / "README.md").read_text().startswith("# Two\n\n![a figure](new.png)\n")
    assert {path.name for path in folder.iterdir()} == {"README.md", "new.png"}
    assert [path.name for path in folder.parent.iterdir()] == ["page"]


def test_an_error_leaves_the_earlier_page_as_it_was(tmp_path: Path) -> None:
    _publish(tmp_path / "page", "# One", "old")
    with pytest.raises(ZeroDivisionError), published(tmp_path / "page") as page:
        page.add("# Two")
        raise ZeroDivisionError
    assert (tmp_path / "page" / "README.md").read_text().startswith("# One")
    assert (tmp_path / "page" / "old.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize("name", ["README.md", "thesis.tex"])
def test_a_foreign_folder_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("years of work")
    with pytest.raises(UserError, match=name):
        _publish(tmp_path, "# One")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "years of work"


def test_what_somebody_put_beside_a_page_is_kept(tmp_path: Path) -> None:
    _publish(tmp_path / "page", "# One")
    (tmp_path / "page" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        _publish(tmp_path / "page", "# Two")
    assert (tmp_path / "page" / "notes.txt").read_text() == "mine"


def test_no_page_is_written_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("a file")
    for folder in (tmp_path / "page", tmp_path / "page" / "below"):
        with pytest.raises(UserError):
            _publish(folder, "# One")
    assert (tmp_path / "page").read_text() == "a file"


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    lines = table(["name", "value"], [["a|b", 1]]).splitlines()
    assert lines == ["| name | value |", "| --- | ---: |", "| a\\|b | 1 |"]


def test_a_mean_stands_with_its_sample_standard_deviation() -> None:
    assert mean_and_sd([0.25]) == "0.2500 (n = 1)"
    assert mean_and_sd([0.25, 0.75]) == "0.5000 ± 0.3536 (n = 2)"  # √(2 · 0.25²)
    assert mean_and_sd([0.25, 0.75], percent=True) == "50.00% ± 35.36 (n = 2)"
