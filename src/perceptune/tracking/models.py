"""Trained networks in the MLflow store: logged as code and weights, registered, fetched.

Nothing is pickled. A model carries the modules that it needs under another name, so that
neither it nor an installed Perceptune can hide the other.
"""

import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import perceptune
from perceptune.errors import UserError
from perceptune.tracking.run import Entry, MlflowRun
from perceptune.tracking.store import Place, client_to_read, errors_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

CHAMPION = "champion"
_CARRIED = "perceptune_nn"
_NEEDS = ("mlflow", "numpy", "pandas")
_PACKAGE = Path(perceptune.__file__).parent


def log_model(run: MlflowRun, weights: Path, example: Any, entry: Entry | None) -> str | None:
    """Log a network as the run's model, and register it where `entry` says so.

    Args:
        run: whose model it is.
        weights: a file of `checkpoint.save_network`.
        example: some images, (n, pixels) uint8.
        entry: its place in the registry, if it gets one.

    Returns:
        What was registered, in a line.
    """
    from mlflow.entities import LoggedModelOutput

    client = run.client
    with errors_of(Place(run.store, "")), tempfile.TemporaryDirectory() as scratch:
        experiment = client.get_run(run.id).info.experiment_id
        logged = client.create_logged_model(experiment, "model", run.id)
        client.log_outputs(run.id, [LoggedModelOutput(logged.model_id, step=0)])
        try:
            built = Path(scratch) / "model"
            _build(built, weights, example, run.id, logged.model_id)
            client.log_model_artifacts(logged.model_id, str(built))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        return _register(run, entry, logged) if entry else None


def _build(folder: Path, weights: Path, example: Any, run_id: str, model_id: str) -> None:
    """Write an MLflow model to `folder`."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    outputs = Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")])
    # No schema of the input: each that MLflow has refuses some of what the model takes, a uint8
    # tensor for instance int64, square images and tables. The example shows the form.
    params = ParamSchema([ParamSpec("probabilities", DataType.boolean, default=False)])
    with tempfile.TemporaryDirectory() as scratch, _carried(Path(scratch)) as script, _quiet():
        pyfunc.save_model(
            path=str(folder),
            mlflow_model=Model(run_id=run_id, model_uuid=model_id, model_id=model_id),
            python_model=str(script),
            artifacts={"network": str(weights)},
            code_paths=[str(script.parent / _CARRIED)],
            signature=ModelSignature(outputs=outputs, params=params),
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in _NEEDS],
        )
    for leftover in folder.rglob("__pycache__"):
        shutil.rmtree(leftover)


def fetch_weights(uri: str, model: str, folder: Path) -> Path:
    """Copy the weights of a run, or of a model `models:/…`, from a store into `folder`.

    A study's run stands for its best trial. No code of a model is run.

    Raises:
        UserError: the store has no such thing, or it has no weights.
    """
    from mlflow.exceptions import MlflowException

    client = client_to_read(uri)
    try:
        if model.startswith("models:/"):
            from mlflow.artifacts import download_artifacts

            source = _source(client, model.removeprefix("models:/"))
            got = Path(download_artifacts(source, dst_path=str(folder), tracking_uri=uri))
            weights = sorted((got / "artifacts").glob("*.npz"))
            if not weights:
                raise UserError(f"{model} is not a model of Perceptune's")
            return weights[0]
        run = client.get_run(model)
        run_id = run.data.tags.get("best_run_id", model)
        return Path(client.download_artifacts(run_id, "weights/best.npz", str(folder)))
    except MlflowException as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"no model {model} in {uri}: {reason}") from None
    except OSError:
        raise UserError(f"run {model} has no weights/best.npz; it did not finish") from None


def _source(client: "MlflowClient", name: str) -> str:
    """Where the files of `NAME@ALIAS`, `NAME/VERSION` or a model's id are.

    MLflow's own look-up of `models:/…` would ask a store of its own choice.
    """
    model, at, alias = name.partition("@")
    if at:
        return str(client.get_model_version_by_alias(model, alias).source)
    model, slash, version_number = name.partition("/")
    if slash:
        return str(client.get_model_version(model, version_number).source)
    return str(client.get_logged_model(model).artifact_location)


def _register(run: MlflowRun, entry: Entry, logged: "LoggedModel") -> str:
    from mlflow.exceptions import MlflowException

    client = run.client
    try:
        client.create_registered_model(entry.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {"data.sha256": entry.digest}
    if entry.accuracy is not None:
        tags["val/accuracy"] = repr(entry.accuracy)
    made = client.create_model_version(
        entry.name, logged.artifact_location, run.id, tags=tags, model_id=logged.model_id
    )
    said = f"registered as models:/{entry.name}/{made.version}"
    if not entry.crown:
        return said
    kept = _why_champion_stays(run, entry)
    if kept:
        return f"{said}; {kept}"
    client.set_registered_model_alias(entry.name, CHAMPION, made.version)
    return f"{said}, the new {CHAMPION}"


def _why_champion_stays(run: MlflowRun, entry: Entry) -> str | None:
    """The reason not to crown, in words; None if the newcomer is better, or the first."""
    from mlflow.exceptions import MlflowException

    try:
        champion = run.client.get_model_version_by_alias(entry.name, CHAMPION)
    except MlflowException:
        return None
    old = f"the {CHAMPION}, version {champion.version},"
    if champion.tags.get("data.sha256") != entry.digest:
        return f"{old} stays: it was trained on other data"
    best = float(champion.tags.get("val/accuracy", "nan"))
    if entry.accuracy is None or not entry.accuracy > best:
        return f"{old} stays: validation accuracy {best:.4f} is not beaten"
    return None


@contextmanager
def _carried(folder: Path) -> Iterator[Path]:
    """The model's script with the package that it imports beside it, importable meanwhile.

    MLflow runs the script once while it logs it.
    """
    code = folder / _CARRIED
    code.mkdir()
    for source in sorted((_PACKAGE / "nn").glob("*.py")):
        (code / source.name).write_text(_renamed(source), "utf-8")
    script = folder / "classifier.py"
    script.write_text(_renamed(_PACKAGE / "model.py"), "utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield script
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == _CARRIED]:
            del sys.modules[name]


def _renamed(source: Path) -> str:
    return source.read_text("utf-8").replace("perceptune.nn", _CARRIED)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's hints at how else a model might be written."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
