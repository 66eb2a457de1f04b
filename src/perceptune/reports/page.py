"""A page of Markdown with its files, published as one folder; knows nothing of its content."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optuna_joblib_sweeper.leftovers import clear, mark
from perceptune.errors import UserError
from perceptune.evaluation import Spread

_NAME = "README.md"  # code hosts render it as the page of a folder
_MARK = re.compile(r"<!-- made by perceptune report; its files: (.*) -->\n?")


class Page:
    """Text that grows from top to bottom, and the files beside it in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Start an empty page; callers write its files to `folder`."""
        self.folder = folder
        self._parts: list[str] = []

    def add(self, *paragraphs: str) -> None:
        """Append paragraphs, headings or tables."""
        self._parts += [paragraph for paragraph in paragraphs if paragraph]

    def figure(self, name: str, title: str) -> Path:
        """Append a figure; returns the path to write it to."""
        self._parts.append(f"![{title}]({name}.png)")
        return self.folder / f"{name}.png"

    @property
    def text(self) -> str:
        """The whole page as Markdown."""
        return "\n\n".join(self._parts) + "\n"


@contextmanager
def published(folder: Path) -> Iterator[Page]:
    """A page that is published to `folder` atomically, if the block ends without an error.

    Raises:
        UserError: `folder` holds something that is not an earlier page, or cannot be written.
    """
    _refuse_foreign(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clear(folder.parent, f".{folder.name}.*")
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.{mark()}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"--output {folder} cannot be written: {error.strerror}") from None
    try:
        page = Page(scratch)
        yield page
        files = " ".join(sorted(_files_of(scratch)))
        (scratch / _NAME).write_text(
            f"{page.text}\n<!-- made by perceptune report; its files: {files} -->\n", "utf-8"
        )
        scratch.chmod(0o755)  # temporary folders are private by default
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are left-aligned, the others right-aligned."""
    rule = [" --- " if index < left else " ---: " for index in range(len(columns))]
    lines = [_row(columns), "|" + "|".join(rule) + "|", *map(_row, rows)]
    return "\n".join(lines)


def code(text: str) -> str:
    """A command as a Markdown code block."""
    return f"```sh\n{text}\n```"


def mean_and_sd(values: Sequence[float], percent: bool = False) -> str:
    """The mean ± sample standard deviation: `0.9712 ± 0.0023 (n = 3)`, or `97.12% ± 0.23 (n = 3)`.

    Args:
        values: one or more; without ± for one.
        percent: show fractions in percent.
    """
    scale, digits, unit = (100, 2, "%") if percent else (1, 4, "")
    if len(values) == 1:
        return f"{scale * values[0]:.{digits}f}{unit} (n = 1)"
    spread = Spread.of(values)
    mean, sd = f"{scale * spread.mean:.{digits}f}{unit}", f"{scale * spread.sd:.{digits}f}"
    return f"{mean} ± {sd} (n = {len(values)})"


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with anything but the files of an earlier page."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--output {folder} is a file; name a folder")
    there = _files_of(folder)
    page = folder / _NAME
    marks = _MARK.findall(page.read_text("utf-8", "replace")) if page.is_file() else []
    ours = {_NAME, *marks[-1].split()} if marks else set()
    foreign = sorted(there - ours)
    if foreign:
        raise UserError(
            f"--output {folder} holds {foreign[0]}, which no report made; choose another folder"
        )
