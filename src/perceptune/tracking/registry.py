"""Trained networks in the MLflow store: logged as code and weights, registered, fetched.

Nothing is pickled. A model carries the modules that it needs under another name, so that it and an
installed Perceptune do not shadow each other.
"""

import logging
import math
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import perceptune
from optuna_joblib_sweeper import mlflow_tables
from optuna_joblib_sweeper.mlflow_runs import winner_of
from optuna_joblib_sweeper.secrets import masked
from perceptune.errors import StoreError
from perceptune.nn.layout import Array
from perceptune.tracking.reading import copied, fetch_file, find_run, local_store
from perceptune.tracking.store import client_to_read

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

CHAMPION = "champion"
BEST = "weights/best.npz"  # a run's artifact: the weights that were best on validation samples
_CARRIED = "perceptune_nn"
_NEEDS = ("mlflow", "numpy", "pandas")
_PACKAGE = Path(perceptune.__file__).parent


@dataclass(frozen=True)
class Registration:
    """A model's entry in the registry.

    Attributes:
        name: the registered model's.
        accuracy: on validation samples, if there were any; champions are compared by it.
        digest: SHA-256 of the data; accuracies on other data are not comparable.
        promote: make it the champion if it is better than the previous one.
    """

    name: str
    accuracy: float | None
    digest: str
    promote: bool = False


def log_model(
    client: "MlflowClient",
    run_id: str,
    weights: Path,
    example: Array,
    registration: Registration | None,
) -> str:
    """Log a network as the model of a run, and register it if `registration` is given.

    Args:
        client: of the run's store.
        run_id: the run.
        weights: a file of `checkpoint.save_network`.
        example: some images, (n, pixels) uint8.
        registration: its entry in the registry, or None.

    Returns:
        The outcome of the registration as text; empty without `registration`.

    Raises:
        MlflowException: the store cannot be used.
    """
    from mlflow.entities import LoggedModelOutput

    with tempfile.TemporaryDirectory() as scratch:
        experiment = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment, "model", run_id)
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        try:
            built = Path(scratch) / "model"
            _build(built, weights, example, run_id, logged.model_id)
            client.log_model_artifacts(logged.model_id, str(built))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
    return _register(client, run_id, registration, logged) if registration else ""


def fetch_weights(uri: str, model: str, folder: Path, artifact: str = BEST) -> Path:
    """Copy the weights of a run, or of a model `models:/…`, from a store into `folder`.

    For a parent run they are those of its best child. `artifact` is the file of a run; models have
    one alone. No code of a model is run.

    Raises:
        StoreError: the store has no such run or model, or it has no weights.
    """
    if model.startswith("models:/"):
        return _weights_of_model(uri, model, folder)
    found = find_run(uri, model)
    if found is None:
        raise StoreError(masked(f"no model {model} in {uri}: Run with id={model} not found"))
    run_id = winner_of(found.tags) or model
    path = fetch_file(uri, run_id, artifact, folder)
    if path is None:
        raise StoreError(f"run {run_id} has no {artifact}; it did not finish")
    return path


def _weights_of_model(uri: str, model: str, folder: Path) -> Path:
    name, local = model.removeprefix("models:/"), local_store(uri)
    location = mlflow_tables.model_location(local, name) if local else None
    files = mlflow_tables.local_path(location) if location else None
    if files is None or not files.is_dir():
        files = _downloaded(uri, name, folder)
    weights = sorted((files / "artifacts").glob("*.npz"))
    if not weights:
        raise StoreError(f"{model} is not a Perceptune model")
    return copied(weights[0], folder)


def _downloaded(uri: str, name: str, folder: Path) -> Path:
    """The files of a model, copied by MLflow."""
    client = client_to_read(uri)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        source = _source(client, name)
        return Path(download_artifacts(source, dst_path=str(folder), tracking_uri=uri))
    except MlflowException as error:
        reason = str(error).splitlines()[0][:200]
        raise StoreError(masked(f"no model models:/{name} in {uri}: {reason}")) from None


def _source(client: "MlflowClient", name: str) -> str:
    """The location of the files of `NAME@ALIAS`, `NAME/VERSION` or a model's id.

    MLflow's own look-up of `models:/…` would use the process's default store.
    """
    model, at, alias = name.partition("@")
    if at:
        return str(client.get_model_version_by_alias(model, alias).source)
    model, slash, version_number = name.partition("/")
    if slash:
        return str(client.get_model_version(model, version_number).source)
    return str(client.get_logged_model(model).artifact_location)


def _register(
    client: "MlflowClient", run_id: str, registration: Registration, logged: "LoggedModel"
) -> str:
    from mlflow.exceptions import MlflowException

    name = registration.name
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {"data.sha256": registration.digest}
    if registration.accuracy is not None:
        tags["val/accuracy"] = repr(registration.accuracy)
    made = client.create_model_version(
        name, logged.artifact_location, run_id, tags=tags, model_id=logged.model_id
    )
    registered = f"registered as models:/{name}/{made.version}"
    if not registration.promote:
        return registered
    kept = _why_champion_stays(client, registration)
    if kept:
        return f"{registered}; {kept}"
    client.set_registered_model_alias(name, CHAMPION, made.version)
    return f"{registered}, the new {CHAMPION}"


def _why_champion_stays(client: "MlflowClient", registration: Registration) -> str | None:
    """The reason not to promote, as text; None if the new version is better or the first."""
    from mlflow.exceptions import MlflowException

    try:
        champion = client.get_model_version_by_alias(registration.name, CHAMPION)
    except MlflowException:
        return None
    old = f"the {CHAMPION}, version {champion.version},"
    if champion.tags.get("data.sha256") != registration.digest:
        return f"{old} stays: it was trained on other data"
    best = _number(champion.tags.get("val/accuracy"))
    if registration.accuracy is None or not registration.accuracy > best:
        return f"{old} stays: validation accuracy {best:.4f} is not beaten"
    return None


def _number(text: str | None) -> float:
    """A tag's number; NaN if there is none, since anybody may write tags."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _build(folder: Path, weights: Path, example: Any, run_id: str, model_id: str) -> None:
    """Write an MLflow model to `folder`."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    outputs = Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")])
    # No input schema: any of MLflow's would refuse some valid inputs; a uint8 tensor, for instance,
    # int64, square images and tables. The example shows the form.
    params = ParamSchema([ParamSpec("probabilities", DataType.boolean, default=False)])
    # MLflow warns where pip is not installed, as in uv's environments,
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    quiet = warnings.catch_warnings(action="ignore")  # and suggests other ways to write a model
    with quiet, tempfile.TemporaryDirectory() as scratch, _carried(Path(scratch)) as script:
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


@contextmanager
def _carried(folder: Path) -> Iterator[Path]:
    """The model's script beside the package that it imports, importable while the block runs.

    MLflow runs the script once while logging it.
    """
    code = folder / _CARRIED
    code.mkdir()
    for source in (*sorted((_PACKAGE / "nn").glob("*.py")), _PACKAGE / "data" / "inputs.py"):
        (code / source.name).write_text(_renamed(source), "utf-8")
    script = folder / "classifier.py"
    script.write_text(_renamed(_PACKAGE / "tracking" / "pyfunc_model.py"), "utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield script
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == _CARRIED]:
            del sys.modules[name]


def _renamed(source: Path) -> str:
    text = source.read_text("utf-8")
    return text.replace("perceptune.nn", _CARRIED).replace("perceptune.data", _CARRIED)
