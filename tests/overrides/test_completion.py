"""Completion: the real function of the script, called as bash calls it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from perceptune.cli import COMMANDS
from perceptune.overrides.completion import complete

ADAM = (".name", ".lr", ".beta1", ".beta2", ".eps")
CASES = [
    ("perceptune tr", ["train "]),
    ("perceptune ", [f"{name} " for name in COMMANDS]),
    ("perceptune train opt", [f"optimizer{key}=" for key in ("", *ADAM)]),
    ("perceptune train optimizer=ad", ["adagrad ", "adam ", "adamw "]),
    ("perceptune train -m optimizer=sgd,adam", ["sgd,adam ", "sgd,adamw "]),
    ("perceptune train optimizer=momentum optimizer.mo", ["optimizer.momentum="]),
    ("perceptune train model.activation=re", ["relu "]),
    ("perceptune compare sched", ["schedule=", "schedule.name=", "schedule.warmup="]),
    ("perceptune train sweeps=dig", ["digits "]),
    ("perceptune train sweeps=digits hydra.sweeper.n_tr", ["hydra.sweeper.n_trials="]),
    ("perceptune train --mu", ["--multirun "]),
    ("perceptune predict ", []),
    ("perceptune train data.path=", []),
    ("perceptune nothing ", []),
]


@pytest.mark.parametrize(("line", "found"), CASES, ids=[line for line, _ in CASES])
def test_bash_completes_a_line(line: str, found: list[str], tmp_path: Path) -> None:
    command = tmp_path / "perceptune"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m perceptune.cli "$@"\n')
    command.chmod(0o755)
    code = f"""
eval "$(perceptune --shell-completion)"
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
COMPREPLY=()
"$(complete -p perceptune | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    answer = subprocess.run(
        ["bash", "--norc", "-c", code],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stderr == ""
    words = [word for word in answer.stdout.split("\n") if word]
    assert sorted(words) == sorted(found)


def test_all_commands_are_offered_at_the_start() -> None:
    assert complete([], COMMANDS) == [f"{name} " for name in COMMANDS]
