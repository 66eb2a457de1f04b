"""The page on extending: every diff applies, passes the checks, and trains from a terminal."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"


@dataclass(frozen=True)
class Section:
    """A section of the page: one diff, and the commands below it."""

    diff: str
    commands: tuple[list[str], ...]

    @classmethod
    def of(cls, text: str) -> "Section":
        [diff] = re.findall(r"^```diff\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        lines = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        commands = lines.replace("\\\n", " ").splitlines()
        return cls(diff, tuple(map(shlex.split, commands)))

    @property
    def files(self) -> set[str]:
        return set(re.findall(r"^\+\+\+ b/(.*)$", self.diff, re.MULTILINE))

    @property
    def tests(self) -> list[list[str]]:
        """The arguments of pytest in its commands."""
        return [words[3:] for words in self.commands if words[:3] == ["uv", "run", "pytest"]]

    @property
    def trainings(self) -> list[list[str]]:
        """The arguments of perceptune in its commands."""
        return [words[1:] for words in self.commands if words[0] == "perceptune"]


SECTIONS = {
    text.partition("\n")[0]: Section.of(text) for text in PAGE.read_text("utf-8").split("\n## ")[1:]
}


def apply(diffs: Iterable[str], folder: Path, *options: str) -> str:
    """Apply `diffs`, one after the other; returns git's errors."""
    command = ["git", "apply", *options, "-"]
    done = subprocess.run(
        command, input="".join(diffs), cwd=folder, text=True, capture_output=True, check=False
    )
    return done.stderr


@pytest.mark.parametrize("title", SECTIONS)
def test_a_diff_of_the_page_applies_to_this_tree(title: str) -> None:
    assert apply([SECTIONS[title].diff], ROOT, "--check") == ""


def test_all_diffs_of_the_page_apply_together() -> None:
    assert apply([section.diff for section in SECTIONS.values()], ROOT, "--check") == ""


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_trains_with_what_it_adds_and_names_its_tests(title: str) -> None:
    section = SECTIONS[title]
    assert section.trainings
    for arguments in section.tests:
        assert all((ROOT / each).exists() for each in arguments if each.startswith("tests"))


# The files that each may change: the rule on additions in docs/architecture.md.
PRICES = {
    "An optimizer": 3, "An activation with a setting": 3, "An initializer": 3, "A schedule": 3,
    "A data set": 3, "A sampler": 1, "A pruner": 1, "A backend": 3, "A figure": 5, "A metric": 2,
}  # fmt: skip


@pytest.mark.parametrize("title", SECTIONS)
def test_nothing_costs_more_files_than_agreed(title: str) -> None:
    assert len(SECTIONS[title].files) <= PRICES[title]


def copy_tree(folder: Path) -> None:
    """Copy the files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def in_copy(tree: Path, *words: str, cwd: Path | None = None) -> None:
    """Run a module of this interpreter, for which `tree` is what is installed.

    Raises:
        AssertionError: it fails.
    """
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment["PYTHONPATH"] = os.pathsep.join([str(tree / "src"), str(tree / "src" / "sweeper")])
    command = [sys.executable, "-m", *words]
    done = subprocess.run(
        command, cwd=cwd or tree, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"


@pytest.mark.slow
def test_what_the_page_adds_passes_the_checks_and_trains(tmp_path: Path) -> None:
    """All diffs together; that each applies alone is tested above."""
    tree, work = tmp_path / "tree", tmp_path / "work"
    tree.mkdir()
    work.mkdir()
    copy_tree(tree)
    chosen = list(SECTIONS.values())
    assert apply([section.diff for section in chosen], tree) == ""
    in_copy(tree, "ruff", "check", "--no-cache", ".")
    in_copy(tree, "ruff", "format", "--no-cache", "--check", ".")
    in_copy(tree, "mypy")
    for section in chosen:
        for arguments in section.trainings:
            in_copy(tree, "perceptune.cli", *arguments, cwd=work)
    tests = [arguments for section in chosen for arguments in section.tests]
    selected = {tuple(arguments) for arguments in tests if "-k" in arguments}
    whole = {path for arguments in tests if "-k" not in arguments for path in arguments}
    for arguments in (sorted(whole), *sorted(selected)):
        if arguments:
            in_copy(tree, "pytest", "-q", *arguments)
