"""The walkthrough runs from top to bottom, and is kept without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from perceptune import app

NOTEBOOK = app.root() / "notebooks" / "walkthrough.ipynb"


@pytest.mark.slow
def test_the_walkthrough_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, resources=where).execute()
    [end] = [cell for cell in notebook.cells if "test/accuracy" in cell.source]
    assert "adam lr=0.003 [32] tanh" in "".join(output.get("text", "") for output in end.outputs)
