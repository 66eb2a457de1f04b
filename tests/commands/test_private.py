"""Private doors of Hydra: no configuration names code, wherever it comes from."""

import argparse
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal import hydra as hydra_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.utils import configure_log

from perceptune import app
from perceptune.commands._private import CheckedLoader, checked_configs, text_helps
from perceptune.errors import UserError
from support import Perceptune
from versions import VERSION_BASE

EVIL = "{_target_:logging.FileHandler,filename:made.txt}"
LOGS = "hydra/job_logging=default"


def test_hydra_makes_its_loader_by_the_name_that_is_replaced() -> None:
    assert hydra_module.ConfigLoaderImpl is ConfigLoaderImpl
    with checked_configs():
        assert hydra_module.ConfigLoaderImpl is CheckedLoader
    assert hydra_module.ConfigLoaderImpl is ConfigLoaderImpl
    assert callable(ConfigLoaderImpl._load_configuration_impl)


@pytest.mark.parametrize(
    "overrides",
    [
        [f"+hydra.callbacks.evil={EVIL}"],
        ["hydra.callbacks.parent._target_=os.system", "+hydra.callbacks.parent.command=ls"],
        [f"+hydra.callbacks.parent.more={EVIL}"],
        [f"+hydra.launcher.more={EVIL}"],
        [f"+hydra.launcher.more=[[{EVIL}]]"],
        [f"+hydra.sweeper.sampler={EVIL}"],  # of Hydra's own sweeper, which would call it
        ["sweeps=digits", f"+hydra.sweeper.more={EVIL}"],
        [f"+model.more={EVIL}"],
        [f"+more={EVIL}", "+hydra.callbacks.evil=${more}"],
        ["+hydra.launcher._recursive_=true"],
        ["hydra.launcher._target_=os.system"],
        ["hydra.sweeper._target_=os.system"],
        [LOGS, "hydra.job_logging.handlers.file.class=subprocess.Popen"],
        [LOGS, "hydra.job_logging.handlers.file.class=logging.os.system"],
        [LOGS, "+hydra.job_logging.formatters.simple.class=os.system"],
        [LOGS, "+hydra.job_logging.handlers.file.queue=os.getcwd"],
        [LOGS, "hydra.job_logging.handlers.console.stream=ext://os.environ"],
        ["+hydra.job.env_set.PYTHONPATH=evil"],
        ["+hydra.job.env_set.LD_PRELOAD=evil.so"],
    ],
    ids=str,
)
def test_a_configuration_that_names_code_is_refused(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is refused: no configuration may name code; delete it"):
        _composed(*overrides)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "job_logging: {handlers: {x: {(): os.mkdir, path: made}}}",
        "job_logging: {handlers: {x: '${oc.decode:\"{class: os.mkdir, path: made}\"}'}}",
        "hydra_logging: {filters: {x: {(): os.mkdir, path: made}}}",
        "callbacks: {x: '${oc.decode:\"{_target_: os.mkdir, path: made}\"}'}",
        "callbacks: {x: {a: [{_target_: os.mkdir, path: made}]}}",
    ],
)
def test_a_preset_that_names_code_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "evil.yaml").write_text(f"# @package hydra\n{text}\n")
    with pytest.raises(UserError, match=r"is refused: no configuration may name code; delete it"):
        app.compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=evil"])


def test_what_only_a_job_knows_can_not_choose_code() -> None:
    """The number of a job is unknown when its configuration is looked at."""
    with pytest.raises(Exception, match=r"hydra\.job\.num"):
        _composed(
            LOGS, "+evil_0.class=os.system", "hydra.job_logging.root=${evil_${hydra.job.num}}"
        )


@pytest.mark.parametrize(
    "overrides",
    [
        ["sweeps=digits"],
        ["sweeps=architecture_grid", "hydra/sweeper/pruner=patient"],
        [LOGS, "hydra/hydra_logging=default", "+hydra.job.env_set.OMP_NUM_THREADS=1"],
        ["hydra/launcher=basic", "hydra/sweeper=basic"],
        ["hydra.sweep.subdir=s_${hydra.job.num}"],
    ],
    ids=str,
)
def test_hydras_own_features_stay(overrides: list[str]) -> None:
    composed = _composed(*overrides)
    configure_log(composed.hydra.hydra_logging)


@pytest.fixture
def checked_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14's check of each help, put into an older argparse."""
    container: Any = argparse._ActionsContainer
    added = container.add_argument

    def check(self: Any, action: Any) -> None:
        if action.help and hasattr(self, "_get_formatter"):
            try:
                self._get_formatter()._expand_help(action)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError("badly formed help string") from error

    def add(self: Any, *names: Any, **settings: Any) -> Any:
        action = added(self, *names, **settings)
        self._check_help(action)
        return action

    monkeypatch.setattr(container, "_check_help", check, raising=False)
    monkeypatch.setattr(container, "add_argument", add)


def test_hydras_command_line_is_built_under_pythons_newer_check(checked_helps: None) -> None:
    from hydra._internal.utils import get_args_parser

    own = vars(ArgumentParser).get("_check_help")
    if hydra.__version__ < "1.4":
        with pytest.raises(ValueError, match="badly formed help"):
            get_args_parser()
    with text_helps():
        assert get_args_parser().parse_args(["-m", "seed=0,1"]).multirun
        with pytest.raises(ValueError, match="badly formed help"):
            ArgumentParser().add_argument("--bad", help="%(nothing)s")
    assert vars(ArgumentParser).get("_check_help") is own


def _composed(*overrides: str) -> Any:
    from hydra import compose, initialize_config_dir

    folder = str(app.root() / "conf")
    with checked_configs(), initialize_config_dir(folder, **VERSION_BASE):
        return compose("config", list(overrides), return_hydra_config=True)


def test_a_file_of_a_study_or_a_preset_runs_no_code(perceptune: Perceptune, tmp_path: Path) -> None:
    head = "# @package _global_\n"
    sampler = "hydra:\n  sweeper:\n    study_name: s\n    params: {seed: 'choice(0,1)'}\n"
    sampler += f"    sampler: {EVIL.replace(':', ': ')}\n"
    chosen = "defaults:\n  - override /hydra/sweeper: study\n"
    logs = "hydra: {job_logging: {handlers: {x: {(): os.mkdir, path: made.txt}}}}\n"
    for group, text in (("sweeps", f"{chosen}{sampler}"), ("experiment", logs)):
        (tmp_path / "mine" / group).mkdir(parents=True)
        (tmp_path / "mine" / group / "evil.yaml").write_text(head + text)
    (tmp_path / "mine" / "experiment" / "good.yaml").write_text(head + "seed: 1\n")
    quick = ("tracking.enabled=false", "train.epochs=1")
    for words in (
        ("-m", "sweeps=evil"),
        ("-m", "sweeps=evil", "hydra.sweeper.dry_run=true"),
        ("experiment=evil",),
        ("-m", "experiment=good,evil"),  # composed by a worker of joblib
    ):
        answer = perceptune("train", "--config-dir", "mine", *words, *quick)
        assert answer.returncode == 1, answer.stdout
        assert "Traceback" not in answer.stderr
        assert "_target_=logging.FileHandler" in answer.stderr or "=os.mkdir" in answer.stderr
        assert not list(tmp_path.rglob("made.txt")), words
