"""The configuration: every file composes, and every mistake is a line with what is allowed."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from perceptune import app
from perceptune.config import parse
from perceptune.errors import UserError
from versions import VERSION_BASE

CONF = app.root() / "conf"
GROUPS = ("data", "model", "optimizer", "schedule", "train", "tracking")
FILES = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


def _composed(*overrides: str) -> Any:
    with initialize_config_dir(str(CONF), **VERSION_BASE):
        return compose("config", ["tracking.uri=sqlite:///x.db", *overrides])


@pytest.mark.parametrize(("group", "option"), FILES)
def test_every_file_composes_to_a_valid_configuration(group: str, option: str) -> None:
    config = parse(_composed(f"{group}={option}"))
    chosen = config.settings[group]
    assert chosen.get("name", option) == option


@pytest.mark.parametrize(("group", "option"), FILES)
def test_every_setting_has_a_comment(group: str, option: str) -> None:
    lines = (CONF / group / f"{option}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ")
    settings = [line for line in lines if line and not line.startswith(("#", "name:"))]
    assert all("#" in line for line in settings)


BAD = [
    (["model.activation=foo"], "model.activation must be one of sigmoid, tanh, relu"),
    (["model.init=foo"], "model.init must be one of zeros"),
    (["optimizer.name=foo"], "optimizer.name must be one of sgd"),
    (["+optimizer.speed=3"], "optimizer.speed does not exist; allowed here: lr, beta1"),
    (["schedule.name=foo"], "schedule.name must be one of constant"),
    (["optimizer.beta1=1"], "optimizer.beta1 must be in [0, 1), got 1.0"),
    (["optimizer.beta1=abc"], "optimizer.beta1 must be a number, got 'abc'"),
    (["optimizer.beta1=null"], "optimizer.beta1 must be a number, got None"),
    (["optimizer.beta1=true"], "optimizer.beta1 must be a number, got True"),
    (["optimizer.lr=0"], "optimizer.lr must be above 0, got 0.0"),
    (["optimizer.lr=nan"], "optimizer.lr must be above 0, got nan"),
    (["schedule=step", "schedule.every=2.5"], "schedule.every must be a whole number"),
    (["schedule.warmup=-1"], "schedule.warmup must be 0 or more"),
    (["train.epochs=0"], "train.epochs must be 1 or more, got 0"),
    (["train.epochs=2.5"], "train.epochs"),
    (["train.epochs=null"], "train.epochs"),
    (["train.batch_size=0"], "train.batch_size must be 1 or more"),
    (["train.metrics_every=0"], "train.metrics_every must be 1 or more"),
    (["train.ema=1"], "train.ema must be in [0, 1)"),
    (["train.label_smoothing=-0.1"], "train.label_smoothing must be in [0, 1)"),
    (["train.l2=-1"], "train.l2 must be 0 or more"),
    (["train.max_norm=inf"], "train.max_norm must be 0 or more"),
    (["train.patience=0"], "train.patience must be 1 or more"),
    (["train.patience=3", "data.validation=0"], "set data.validation above 0"),
    (["train.evaluate_test=maybe"], "train.evaluate_test must be one of auto, true, false"),
    (["train.checkpoint_seconds=-1"], "train.checkpoint_seconds must be 0 or more"),
    (["model.hidden=[0]"], "model.hidden must be a list of whole numbers from 1 to"),
    (["model.hidden=[a]"], "model.hidden"),
    (["model.hidden=[[1]]"], "model.hidden"),
    (["++model.hidden=${seed}"], "model.hidden"),
    (["objective=true"], "objective must be one of"),
    (["model.hidden=5"], "model.hidden"),
    (["model.dropout=1"], "model.dropout must be in [0, 1)"),
    (["model.input_dropout=-1"], "model.input_dropout must be in [0, 1)"),
    (["model.dtype=int8"], "model.dtype must be float32 or float64"),
    (["model.activation=leaky_relu", "model.negative_slope=2"], "model.negative_slope must be in"),
    (["model.activation=elu", "model.alpha=0"], "model.alpha must be above 0"),
    (["model.init=normal", "model.init_std=-1"], "model.init_std must be above 0"),
    (["model.init=orthogonal", "model.init_gain=0"], "model.init_gain must be above 0"),
    (["~train.epochs"], "train.epochs is missing"),
    (["data.validation=-0.1"], "data.validation must be a fraction"),
    (["data.validation=10.5"], "data.validation must be a fraction"),
    (["data.validation=nan"], "data.validation must be a fraction"),
    (["data.split_seed=-1"], "data.split_seed must be 0 or more"),
    (["seed=-1"], "seed must be 0 or more"),
    (["seed=x"], "seed"),
    (["threads=0"], "threads must be from 1 to"),
    (["objective=test/accuracy"], "objective must be one of val/accuracy"),
    (["objective=[]"], "objective must be at least one of"),
    (["+surprise=1"], "surprise does not exist; allowed here: data, model"),
    (["+train.surprise=1"], "train.surprise does not exist; allowed here: epochs"),
    (["~optimizer.lr"], "optimizer.lr is missing"),
    (["tracking.uri=./foo"], "tracking.uri must be the address of a store, such as sqlite"),
    (["~optimizer.name"], "optimizer.name must be one of"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_line_that_names_the_key(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(_composed(*overrides))
    assert str(caught.value).startswith(message) or message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["augment=none", "+augment=none", "reported=0.93"])
def test_a_setting_of_the_previous_version_is_ignored_with_a_warning(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.compose([word, "seed=3"]).seed == 3
    assert f"{word.lstrip('+').partition('=')[0]} has no effect any more" in capsys.readouterr().err


def test_a_configuration_survives_being_saved(tmp_path: Path) -> None:
    config = parse(_composed("optimizer=adamw", "schedule=one_cycle", "train.batch_size=null"))
    assert parse(OmegaConf.create(dict(config.settings))) == config
