"""The command `perceptune`: the list of commands; a user's mistake ends in one line.

Imports nothing slow before it knows the command, so that `perceptune --help` answers at once.
"""

import os
import re
import signal
import sys
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, NoReturn

from perceptune import __version__
from perceptune.errors import UserError, fail, shorten
from perceptune.overrides import completion
from perceptune.overrides.spelling import nearest, or_list
from perceptune.terminal import keep_output, refuse_lost_output

USAGE = """\
perceptune: perceptrons in NumPy, composed by Hydra, tracked in MLflow, tuned by Optuna

  perceptune train [OVERRIDE ...]     train one network and record it
  perceptune train -m [OVERRIDE ...]  train many: every combination of values, or a study
  perceptune evaluate MODEL [MODEL ...] [OVERRIDE ...]
                                      score a network on test data, or the mean of several
  perceptune predict MODEL [MODEL ...] INPUT [--output FILE] [--show FILE] [--probabilities]
                                      classify a picture, a folder of them, a .npy or a CSV
  perceptune compare [OVERRIDE ...]   train the same network in NumPy, PyTorch, JAX, Keras and
                                      scikit-learn: same initial weights, same batches
  perceptune report [STUDY ...] [--output FOLDER]
                                      write a page on one study, several, or all finished runs
  perceptune ui                       show runs in the browser
  perceptune info                     versions, cores, BLAS; locations of data and store

A MODEL is the id of a run, models:/NAME@champion, models:/NAME/VERSION, or an .npz file.
An OVERRIDE is KEY=VALUE, as Hydra takes it:
  perceptune train data=mnist model.hidden=[256,128] optimizer=adamw optimizer.lr=2e-3
  perceptune train -m optimizer=sgd,adam seed=0,1,2
`perceptune train --help` lists the groups, `perceptune train --cfg job` every key.
In bash, `eval "$(perceptune --shell-completion)"` makes Tab complete all of them.
"""

# Each is a module of `commands`, whose `main` takes the arguments.
COMMANDS = ("train", "evaluate", "predict", "compare", "report", "ui", "info")
_RECORDED = ("train", "evaluate")
_UNRECORDED = re.compile(r"-m|--multirun|-h|--help|-c|--cfg|tracking\.enabled=false|repeats=.*")


def main() -> None:
    """Run the command that `sys.argv` names, and exit with its code."""
    keep_output()
    arguments = sys.argv[1:]
    if arguments[:1] == ["help"] and arguments[1:]:
        arguments = [arguments[1], "--help"]
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(USAGE, end="")
    elif command == "--version":
        print(__version__)
    elif command == "--shell-completion":
        print(completion.SCRIPT, end="")
    elif command == "--complete":
        print("\n".join(completion.complete(arguments[1:], COMMANDS)))
    elif command in COMMANDS:
        sys.exit(_without_traceback(command, arguments[1:]))
    else:
        meant = nearest(command, COMMANDS) or COMMANDS
        fail(f"no command {shorten(command)!r}; did you mean {or_list(meant)}?", code=2)


def _without_traceback(command: str, arguments: list[str]) -> int:
    """Run a command; a user's mistake ends in a message, a bug in a traceback."""
    from perceptune.tracking.recorder import standby

    # Containers and batch systems send it to stop a run: close the run as for an interrupt.
    signal.signal(signal.SIGTERM, _terminate)
    wants_all = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors instead of printing them
    try:
        with standby(needed=_is_recorded(command, arguments)), _temporaries():
            import_module(f"perceptune.commands.{command}").main(arguments)
        refuse_lost_output()
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


def _is_recorded(command: str, arguments: list[str]) -> bool:
    """Whether the command will probably record one run, and has not imported MLflow for another."""
    unrecorded = any(map(_UNRECORDED.fullmatch, arguments)) or "mlflow" in sys.modules
    return command in _RECORDED and not unrecorded


def _temporaries() -> AbstractContextManager[None]:
    from optuna_joblib_sweeper.leftovers import own_temporaries

    return own_temporaries("perceptune")


def _explain(error: Exception) -> None:
    """Exit with a message if the user can fix `error`."""
    from optuna_joblib_sweeper.errors import SweepError

    if isinstance(error, SweepError):  # conf/hydra/sweeper/study.yaml takes it from there
        fail(str(error).replace("hydra.sweeper.mlflow.tracking_uri", "tracking.uri"))
    if isinstance(error, UserError | OSError):
        fail(str(error))
    if isinstance(error, MemoryError):
        fail(f"out of memory: {error}; lower model.hidden or train.batch_size")


def _terminate(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
