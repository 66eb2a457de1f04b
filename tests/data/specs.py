"""Specifications of data sets with all but name and place left at usual values."""

from pathlib import Path
from typing import Any

from perceptune.data.sources import DataSpec


def spec(
    name: str, *, dir: Path | None = None, path: Path | None = None, **others: Any
) -> DataSpec:
    usual = {"validation": 0.1, "split_seed": 0, "standardize": False}
    places = {"dir": dir and str(dir), "path": path and str(path)}
    return DataSpec(name=name, **places, **usual | others)
