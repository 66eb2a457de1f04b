"""Seeded command lines, most of them wrong: words that work, mutated as fingers and habits do.

python tests/command_lines.py SEED NUMBER    prints them
"""

import random
import shlex
import string
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perceptune.config import CHOICES

NETWORK, IMAGES = "net.npz", "images.npy"  # files that a line may name


def _words(text: str) -> list[str]:
    return text.split()


VALID = _words("""
    seed=1 threads=1 train.epochs=1 train.batch_size=64 train.l2=0.1 repeats=1 train.patience=2
    model.hidden=[4] model.activation=tanh model.init=zeros model.dropout=0.1 optimizer=sgd
    optimizer=adamw optimizer.lr=0.01 schedule=cosine schedule.warmup=1 data=digits data.dir=x
    data.validation=0.2 data.standardize=true data.split_seed=1 data.path=x.csv objective=val/loss
    tracking.figures=none tracking.experiment=x resume=null train.evaluate_test=auto
""")
OF_HYDRA = _words("""
    hydra.job.name=x hydra.run.dir=x hydra.launcher.n_jobs=1 hydra/launcher=basic
""")
OF_STUDY = _words("""
    hydra.sweeper.n_trials=2 hydra.sweeper.n_jobs=1 hydra.sweeper.timeout=9
    hydra.sweeper.study_name=s hydra/sweeper/sampler=random hydra/sweeper/pruner=median
""")
SWEPT = _words("optimizer.lr=0.1,0.2 model.activation=relu,tanh seed=1,2 optimizer=sgd,adam")
VALUES = _words("""
    abc 1e -1 nan inf -inf 1e999 0x10 1_000 0.1.2 1e-3x ½ −1 null None true False a=b = [] {} [1 ]
    [[1]] {a:1} {a:{b:[1,{c:2}]}} '' 'x " ${oops} ${seed} ${oc.env:NOTHING} ${ $ ${a.b:} ${x:${y}}
    ${.lr} 1,2 a,b choice(1,2) range(1,3) interval(0,1) glob(*) tag(a,1) sort(2,1) shuffle(1,2)
    extend_list(3) int(x) choice( tag(log,interval(1,2)) float(nan) données 数 😀 (1) a\\b % # @ : *
    ../..
""")
VALUES += ["", " ", "a b", "\t", "\n", "\0", "\udcff", "\x1b[31m", "é" * 300, "x" * 5000]
VALUES += ["[" * 40 + "]" * 40]
HUGE = ["9" * 400, "1e308", "-" + "9" * 30]  # not for what would train for as long
LONG = ("train.epochs", "repeats", "model.hidden", "hydra.sweeper.n_trials")
WORDS = _words("""
    = == =3 x ~ + ++ ~~x - --foo --foo=1 -q train 🎲=1 seed ~seed ~optimizer +optimizer=sgd ++x.y=1
    a/b=c @=1 seed:1 seed==1 model.hidden=[4]] optimizer@x=sgd hydra=1 hydra.sweeper=1 a.b.c.d=1
    --experimental-rerun=x --exp -cd --config-dir=none --cfg=x -sc --run data=null data={}
    sweeps=digit experiment=keras optimizer=[sgd] +hydra.x=1
""")
WORDS += ["", " "]


@dataclass(frozen=True)
class Line:
    """The words after `perceptune`; `wrong` if they must not succeed."""

    words: list[str]
    wrong: bool

    def __str__(self) -> str:
        return ascii(shlex.join(self.words))[:300]


def lines(seed: int, number: int) -> list[Line]:
    """That many lines, the same for the same seed."""
    rng = random.Random(seed)
    makers, weights = zip(*COMMANDS, strict=True)
    return [rng.choices(makers, weights)[0](rng) for _ in range(number)]


def _train(rng: random.Random) -> Line:
    words, wrong = _mutated(rng, [*VALID, *OF_HYDRA])
    return Line(["train", *_TINY, *words], wrong)


def _multirun(rng: random.Random) -> Line:
    words, wrong = _mutated(rng, [*VALID, *SWEPT])
    return Line(["train", "-m", *_TINY, "hydra/launcher=basic", *words], wrong)


def _study(rng: random.Random) -> Line:
    words, wrong = _mutated(rng, [*VALID, *OF_STUDY, *SWEPT])
    dry = ["sweeps=digits", "hydra.sweeper.dry_run=true"]
    return Line(["train", "-m", *_TINY, *dry, *words], wrong)


def _compare(rng: random.Random) -> Line:
    words, _ = _mutated(rng, VALID)
    return Line(["compare", *_TINY, *words, _typo(rng, "backends=[numpy]")], True)


def _evaluate(rng: random.Random) -> Line:
    words, wrong = _mutated(rng, VALID)
    return Line(["evaluate", NETWORK, *_TINY, *words], wrong)


def _of_files(rng: random.Random) -> Line:
    """A command that takes no overrides; its last word is no option, so that nothing is started."""
    commands = [
        ["predict", NETWORK, IMAGES, "--output", "out.csv"],
        [
            "report",
            "digits",
            "--storage",
            "x.journal",
            "--output",
            "page",
            "--store",
            "sqlite:///x.db",
        ],
        ["ui", "--port", "5000", "--host", "127.0.0.1", "--no-browser"],
        ["info"],
    ]
    command, *words = rng.choice(commands)
    if words:
        place = rng.randrange(len(words))
        words[place] = rng.choice([*VALUES, *HUGE, *WORDS, _swap(rng, words[place])])
    return Line([command, *words, f"--{_swap(rng, 'nothing')}"], True)


def _mutated(rng: random.Random, valid: Sequence[str]) -> tuple[list[str], bool]:
    """One to three words, and whether one of them names what does not exist."""
    right = rng.choice(valid)
    others = [word for word in valid if word.partition("=")[0] != right.partition("=")[0]]
    words = rng.sample(others, rng.randint(0, 2))
    mutation: Callable[[random.Random, str], str] = rng.choice(
        [_typo, _typo, _value, _value, _junk]
    )
    word = mutation(rng, right)
    words.insert(rng.randint(0, len(words)), word)
    return words, mutation is _typo


def _typo(rng: random.Random, word: str) -> str:
    """A key, or the option of a group, with a wrong letter."""
    key, _, value = word.partition("=")
    if key in _NAMED and rng.random() < 0.5:
        return f"{key}={_swap(rng, value)}"
    return f"{_swap(rng, key)}={value}"


def _swap(rng: random.Random, name: str) -> str:
    """`name` with a letter inserted that no name of ours has there."""
    place = rng.randint(1, len(name))
    return name[:place] + rng.choice("qxyz") * 2 + name[place:]


def _value(rng: random.Random, word: str) -> str:
    key = word.partition("=")[0]
    mark = rng.choice(["", "", "", "+", "++", "~"])
    if key in _PLACES:
        return f"{key}={rng.choice(['é x', 'a b', '1', 'x', '${oops}'])}"
    return f"{mark}{key}={rng.choice(VALUES if key in LONG else [*VALUES, *HUGE])}"


def _junk(rng: random.Random, word: str) -> str:
    if rng.random() < 0.6:
        return rng.choice(WORDS)
    return "".join(rng.choices(string.printable[:95] + "é数", k=rng.randint(1, 12)))


Mutation = Callable[[random.Random, str], str]
_TINY = ["tracking.enabled=false", "train.epochs=1", "model.hidden=[4]", "tracking.figures=none"]
_NAMED = ("optimizer", "schedule", "data", "hydra/launcher", "hydra/sweeper/sampler", *CHOICES)
_PLACES = ("hydra.run.dir", "hydra.sweep.dir")  # made, wherever they point to
COMMANDS = [(_train, 8), (_multirun, 4), (_study, 4), (_compare, 3), (_evaluate, 4), (_of_files, 3)]

if __name__ == "__main__":
    for line in lines(int(sys.argv[1]), int(sys.argv[2])):
        print(line)
