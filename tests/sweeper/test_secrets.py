"""Passwords in URIs are masked, and nothing else of them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from apps import App
from omegaconf import OmegaConf

from optuna_joblib_sweeper import load_study
from optuna_joblib_sweeper.errors import SweepError, reason_of
from optuna_joblib_sweeper.secrets import is_masked, mask_config, masked


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me:{}@host:5432/studies",
        "https://me:{}@server/mlflow?x=1",
        "mysql+pymysql://host/studies?user=me&password={}",
        "storage=redis://:{}@host/0 and n_trials=3",
    ],
)
def test_a_password_is_masked_and_the_rest_stays(uri: str) -> None:
    for password in ("s3cr-et%21", "a/b", "a@b", "12:34"):
        if "password=" not in uri or "@" not in password:
            assert masked(uri.format(password)) == uri.format("***")
    assert is_masked(uri.format("***"))
    assert not is_masked(uri.format("s3cr-et"))


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/me@home/x.db",
        "http://host:5000",
        "http://host:5000/a@b",
        "postgresql://me:${oc.env:PASSWORD}@host/x",
        "mysql://host/x?password=${oc.env:PASSWORD}",
        "a:b@c",
        "",
    ],
)
def test_text_without_a_password_is_not_changed(text: str) -> None:
    assert masked(text) == text


def test_messages_are_masked() -> None:
    assert "s3cret" not in str(SweepError("storage postgresql://me:s3cret@host/x is down"))
    assert "s3cret" not in reason_of(ValueError("no postgresql://me:s3cret@host/x"))


def test_a_config_is_masked_in_place() -> None:
    uri = "postgresql://me:s3cret@host/x"
    config = OmegaConf.create(
        {"a": {"uri": uri, "b": "${a.uri}"}, "list": [1, f"x={uri}"], 3: None}
    )
    OmegaConf.set_readonly(config.a, True)
    mask_config(config)
    assert "s3cret" not in OmegaConf.to_yaml(config)
    assert config.a.b == masked(uri)
    assert OmegaConf.is_readonly(config.a)


SOURCE = """
import hydra
from hydra.core.hydra_config import HydraConfig


@hydra.main(version_base=None, config_path="conf", config_name="config")
def task(config):
    assert config.db.endswith("password=s3cret-own"), config.db
    assert "s3cret" not in str(HydraConfig.get().sweeper.storage)
    if config.x == 2:
        raise ValueError(f"no connection to {config.db}")
    return config.x


def done(result):
    assert result.tracking_uri.endswith("s3cret-tracking")
    print("the hook may connect")


if __name__ == "__main__":
    task()
"""
CONFIG = """
defaults:
  - override hydra/sweeper: optuna_joblib
  - override hydra/sweeper/sampler: grid
  - _self_
x: 0
db: postgresql://host/x?password=s3cret-own
hydra:
  sweeper:
    study_name: test
    n_jobs: 1
    on_complete: app.done
    mlflow: {enabled: true}
    params: {x: range(3)}
"""


@pytest.mark.slow
def test_passwords_are_nowhere_once_a_study_has_ended(make_app: Callable[..., App]) -> None:
    app = make_app(source=SOURCE, config=CONFIG)
    # SQLite passes over what it does not know in the URI of a file.
    uri = "sqlite:///file:{folder}/{name}.db?uri=true&password=s3cret-{name}"
    storage, tracking = (uri.format(folder=app.folder, name=n) for n in ("storage", "tracking"))
    own = "'postgresql://host/y?password=s3cret-own'"
    command = (
        f"hydra.sweeper.storage='{storage}'",
        f"hydra.sweeper.mlflow.tracking_uri='{tracking}'",
        f"db={own}",
    )
    done = app.run(*command)
    assert "the hook may connect" in done.stdout
    assert load_study(storage, "test").trials[2].reason is not None
    rotated = app.run(*(word.replace("s3cret", "new-s3cret") for word in command[:1]), *command[1:])
    assert "Train the winner again" in rotated.stdout

    assert "s3cret" not in done.stdout + done.stderr + rotated.stdout + rotated.stderr
    ours = {app.folder / "app.py", app.folder / "conf" / "config.yaml"}
    files = [path for path in app.folder.rglob("*") if path.is_file() and path not in ours]
    assert [path for path in files if b"s3cret" in path.read_bytes()] == []
    assert {"hydra.yaml", "overrides.yaml", "multirun.yaml"} <= {path.name for path in files}


@pytest.mark.slow
def test_credentials_come_from_the_environment_and_stay_there(app: App) -> None:
    config = app.folder / "conf" / "config.yaml"
    text = config.read_text().replace("storage: optuna.journal", "storage: ${oc.env:STORAGE}")
    config.write_text(text)
    uri = f"sqlite:///file:{app.folder}/storage.db?uri=true&password=s3cret"
    process = app.start("hydra.sweeper.n_jobs=1", STORAGE=uri)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    [composed] = app.folder.glob("multirun/*/*/multirun.yaml")
    assert "storage: ${oc.env:STORAGE}" in composed.read_text()
    assert [p for p in app.folder.rglob("*") if p.is_file() and b"s3cret" in p.read_bytes()] == []


def test_a_masked_password_is_no_password(app: App) -> None:
    done: subprocess.CompletedProcess[str] = app.run(
        "hydra.sweeper.storage='postgresql://me:***@host/x'", ok=False
    )
    assert done.returncode == 1
    assert "hydra.sweeper.storage must be given with the password behind ***" in done.stderr
    assert not Path(app.folder, "multirun").exists()
