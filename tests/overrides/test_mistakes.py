"""A mistyped command: one line that says what was meant, by the real command line."""

import sys
from pathlib import Path

import pytest

from perceptune import cli

LINES = [
    ("train lr=0.1", "lr does not exist; did you mean optimizer.lr?"),
    ("train epochs=3", "epochs does not exist; did you mean train.epochs?"),
    ("train learning_rate=3", "learning_rate does not exist; did you mean optimizer.lr?"),
    ("train model.hiden=[3]", "model.hiden does not exist; did you mean model.hidden?"),
    ("train MODEL.HIDDEN=[3]", "MODEL.HIDDEN does not exist; did you mean model.hidden?"),
    ("train lr²=3", "lr² does not exist; did you mean optimizer.lr?"),
    ("train ~model.hiden", "model.hiden does not exist; did you mean model.hidden?"),
    ("train dataset=mnist", "dataset does not exist; did you mean data?"),
    ("train nesterov=true", "nesterov does not exist; did you mean optimizer=nesterov?"),
    ("train qqq=mnist", "qqq does not exist; did you mean data=mnist?"),
    ("train qqq=3", "qqq does not exist; `perceptune train --cfg job` prints all settings"),
    ("train +lr=0.1", "lr does not exist; did you mean optimizer.lr?"),
    ("train ++x.y=1", "x does not exist; allowed here: data, model"),
    ("train ++hydra.job.nam=1", "hydra.job.nam does not exist; did you mean hydra.job.name"),
    ("train hydra.jbo.name=1", "hydra.jbo.name does not exist; did you mean hydra.job.name"),
    ("train hydra.sweeper=3", "hydra.sweeper=3 would replace all its settings; name one of them"),
    ("train optimizer.momentum=1", "optimizer.momentum belongs to optimizer=momentum or optimizer"),
    ("train optimizer=adamm", "optimizer has no option 'adamm'; did you mean adam or adamw?"),
    ("train data=null", "data has no option 'null'; choose csv, digits, fashion_mnist, mnist or"),
    ("train optimizer=", "optimizer has no option ''; choose adagrad, adam"),
    ("train optimizer=[adam]", "optimizer=[adam] is a list; write optimizer=adam"),
    ("train +optimizer=sgd", "+optimizer=sgd adds what is there already; write optimizer=sgd"),
    ("train +seed=1", "+seed=1 adds what is there already; write seed=1"),
    ("train ~data=[[1]]", "~data takes no value; leave it out, or choose csv, digits"),
    ("evaluate x model.init=" + "y" * 5000, "model.init must be one of zeros"),
    ("ui --port \x1b[31m", "argument --port: invalid int value: '\\x1b[31m'; usage: perceptune ui"),
    ("report \x1b[31m --port", "report [-h]"),
    ("train -m sweeps=digits hydra.sweeper.dry_run=true seexd=1,2", "did you mean seed?"),
    ("evaluate ~nobody-at-all", "no store "),
    ("train data=csv data.path=~nobody-at-all/x.csv", "~nobody-at-all/x.csv; set data.path"),
    ("train data=npz data.path=~nobody-at-all/x.npz", "~nobody-at-all/x.npz"),
    ("train data=mnist data.dir=~nobody-at-all", "~nobody-at-all"),
    ("train resume=~nobody-at-all/x.npz", "~nobody-at-all/x.npz"),
    ("report x --storage ~nobody-at-all/x", "no studies in ~nobody-at-all/x"),
    ("train hydra/sweeper=std", "hydra/sweeper has no option 'std'; did you mean study?"),
    ("train ~optimizer", "optimizer must be a group of settings, got None; see conf/optimizer"),
    ("train ~model.hidden", "model.hidden is missing; set it, or leave out ~model.hidden"),
    ("train mnist", "mnist is no override; did you mean data=mnist?"),
    ("train lr 0.1", "lr has no value; write optimizer.lr=0.1"),
    ("train seed = 1", "seed has no value; write seed=1, without spaces"),
    ("train seed= 1", "seed= has no value; write seed=1, without spaces"),
    ("train seed =1", "seed has no value; write seed=1, without spaces"),
    ("train =3", "an override is KEY=VALUE, got =3"),
    ("train ''", "an override is KEY=VALUE, got an empty word"),
    ("train seed=[1", "seed=[1 cannot be read: its [ has no partner"),
    ("train model.init='zeros", "model.init='zeros cannot be read: its ' has no partner"),
    ("train data=csv data.path=a(1.csv", "a(1.csv; set data.path to a CSV file"),
    ("train seed=1,2", "seed=1,2 has several values; add -m to try each or write one"),
    ("train model.hidden=64,32", "add -m to try each or write model.hidden=[64,32] for a list"),
    ("train optimizer=sgd,adam", "optimizer=sgd,adam has several values; add -m to try each or"),
    ("compare seed=1,2", "seed=1,2 has several values; write one"),
    ("evaluate x seed=1,2", "seed=1,2 has several values; write one"),
    ("evaluate x lr=2", "lr does not exist; did you mean optimizer.lr?"),
    ("train data.dir=/nowhere", "data=digits has no use for data.dir=/nowhere; leave it out"),
    ("train data.path=x.csv", "x.csv; leave it out"),
    ("train tracking.experiment=", "tracking.experiment must be a name, got ''"),
    ("train resume=", "resume must be a run id or the path of a checkpoint, or null, got ''"),
    ("train model.hidden=(64,32)", "got '(64,32)'; write model.hidden=[64,32]"),
    ("train model.hidden=128", "got 128; write model.hidden=[128]"),
    ("compare backends=numpy", "got 'numpy'; write backends=[numpy]"),
    ("compare backend=[numpy]", "backend does not exist; did you mean backends?"),
    ("train model.activation=rellu", "got 'rellu'; did you mean relu?"),
    ("train seed=abc", "seed must be a whole number, got 'abc'"),
    ("train optimizer.lr=1e", "optimizer.lr must be a number, got '1e'"),
    ("train hydra.launcher.n_jobs=x", "hydra.launcher.n_jobs=x: Value 'x' of type 'str'"),
    ("train -m sweeps=digits hydra.sweeper.n_trial=3", "did you mean hydra.sweeper.n_trials?"),
    ("train hydra.sweeper.n_trials=3", "add -m, and hydra/sweeper=study or sweeps=NAME"),
    ("train sweeps=digits", "sweeps=digits is a study; add -m: perceptune train -m sweeps=digits"),
    ("compare sweeps=digits", "is a study; add -m: perceptune train -m sweeps=digits"),
    ("evaluate x sweeps=digits", "is a study; add -m: perceptune train -m sweeps=digits"),
    ("train hydra/sweeper=study", "is a study; add -m: perceptune train -m hydra/sweeper=study"),
    ("train -m optimizer.lr=interval(1,2)", "is a range, for a study; add hydra/sweeper=study"),
    ("train -m optimizer.lr=tag(log,interval(1,2))", "for a study; add hydra/sweeper=study"),
    ("train optimizer.lr=interval(1,2)", "has several values; add -m"),
    ("train -m optimizer=sgd,adamm", "optimizer has no option 'adamm'; did you mean adam"),
    ("train hydra/sweeper/sampler=tpe", "add -m, and hydra/sweeper=study or sweeps=NAME"),
    ("train --optimizer.lr=0.1", "an override has no dashes: optimizer.lr=0.1"),
    ("train --lr 0.1", "no option --lr; an override has no dashes: KEY=VALUE"),
    ("train -- --lr=0.1", "an override has no dashes: lr=0.1"),
    ("train --multi", "no option --multi; did you mean --multirun?"),
    ("predict x --outptu y", "no option --outptu; did you mean --output?"),
    ("evaluate x --outptu y", "no option --outptu; an override has no dashes: KEY=VALUE"),
    ("train --config-dir nowhere", "--config-dir: no folder nowhere"),
    ("train --config-name x", "no option --config-name; did you mean --config-dir?"),
    ("report x", "`perceptune train -m sweeps=digits` makes one; --storage names another"),
    ("train -m sweeps=digits tracking.uri=./x", "tracking.uri must be the address of a store"),
    ("train -m seed=1,2 tracking.parent=x", "a multirun sets tracking.parent itself; leave it out"),
    ("trian", "no command 'trian'; did you mean train?"),
    ("train seed=\x00", "has characters that no setting can hold"),
    ("train seed=\udcff", "has characters that no setting can hold"),
]


@pytest.mark.parametrize(("line", "message"), LINES, ids=lambda text: ascii(text)[:40])
def test_a_mistyped_command_is_one_line_that_says_what_was_meant(
    line: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["" if word == "''" else word for word in line.split(" ")]
    monkeypatch.setattr(sys, "argv", ["perceptune", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capfd.readouterr()
    assert end.value.code in (1, 2)
    assert message in printed.err
    assert printed.err.startswith("perceptune: ")
    assert printed.err.count("\n") == 1
    assert not set("\x1b\0") & set(printed.err)
    assert not printed.out or "dry_run" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("group", "text", "words"),
    [
        ("experiment", "train: {epochs: 3}\n", []),
        ("sweeps", "defaults:\n  - override /hydra/sweeper: study\n", ["-m"]),
    ],
)
def test_a_file_without_its_package_is_told_of_it(
    group: str,
    text: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(text)
    line = ["perceptune", "train", *words, "--config-dir", str(tmp_path), f"{group}=mine"]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit):
        cli.main()
    assert f"a file of {group} " in capfd.readouterr().err
