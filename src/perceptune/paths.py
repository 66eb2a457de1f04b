"""Where the configuration lies: in the repository, or in the installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `conf` and `sweeps`.

    A checkout comes first: an editable install leaves copies in the package that grow stale.
    """
    repository = _PACKAGE.parents[1]
    return repository if (repository / "conf" / "config.yaml").is_file() else _PACKAGE
