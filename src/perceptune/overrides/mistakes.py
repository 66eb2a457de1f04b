"""One line for an override that Hydra refuses: what was meant, or how to write it."""

from collections.abc import Iterator, Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from optuna_joblib_sweeper.errors import SweepError
from perceptune.config import OVERLAYS, lacks_package
from perceptune.errors import UserError, one_line, shorten
from perceptune.overrides.known import Known, known
from perceptune.overrides.spelling import nearest, or_list
from perceptune.overrides.words import GROUPS, open_mark, parsed, split

# What a setting is called elsewhere.
_SYNONYMS = {
    "learning_rate": "optimizer.lr",
    "batch": "train.batch_size",
    "layers": "model.hidden",
    "units": "model.hidden",
    "optim": "optimizer",
    "trials": "hydra.sweeper.n_trials",
    "jobs": "hydra.sweeper.n_jobs",
}


def is_of_hydra(error: BaseException) -> bool:
    """True for an error of Hydra or joblib, but the sweeper's own: the command line is at fault."""
    if isinstance(error, SweepError):
        return "Could not " in str(error)  # which is Hydra's, of a trial that cannot be composed
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return isinstance(error, HydraException | OmegaConfBaseException) or (
        place.partition(".")[0] in ("hydra", "omegaconf", "antlr4", "joblib")
    )


def explain(error: BaseException, words: Sequence[str], *, many: bool | None) -> str:
    """The line for `error`, which Hydra raised when it composed `words`.

    Hydra is initialized by the caller.

    Args:
        error: of Hydra or OmegaConf.
        words: the overrides.
        many: for a multirun; None where there is none.
    """
    return next(_of_form(words), None) or next(_of_names(words, many=many), None) or _reason(error)


def refuse_added(words: Sequence[str]) -> None:
    """Refuse settings that are added to Hydra's own: it has no use for them, and says nothing.

    Hydra is initialized by the caller.

    Raises:
        UserError: an added key that does not exist.
    """
    added = [word for word in words if word.startswith(("+hydra.", "++hydra."))]
    there = known(words) if added else None
    for word in added:
        _, key, value = split(word)
        if there and not there.has(key) and not key.startswith(_OPEN):
            raise UserError(_unknown(key, value, there))


def refuse_sweep(words: Sequence[str]) -> None:
    """Refuse a sweep that every job of a plain multirun, or the first, would fail for.

    Hydra is initialized by the caller.

    Raises:
        UserError: a range, which only a study samples, or a key or an option that does not exist.
    """
    grouped = any(map(is_sweep_of_group, words))  # some options may bring keys
    for word in words:
        marks, key, value = split(word)
        override = parsed(word)
        if override is None or not override.is_sweep_override():
            continue
        if override.is_interval_sweep() or value.startswith("tag("):
            raise UserError(f"{shorten(word)} is a range, for a study; add hydra/sweeper=study")
        there = known(words)
        if is_sweep_of_group(word):
            for line in _of_options(marks, key, _names_of(value), there):
                raise UserError(line)
        elif not (marks or there.has(key) or key in there.groups or grouped):
            raise UserError(_unknown(key, value, there))


def is_sweep_of_group(word: str) -> bool:
    """True if `word` sweeps the options of a group of Perceptune's."""
    override = parsed(word)
    return split(word)[1] in GROUPS and override is not None and override.is_sweep_override()


def _of_form(words: Sequence[str]) -> Iterator[str]:
    """What is wrong with the form of a word, whatever it names."""
    for position, word in enumerate(words):
        _, key, value = split(word)
        short = shorten(word)
        following = _value_after(words, position)
        if key and following and (word.endswith("=") or words[position + 1].startswith("=")):
            meant = shorten(f"{word.rstrip('=')}={following}")
            yield f"{short} has no value; write {meant}, without spaces"
        if not key.strip():
            yield f"an override is KEY=VALUE, got {short or 'an empty word'}"
        if mark := open_mark(value) if parsed(word) is None else None:
            yield f"{short} cannot be read: its {mark} has no partner"


def _of_names(words: Sequence[str], *, many: bool | None) -> Iterator[str]:
    """What is wrong with keys, options and values."""
    there = known(words)
    for position, word in enumerate(words):
        marks, key, value = split(word)
        override = parsed(word)
        swept = override is not None and override.is_sweep_override()
        if "=" not in word and "~" not in marks:
            yield _bare(key, _value_after(words, position), there)
        elif key in there.groups:
            names = _names_of(value) if swept else [value]
            yield from _of_options(marks, key, names, there)
        elif not there.has(key) and "+" not in marks:
            yield _unknown(key, value, there)
        elif marks == "+" and there.has(key):
            yield f"{shorten(word)} adds what is there already; write {shorten(word[1:])}"
        if override is None and "=" in word:
            yield f"{shorten(word)} cannot be read"
        if swept and not many:
            yield _several(key, value, many=many)


def _bare(word: str, value: str, there: Known) -> str:
    """The line for a word without `=`, which `value` comes after."""
    if groups := _by_option(word, there):
        return (
            f"{word} is no override; did you mean {or_list([f'{one}={word}' for one in groups])}?"
        )
    keys = [word] if there.has(word) or word in there.groups else nearest(word, there.ours)
    if not keys:
        return f"{shorten(word)} is no override; an override is KEY=VALUE"
    return f"{shorten(word)} has no value; write {keys[0]}={shorten(value) or 'VALUE'}"


def _of_options(marks: str, group: str, names: Sequence[str], there: Known) -> Iterator[str]:
    """What is wrong with the choice of an option."""
    options = there.options(group)
    if "+" in marks:
        yield f"{marks}{group}={names[0]} adds what is there already; write {group}={names[0]}"
    if "~" in marks and names != [""]:
        yield f"~{group} takes no value; leave it out, or choose {or_list(options)}"
    for name in names:
        if name not in options and "~" not in marks:
            meant = nearest(name, options)
            remedy = f"did you mean {or_list(meant)}?" if meant else f"choose {or_list(options)}"
            yield f"{group} has no option {shorten(name)!r}; {remedy}"


def _unknown(key: str, value: str, there: Known) -> str:
    """The line for a key that does not exist."""
    group, _, leaf = key.rpartition(".")
    if key.startswith(("hydra/sweeper/", "hydra.sweeper.")) and _NO_STUDY not in there.groups:
        return f"{shorten(key)} is for a study; add -m, and hydra/sweeper=study or sweeps=NAME"
    if group in there.groups and "/" not in group:
        holders = [f"{group}={name}" for name in there.holders(group, key)]
        if holders:
            return f"{key} belongs to {or_list(holders)}"
    ours = [] if key.startswith("hydra") else there.ours
    meant = [_SYNONYMS[leaf]] if leaf in _SYNONYMS else nearest(key, ours)
    meant = meant or [f"{one}={value}" for one in _by_option(value, there)]
    meant = meant or [f"{one}={key}" for one in _by_option(key, there)]
    meant = meant or nearest(key, there.of_hydra(key))
    if meant:
        return f"{shorten(key)} does not exist; did you mean {or_list(meant)}?"
    return f"{shorten(key)} does not exist; `perceptune train --cfg job` prints all settings"


def _names_of(sweep: str) -> list[str]:
    """The names in `a,b` or `choice(a,b)`."""
    return sweep.removeprefix("choice(").removesuffix(")").split(",")


def _several(key: str, value: str, *, many: bool | None) -> str:
    """The line for a sweep outside a multirun."""
    remedies = [] if many is None else ["add -m to try each"]
    is_list = key in _LISTS and not value.endswith(")")
    remedies += [f"write {key}=[{shorten(value)}] for a list" if is_list else "write one"]
    return f"{shorten(f'{key}={value}')} has several values; {or_list(remedies)}"


def _value_after(words: Sequence[str], position: int) -> str:
    """The value that was typed as a word of its own after `words[position]`, or nothing."""
    rest = [word.lstrip("=") for word in words[position + 1 :]]
    following = next(filter(None, rest), "")
    return "" if "=" in following else following


def _by_option(name: str, there: Known) -> list[str]:
    """The groups that have an option of this name."""
    return [one for one in there.groups if "/" not in one and name in there.options(one)]


def _reason(error: BaseException) -> str:
    """What Hydra says, with OmegaConf's reason, in a line."""
    text = str(error).strip() or type(error).__name__
    for group in OVERLAYS:
        if f"@{group}." in text:
            return lacks_package(group)
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        first = text.splitlines()[0].removeprefix("Error merging override ")
        text = f"{first}: {str(cause.msg or cause).splitlines()[0]}"
    return one_line(text.partition("\nSee ")[0])


_LISTS = ("model.hidden", "backends", "objective")  # settings that may have several values
_NO_STUDY = "hydra/sweeper/sampler"  # a group that comes with a study
# Mappings of Hydra's that take any key.
_OPEN = tuple(f"hydra.{name}." for name in ("sweeper", "job.env_set", "env", "job_logging"))
