"""The model in a store: takes images in every supported form, and needs no Perceptune."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optuna_joblib_sweeper.testing import wait_until
from support import digits, run, runs_in, store_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder and the record of a short run, whose model is registered."""
    folder = tmp_path_factory.mktemp("model")
    run(folder, "train.epochs=5", "register=digits", "tracking.figures=none")
    return folder, runs_in(folder)[0]


def _code(folder: Path) -> str:
    return f"""
import sys
sys.modules["perceptune"] = None  # as where it is not installed
import mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri("{store_of(folder)}")
images, labels = (np.load(name) for name in ("images.npy", "labels.npy"))
"""


@pytest.mark.slow
def test_the_model_takes_all_forms_of_images_without_perceptune(
    trained: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, record = trained
    data = digits()
    np.save(tmp_path / "images.npy", data.images)
    np.save(tmp_path / "labels.npy", data.labels)
    code = (
        _code(folder)
        + f"""
model = mlflow.pyfunc.load_model("runs:/{record.info.run_id}/model")
first = model.predict(images)
assert (first.label == labels.astype(str)).mean() > 0.8
forms = [images.astype(kind) for kind in ("int8", "int64", "uint16", "float16", "float64")]
forms += [images.reshape(-1, 8, 8), pd.DataFrame(images), images.tolist()]
frame = pd.DataFrame(images.astype("int64"), columns=[f"pixel{{i}}" for i in range(64)])
forms += [frame, frame[sorted(frame.columns)], images[..., None].reshape(-1, 8, 8, 1)]
for form in forms:
    assert model.predict(form).label.equals(first.label), type(form)
assert len(model.predict(images[0].reshape(8, 8))) == 1
table = model.predict(images[:3], params={{"probabilities": True}})
assert np.allclose(table.filter(like="p_").sum(axis=1), 1)
for wrong in (images / 16, images * 20.0, images[:, :60], images - 1.0):
    try:
        model.predict(wrong)
    except ValueError as error:
        print(error)
    else:
        raise SystemExit("taken")
assert model.metadata.get_output_schema().input_names() == ["label", "probability"]
assert mlflow.models.Model.load("runs:/{record.info.run_id}/model").saved_input_example_info
"""
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 4


@pytest.mark.slow
def test_mlflow_evaluates_the_model_as_the_readme_says(
    trained: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, record = trained
    data = digits()
    np.save(tmp_path / "images.npy", data.images)
    np.save(tmp_path / "labels.npy", data.labels)
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    run = "found = mlflow.models.evaluate"
    [snippet] = re.findall(r"^```python\n(model = mlflow.pyfunc.*?)^```$", readme, re.DOTALL | re.M)
    code = f"""
table = pd.DataFrame(images, columns=[f"pixel{{i}}" for i in range(64)])
table = table.assign(label=labels.astype(str))
{snippet.replace("RUN_ID", record.info.run_id).replace("mlflow.models.evaluate", run)}
print(found.metrics["accuracy_score"])
"""
    answer = subprocess.run(
        [sys.executable, "-c", _code(folder) + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout.splitlines()[-1]) > 0.8


def test_no_file_of_the_model_is_a_pickle(trained: tuple[Path, Any]) -> None:
    files = [path for path in (trained[0] / "mlruns" / "artifacts").rglob("*") if path.is_file()]
    assert any(path.name == "MLmodel" for path in files)
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".joblib")]
    requirements = [path for path in files if path.name == "requirements.txt"]
    lines = requirements[0].read_text().split()
    assert all("==" in line for line in lines)


@pytest.mark.slow
def test_the_served_model_answers(trained: tuple[Path, Any]) -> None:
    folder, record = trained
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", f"runs:/{record.info.run_id}/model", "--host", "127.0.0.1"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store_of(folder)}
    # The server calls `uvicorn` by name, as an activated environment has it.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    log = (folder / "serve.log").open("wb")
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        ping = f"http://127.0.0.1:{port}/ping"
        wait_until(lambda: server.poll() is not None or _answers(ping), 300)
        assert server.poll() is None, (folder / "serve.log").read_text()
        data = digits()
        body = json.dumps({"inputs": data.images[:100].tolist()}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            predictions = json.load(answer)["predictions"]
        right = [
            row["label"] == str(label) for row, label in zip(predictions, data.labels, strict=False)
        ]
        assert np.mean(right) > 0.8
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=300)
        log.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
