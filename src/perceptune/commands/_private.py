"""Private doors of Hydra that the commands open, each here and nowhere else; see `app`.

Configuration may come from anybody (a file of a study, a preset, a folder), and Hydra would call
whatever it names: callbacks, loggers, arguments of plugins. Perceptune takes code from none, so it
looks at each configuration that Hydra has composed before Hydra obeys it.

Seen in hydra-core 1.3.8 and 1.4.0rc3; after an upgrade tests/commands/test_private.py fails first.
"""

import re
from argparse import Action, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from perceptune.errors import UserError

_hydra: Any = import_module("hydra._internal.hydra")

_PARENT = "perceptune.commands.train.MultirunParent"
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__ < "1.4" else {}
"""For `hydra.initialize` and its like: 1.3 warns without it, 1.4 with it."""
MAIN: dict[str, Any] = VERSION_BASE or {"execution_whitelist": (_PARENT,)}
"""For `hydra.main`, which from 1.4 on takes a list of what may be called."""

_SWEEPER = "hydra_plugins.optuna_joblib_sweeper.sweeper.OptunaJoblibSweeper"
_OBEYED = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")  # below `hydra`
_OURS = {"hydra.callbacks.parent._target_": _PARENT}
_CHOSEN = ("hydra.launcher._target_", "hydra.sweeper._target_")
_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # of these only, and installed ones
_JUDGED = re.compile(r"hydra\.sweeper\.(sampler|pruner)\.")  # by our sweeper, before it calls any
# What a logging configuration may name; `()` and `class` are called.
_CALLED = {
    *("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter"),
    *("logging.handlers.RotatingFileHandler", "logging.handlers.TimedRotatingFileHandler"),
    "colorlog.ColoredFormatter",
}
_REFERRED = {"ext://sys.stdout", "ext://sys.stderr"}
# Of the environment: what makes another program run, or load code.
_LOADS = re.compile(r"hydra\.job\.env_set\.(PYTHON|LD_|DYLD_|GIT_|PATH$)")
# Names of a job's folder and number, which it has only when it runs.
_LATER = re.compile(r"([^$]|\$\{hydra\.(runtime|job)\.\w+\})*")


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, which refuses configurations that name code; it reaches workers as well.

    Hydra composes twice, first to see `hydra.mode` alone. What it got then is used again, which
    saves a tenth of the time of a short training without a store.
    """

    _first: tuple[Any, list[str], DictConfig] | None = None

    def _load_configuration_impl(  # type: ignore[override]
        self, *, config_name: Any, overrides: list[str], run_mode: Any, **options: Any
    ) -> DictConfig:
        first, self._first = self._first, None
        mode = f"hydra.mode={run_mode.name}"  # which Hydra adds the second time
        if first is not None and (config_name, overrides) == (first[0], [*first[1], mode]):
            parsed = OverridesParser.create().parse_overrides(overrides)
            self.validate_sweep_overrides_legal(parsed, run_mode, options["from_shell"])
            composed = first[2]
            composed.hydra.mode = run_mode
            composed.hydra.overrides.hydra.append(mode)
            return composed
        composed = super()._load_configuration_impl(config_name, overrides, run_mode, **options)
        refuse_code(composed)
        # Sweeps are not looked at the first time, and a default that is missing is left out.
        complete = "???" not in composed.hydra.runtime.choices.values()
        if complete and not options["validate_sweep_overrides"]:
            self._first = (config_name, list(overrides), composed)
        return composed


@contextmanager
def text_helps() -> Iterator[None]:
    """Have argparse check helps that are text, and no other, meanwhile.

    Python 3.14 checks each, and Hydra 1.3 has one that becomes text only when it is shown.
    """
    check = getattr(ArgumentParser, "_check_help", None)
    if check is None:
        yield
        return

    def check_text(parser: ArgumentParser, action: Action) -> None:
        if isinstance(action.help, str):
            check(parser, action)

    setattr(ArgumentParser, "_check_help", check_text)  # noqa: B010
    try:
        yield
    finally:
        delattr(ArgumentParser, "_check_help")  # argparse's own is of the class above it


@contextmanager
def checked_configs() -> Iterator[None]:
    """Have Hydra use `CheckedLoader` meanwhile."""
    before, _hydra.ConfigLoaderImpl = _hydra.ConfigLoaderImpl, CheckedLoader
    try:
        yield
    finally:
        _hydra.ConfigLoaderImpl = before


def refuse_code(composed: DictConfig) -> None:
    """Refuse a composed configuration that names code which Hydra or logging would call.

    Raises:
        UserError: it does; the message has the key.
    """
    everything: Any = OmegaConf.to_container(composed, resolve=False)
    hydras = everything.pop("hydra")
    for key, value in _leaves(everything, ""):
        _refuse(key, value, fine=key.rpartition(".")[2] != "_target_")
    for key, value in _leaves(hydras["job"], "hydra.job."):
        _refuse(key, value, fine=not _LOADS.match(key))
    judged = composed.hydra.sweeper.get("_target_") == _SWEEPER
    for part in _OBEYED:
        logs = part.endswith("logging")
        for key, value in _leaves(_resolved(composed.hydra[part]), f"hydra.{part}."):
            fine = _is_log(key, value) if logs else _is_ours(key, value, judged)
            _refuse(key, value, fine=fine)


def _refuse(key: str, value: Any, *, fine: bool) -> None:
    if not fine:
        raise UserError(f"{key}={value} is refused: no configuration may name code; delete it")


def _is_ours(key: str, value: Any, judged: bool) -> bool:
    """Whether a value below `hydra` is no code, or code that may be named there."""
    name = key.rpartition(".")[2]
    if name == "_recursive_":
        return value is False
    plugin = key in _CHOSEN and str(value).startswith(_PLUGINS)
    fine = plugin or _OURS.get(key) == value or (judged and _JUDGED.match(key))
    return name != "_target_" or bool(fine)


def _is_log(key: str, value: Any) -> bool:
    """Whether a value of a logging configuration is no code, or one of its usual classes."""
    if key.rpartition(".")[2] in ("()", "class", "queue", "listener"):
        return value in _CALLED
    return value in _REFERRED or not str(value).startswith(("ext://", "cfg://"))


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value of nested dicts and lists, with its dotted key."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree or ())
    for name, value in pairs:
        if isinstance(value, dict | list):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _resolved(node: Any) -> Any:
    """`node` as plain values; what only a job knows stays as it is written."""
    if isinstance(node, DictConfig):
        return {name: _resolved(_value(node, name)) for name in node}
    if isinstance(node, ListConfig):
        return [_resolved(_value(node, index)) for index in range(len(node))]
    return node


def _value(node: DictConfig | ListConfig, name: Any) -> Any:
    if OmegaConf.is_missing(node, name):
        return None
    try:
        return node[name]
    except OmegaConfBaseException:
        written: Any = OmegaConf.to_container(node, resolve=False)
        if not _LATER.fullmatch(written[name]):
            raise
        return written[name]
