"""The command `perceptune`: finds what was asked for and turns a user's mistake into a line.

Imports nothing slow before it knows what is asked, so that `perceptune --help` answers at once.
"""

import os
import signal
import sys
import tempfile
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
    sys.argv = ["perceptune train", *overrides]
    conf = str(paths.root() / "conf")
    run = hydra.main(config_path=conf, config_name="config", version_base="1.3")(_job)
    # A container's stop or a batch system's end: close the run as an interrupt would.
    signal.signal(signal.SIGTERM, _terminate)
    if {"-m", "--multirun"} & set(arguments):
        _in_group(run, arguments)
    else:
        run()


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


def _job(composed: "DictConfig") -> Any:
    """What Hydra calls, once for each job, maybe in another process."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from optuna_joblib_sweeper import current_trial
    from perceptune import experiment, terminal
    from perceptune.config import parse
    from perceptune.errors import UserError

    settings = HydraConfig.get()
    alone = settings.mode is RunMode.RUN
    overrides = list(settings.overrides.task)
    group = _group()
    try:
        config = parse(composed)
        result = experiment.train(config, overrides, Path(settings.runtime.output_dir), group)
    except UserError as error:
        if alone:
            _fail(str(error))  # leaves by SystemExit, past Hydra's own report
        if not current_trial():  # of a failed trial the sweeper tells
            print(f"{' '.join(overrides)}: {error}", file=sys.stderr, flush=True)
        raise
    if alone:
        print(terminal.summary(result))
    elif group is not None and not current_trial():
        print(terminal.one_line(result, overrides), flush=True)
    return result.objective(config.objectives)


def _in_group(run: Any, arguments: list[str]) -> None:
    """Run several jobs as children of one parent, and close it when all have ended."""
    from perceptune.tracking.store import Group, close_group

    words = [word for word in arguments if not word.startswith(("-", "hydra."))]
    with tempfile.TemporaryDirectory(prefix="perceptune-") as folder:
        group = Group(Path(folder), " ".join(["multirun", *words])[:200])
        group.save()
        os.environ[_GROUP] = folder
        failed = True
        try:
            run()
            failed = False
        finally:
            del os.environ[_GROUP]
            close_group(group, failed=failed)


def _group() -> Any:
    from perceptune.tracking.store import Group

    return Group.load(Path(os.environ[_GROUP])) if _GROUP in os.environ else None


def _without_traceback(command: Any, arguments: list[str]) -> int:
    """Run a command; a mistake of the user's ends in a message, a bug in its traceback."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from perceptune.errors import UserError

    wants_all = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves errors to us
    try:
        command(arguments)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if wants_all:
            raise
        if isinstance(error, UserError):
            _fail(str(error))
        if isinstance(error, OSError):
            _fail(str(error))
        if isinstance(error, MemoryError):
            _fail(f"out of memory: {error}; lower model.hidden or train.batch_size")
        if isinstance(error, HydraException | OmegaConfBaseException) or _raised_by_hydra(error):
            cause = error.__cause__
            of_omegaconf = type(cause).__module__.startswith("omegaconf")
            _fail(f"{error}\n{cause}" if of_omegaconf else str(error))
        raise
    finally:
        if not wants_all:
            del os.environ["HYDRA_FULL_ERROR"]
    return 0


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
    "report": report,
    "ui": ui,
    "info": info,
}

if _GROUP in os.environ:  # a job's process: it composes before it calls `_job`
    from perceptune.paths import register_resolvers

    register_resolvers()
