"""The command `perceptune`: finds what was asked for and turns a user's mistake into a line.

Imports nothing slow before it knows what is asked, so that `perceptune --help` answers at once.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """\
perceptune: perceptrons in NumPy, composed by Hydra, tracked in MLflow, tuned by Optuna

  perceptune train [OVERRIDE ...]     train one network and record it
  perceptune train -m [OVERRIDE ...]  train many: a value for each of several, or a study
  perceptune evaluate MODEL [MODEL ...] [OVERRIDE ...]
                                      score a network on test data; several: their mean
  perceptune predict MODEL INPUT [--output FILE] [--probabilities]
                                      classify a picture, a folder of them, a .npy or a CSV
  perceptune compare [OVERRIDE ...]   train the same network in NumPy, PyTorch, JAX, Keras and
                                      scikit-learn: same start, same batches
  perceptune report [STUDY ...] [--output FOLDER]
                                      a page of a study, of several compared, of all finished runs
  perceptune ui                       look at runs in the browser
  perceptune info                     versions, cores, BLAS; where data and store are

A MODEL is the id of a run, models:/NAME@champion, models:/NAME/VERSION, or an .npz file.
An OVERRIDE is KEY=VALUE, as Hydra takes it:
  perceptune train data=mnist model.hidden=[256,128] optimizer=adamw optimizer.lr=2e-3
  perceptune train -m optimizer=sgd,adam seed=0,1,2
`perceptune train --help` lists the groups, `perceptune train --cfg job` every key.
"""

_GROUP = "PERCEPTUNE_GROUP"  # tells the jobs of one command which folder they share


def main() -> None:
    """Run the command that `sys.argv` asks for; what it returns to the shell is its exit code."""
    arguments = sys.argv[1:]
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
    elif command == "--version":
        import perceptune

        print(perceptune.__version__)
    elif command in COMMANDS:
        sys.exit(_without_traceback(COMMANDS[command], arguments[1:]))
    else:
        _fail(f"there is no command {command!r}; there are: {', '.join(COMMANDS)}", code=2)


def train(arguments: list[str]) -> None:
    """`perceptune train`: Hydra composes, `_job` does the work, once or many times."""
    run = _composed("train", arguments, _job)
    if {"-m", "--multirun"} & set(arguments):
        words = [word for word in arguments if not word.startswith(("-", "hydra."))]
        with _grouped(" ".join(["multirun", *words])):
            run()
    else:
        run()


def compare(arguments: list[str]) -> None:
    """`perceptune compare`: Hydra composes as for `train`."""
    if {"-m", "--multirun"} & set(arguments):
        from perceptune.errors import UserError

        raise UserError("compare runs all of backends=[…] and repeats=… by itself; leave out -m")
    _composed("compare", arguments, _comparison)()


def evaluate(arguments: list[str]) -> None:
    """`perceptune evaluate`."""
    from perceptune.commands import evaluate

    evaluate.main(arguments)


def predict(arguments: list[str]) -> None:
    """`perceptune predict`."""
    from perceptune.commands import predict

    predict.main(arguments)


def report(arguments: list[str]) -> None:
    """`perceptune report`."""
    from perceptune.commands import report

    report.main(arguments)


def ui(arguments: list[str]) -> None:
    """`perceptune ui`."""
    from perceptune.commands import ui

    ui.main(arguments)


def info(arguments: list[str]) -> None:
    """`perceptune info`."""
    from perceptune.info import report

    report()


def _composed(command: str, arguments: list[str], job: Any) -> Any:
    """What runs `job` with the configuration that Hydra composes from `arguments`."""
    if any(argument.startswith("--experimental-rerun") for argument in arguments):
        from perceptune.errors import UserError

        raise UserError("--experimental-rerun is refused: it would load a pickle")
    import hydra

    from perceptune import paths

    paths.register_resolvers()
    # Our presets are a group that is there already, so Hydra would refuse the `+`.
    overrides = [
        word.removeprefix("+") if word.startswith("+experiment=") else word for word in arguments
    ]
    sys.argv = [f"perceptune {command}", *overrides]
    conf = str(paths.root() / "conf")
    return hydra.main(config_path=conf, config_name="config", version_base="1.3")(job)


def _comparison(composed: "DictConfig") -> None:
    from hydra.core.hydra_config import HydraConfig

    from perceptune.commands import compare
    from perceptune.config import parse
    from perceptune.errors import UserError

    settings = HydraConfig.get()
    try:
        compare.main(
            parse(composed), list(settings.overrides.task), Path(settings.runtime.output_dir)
        )
    except UserError as error:
        _fail(str(error))  # leaves by SystemExit, past Hydra's own report


def _job(composed: "DictConfig") -> Any:
    """What Hydra calls, once for each job, maybe in another process."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from optuna_joblib_sweeper import current_trial
    from perceptune import terminal
    from perceptune.config import parse
    from perceptune.errors import UserError

    settings = HydraConfig.get()
    alone = settings.mode is RunMode.RUN
    # As they were said: what is in them is resolved in the configuration, not here.
    said: Any = OmegaConf.to_container(settings.overrides.task, resolve=False)
    overrides = list(map(str, said))
    group = _group()
    try:
        config = parse(composed)
        if config.repeats > 1 and not current_trial():
            return _repeat(config, overrides, settings)
        result = _train(config, overrides, settings, group)
    except UserError as error:
        if alone:
            if not hasattr(error, "outcome"):  # refused, not failed on the way
                _withdraw(Path(settings.runtime.output_dir), settings.output_subdir)
            _fail(str(error))  # leaves by SystemExit, past Hydra's own report
        if not current_trial():  # of a failed trial the sweeper tells
            print(f"{' '.join(overrides)}: {error}", file=sys.stderr, flush=True)
        raise
    if alone:
        print(terminal.summary(result))
    elif group is not None and not current_trial():
        from perceptune.seeds import Note

        print(terminal.one_line(result, overrides), flush=True)
        Note.of(config, overrides, result, _tags(settings)).leave(group.folder)
    return result.objective(config.objectives)


def _withdraw(folder: Path, notes: str | None) -> None:
    """Take back the notes that Hydra has left for a job that never ran, and folders now empty."""
    if notes:
        shutil.rmtree(folder / notes, ignore_errors=True)
    here = Path.cwd()
    for place in (folder, *folder.parents):
        if here not in place.parents:
            return
        try:
            place.rmdir()
        except OSError:  # somebody else's files are in it
            return


def _train(config: Any, overrides: list[str], settings: Any, group: Any) -> Any:
    """One run, of one seed; in a study of several, unless one is being confirmed."""
    from dataclasses import replace

    from optuna_joblib_sweeper import current_trial
    from perceptune import experiment, together

    if current_trial().confirming:
        config = replace(config, repeats=1)  # each fresh seed is a run of its own
    if config.repeats > 1:
        return together.train(config, overrides, _tags(settings))
    folder = Path(settings.runtime.output_dir)
    return experiment.train(config, overrides, folder, group, _tags(settings))


def _repeat(config: Any, overrides: list[str], settings: Any) -> Any:
    """Several seeds: on all cores, or one after another where other jobs have these."""
    from contextlib import nullcontext

    from perceptune import repeats
    from perceptune.experiment import name_of

    folder, tags, group = Path(settings.runtime.output_dir), _tags(settings), _group()
    n_jobs = settings.launcher.get("n_jobs", 1) if group is None else 1
    with _grouped(name_of(config, overrides)) if group is None else nullcontext(group) as group:
        done = repeats.train_all(config, overrides, folder, group, tags, n_jobs)
    return repeats.objective(done, config.objectives)


def _tags(settings: Any) -> dict[str, str]:
    """Which preset was chosen, if one was."""
    preset = settings.runtime.choices.get("experiment")
    return {"preset": str(preset)} if preset else {}


@contextmanager
def _grouped(name: str) -> Iterator[Any]:
    """Several runs as children of one parent, which is closed when all have ended."""
    from perceptune import seeds
    from perceptune.tracking.interrupts import interrupts_stay_here
    from perceptune.tracking.store import Group, close_group

    with tempfile.TemporaryDirectory(prefix="perceptune-") as folder:
        group = Group(Path(folder), name[:200])
        group.save()
        os.environ[_GROUP] = folder
        status = "FINISHED"
        try:
            with interrupts_stay_here():
                yield group
        except BaseException as error:
            by_signal = isinstance(error, KeyboardInterrupt | SystemExit)
            status = "KILLED" if by_signal else "FAILED"
            raise
        finally:
            del os.environ[_GROUP]
            try:
                if status != "KILLED":
                    seeds.conclude(group)
            finally:
                close_group(group, status)


def _group() -> Any:
    from perceptune.tracking.store import Group

    return Group.load(Path(os.environ[_GROUP])) if _GROUP in os.environ else None


def _without_traceback(command: Any, arguments: list[str]) -> int:
    """Run a command; a mistake of the user's ends in a message, a bug in its traceback."""
    # A container's stop or a batch system's end: close the run as an interrupt would.
    signal.signal(signal.SIGTERM, _terminate)
    wants_all = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves errors to us
    try:
        command(arguments)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not wants_all:
            _explain(error)
        raise
    finally:
        if not wants_all:
            del os.environ["HYDRA_FULL_ERROR"]
    return 0


def _explain(error: Exception) -> None:
    """Leave with a message if `error` is the user's to mend."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from perceptune.errors import UserError

    if isinstance(error, UserError | OSError):
        _fail(str(error))
    if isinstance(error, MemoryError):
        _fail(f"out of memory: {error}; lower model.hidden or train.batch_size")
    if isinstance(error, HydraException | OmegaConfBaseException) or _raised_by_hydra(error):
        cause = error.__cause__
        of_omegaconf = type(cause).__module__.startswith("omegaconf")
        _fail(f"{error}\n{cause}" if of_omegaconf else str(error))


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether composing has failed: then it was about what the user asked for."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return place.partition(".")[0] in ("hydra", "omegaconf", "antlr4", "joblib")


def _terminate(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"perceptune: {message}", file=sys.stderr)
    raise SystemExit(code)


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "compare": compare,
    "report": report,
    "ui": ui,
    "info": info,
}

if _GROUP in os.environ:  # a job's process: it composes before it calls `_job`
    from perceptune.paths import register_resolvers

    register_resolvers()
