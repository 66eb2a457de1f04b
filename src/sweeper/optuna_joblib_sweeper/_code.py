"""Code that a config names: Optuna's own classes, and functions of the app itself, nothing else.

A config may come from anybody, so whatever it names is judged before it is called; modules of
others are not even imported. It refuses to know what the code is for.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path
from typing import Any

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.samplers.nsgaii import BaseCrossover

from optuna_joblib_sweeper import _private
from optuna_joblib_sweeper.errors import SweepError

_Bases = type[Any] | tuple[type[Any], ...]
_BASES = (BaseSampler, BasePruner, BaseCrossover)
_PUBLISHERS = ("optuna", "optuna_integration")
_INSTALLED = {"site-packages", "dist-packages"}
_HYDRAS_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_")  # without effect here


def check_targets(value: Any, where: str) -> None:
    """Judge every class that a sampler's or pruner's config names, at any depth; call none.

    Raises:
        SweepError: code of others; `where` is the setting, for messages.
    """
    if isinstance(value, Mapping):
        if "_args_" in value:
            raise SweepError(f"{where}._args_ is not taken; give each argument by its name")
        if "_target_" in value:
            optuna_class(value["_target_"], _BASES, where)
        for key, item in value.items():
            check_targets(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_targets(item, f"{where}[{index}]")


def build(config: Mapping[str, Any], bases: _Bases, where: str) -> Any:
    """Make the object of Optuna's that `config` describes, and those in its arguments.

    Raises:
        SweepError: a class that is none of `bases`, an unknown argument, or a wrong value.
    """
    made = optuna_class(config.get("_target_"), bases, where)
    given = {key: value for key, value in config.items() if key not in _HYDRAS_KEYS}
    try:
        return made(**{key: _argument(value, f"{where}.{key}") for key, value in given.items()})
    except SweepError:
        raise
    except Exception as error:
        raise SweepError(f"{where}: {config['_target_']}: {error}") from error


def optuna_class(target: Any, bases: _Bases, where: str) -> type[Any]:
    """The class of Optuna's that `target` names.

    Raises:
        SweepError: it is anything else, whose module is not imported.
    """
    module, _, name = str(target).rpartition(".")
    found = _imported(module, name) if _top(module) in _PUBLISHERS else None
    if (
        isinstance(found, type)
        and issubclass(found, bases)
        and _top(found.__module__) in _PUBLISHERS
    ):
        return found
    rule = "must be a class of Optuna's that belongs here, such as"
    example = "optuna.pruners.MedianPruner" if bases is BasePruner else "optuna.samplers.TPESampler"
    raise SweepError(f"{where}._target_={target}: {rule} {example}")


def _argument(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(value, _BASES, where)
        return {key: _argument(item, f"{where}.{key}") for key, item in value.items()}
    return [_argument(item, where) for item in value] if isinstance(value, list) else value


def _imported(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _top(module: str) -> str:
    return module.partition(".")[0]


@dataclass(frozen=True)
class AppCode:
    """Where an app's own code is.

    Attributes:
        module: the task function's module.
        folder: the folder of that module's file; None where it has none.
    """

    module: str
    folder: Path | None

    @classmethod
    def of(cls, task_function: Callable[..., Any]) -> "AppCode":
        """That of the app with this task."""
        name = getattr(task_function, "__module__", None) or type(task_function).__module__
        module = sys.modules.get(name)
        spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
        # Under `python -m package.app` the module goes by the name __main__.
        known = spec.name if name == "__main__" and spec else name
        return cls(known, Path(file).resolve().parent if file else None)

    def function(self, setting: str, path: str, also: Path | None = None) -> Callable[..., Any]:
        """The function at the dotted `path`, from the app's package or a module in its folder.

        Args:
            setting: what names it, for messages.
            also: one more folder whose modules count as the app's; they become importable.

        Raises:
            SweepError: there is none, or it is code of others, whose module is not imported.
        """
        folders = [folder.resolve() for folder in (self.folder, also) if folder]
        if also and str(also) not in sys.path:
            sys.path.append(str(also))  # last, so that it hides no other module
        is_there = _places(_top(path)) != []
        if is_there and not self._owns(path, folders):
            raise self._refusal(setting, path, folders)
        found: Callable[..., Any] = _located(setting, path)
        if not callable(found):
            raise SweepError(f"{setting}={path}: not a function, but {found!r:.80}")
        # The app's module may only have imported it: `app.os.system`.
        if not self._owns(str(getattr(found, "__module__", None)), folders):
            raise self._refusal(setting, path, folders)
        return found

    def _owns(self, module: str, folders: Sequence[Path]) -> bool:
        top = _top(module)
        if top in ("__main__", _top(self.module)):
            return True
        pairs = product(_places(top), folders)
        return top not in sys.stdlib_module_names and any(starmap(_is_own, pairs))

    def _refusal(self, setting: str, path: str, folders: Sequence[Path]) -> SweepError:
        where = " or ".join(map(str, dict.fromkeys(folders)))
        own = f"a function of the app's own: of {self.module}, or of a module in {where}"
        return SweepError(f"{setting}={path} is refused; name {own}")


def _located(setting: str, path: str) -> Any:
    try:
        return _private.locate(path)
    except Exception as error:
        first = str(error.__cause__ or error).splitlines()[0]
        raise SweepError(f"{setting}={path}: {first}") from None


def _places(top: str) -> list[Path]:
    """Files and folders of a top-level module or package, without importing it; none if unknown."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    return [
        Path(place).resolve() for place in spec.submodule_search_locations or [str(spec.origin)]
    ]


def _is_own(place: Path, folder: Path) -> bool:
    """Whether `place` is in `folder`, and in no environment below it."""
    below = place.is_relative_to(folder)
    return below and not _INSTALLED & set(place.relative_to(folder).parts)
