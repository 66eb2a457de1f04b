"""The race: whole studies on MNIST, ours and the usual stack's, in turns on the same cores.

The usual stack is Hydra with its own Optuna sweeper and joblib launcher, PyTorch with fused Adam,
and MLflow; its app is in race_peer/. Make its environment once:

    python3.11 -m venv peer
    peer/bin/pip install torch==2.13.0 mlflow==3.17.2 hydra-core==1.4.0rc3 \\
        hydra-optuna-sweeper==1.4.0rc3 hydra-joblib-launcher==1.4.0rc3

    uv run python tests/benchmarks/race.py --peer peer/bin/python --data FOLDER-OF-MNIST

The first race is one study of 16 trials of 5 epochs, 784-128-64-10, batch 128, two workers: the
time from the start of the command to its end, and the processor time of all its processes. Both
record the settings of a trial, loss and accuracy of both parts by epoch, and its weights. Ours
also evaluates the winner and draws its figures, and its study could be resumed; theirs is kept in
memory, as is their default.

The second race ends with the first epoch whose recorded validation accuracy is 98.3 %: our TPE
with asynchronous successive halving against their random search, both over the same widths,
learning rates and dropout, in trials of up to 15 epochs in which the learning rate falls as a
cosine. Where a side has not arrived when its time is over, its seconds are infinite.

On both sides the files of MNIST are unpacked or cached, and the store exists, before the clock
starts; both hold out the same 5,000 samples. Variables that restrict the libraries of matrix
products are removed for both.
"""

import argparse
import gzip
import json
import math
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from perceptune.data.sources import DataSpec, load
from perceptune.data.split import split

PEER = Path(__file__).parent / "race_peer" / "app.py"
WIDTHS = ((256, 512, 800), (64, 128, 256))  # of the first and second hidden layer
PACKAGES = (
    "perceptune",
    "optuna-joblib-sweeper",
    "numpy",
    "torch",
    "hydra-core",
    "hydra-optuna-sweeper",
    "hydra-joblib-launcher",
    "optuna",
    "joblib",
    "mlflow",
)
VERSIONS = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Size:
    """The size of both races."""

    trials: int = 16
    epochs: int = 5
    target: float = 0.983
    longest: int = 15  # epochs of a trial of the second race
    most: int = 400  # its trials
    limit: float = 900.0  # seconds after which a side of it has not arrived


QUICK = Size(trials=4, epochs=1, target=0.95, longest=2, most=10, limit=120.0)


@dataclass
class Side(ABC):
    """One of the two: how a study is started, and where its runs are recorded."""

    name: str
    python: str
    folder: Path
    data: Path
    studies: int = field(default=0, init=False)

    @property
    @abstractmethod
    def store(self) -> Path:
        """MLflow's SQLite file."""

    @abstractmethod
    def study(self, trials: int, epochs: int) -> list[str]:
        """Arguments of the first race's study."""

    @abstractmethod
    def search(self, size: Size, seed: int) -> list[str]:
        """Arguments of the second race's study."""

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a study under a name of its own; what it prints goes to a file."""
        self.studies += 1
        name = f"hydra.sweeper.study_name=study_{self.studies}"
        dropped = ("OPENBLAS_", "OMP_", "MKL_", "MLFLOW_", "PERCEPTUNE_")
        environment = {key: os.environ[key] for key in os.environ if not key.startswith(dropped)}
        environment["DO_NOT_TRACK"] = "true"  # MLflow sends nothing
        environment["PERCEPTUNE_CACHE_DIR"] = str(self.folder / "cache")
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self.python, *arguments, name],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def versions(self) -> str:
        command = [self.python, "-c", VERSIONS, *PACKAGES]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return ", ".join(f"{name} {version}" for name, version in json.loads(printed).items())

    def accuracies(self, since: float) -> list[tuple[float, float]]:
        """Wall time and validation accuracy of the epochs that trials recorded after `since`."""
        if not self.store.is_file():
            return []
        query = (
            "SELECT timestamp, value FROM metrics WHERE key = 'val/accuracy' AND timestamp >= ?"
            " ORDER BY timestamp"
        )
        connection = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=30)
        try:
            rows = connection.execute(query, (1000 * since,)).fetchall()
        finally:
            connection.close()
        return [(milliseconds / 1000, value) for milliseconds, value in rows]


class Ours(Side):
    """Perceptune's train -m."""

    @property
    def store(self) -> Path:
        return self.folder / "mlruns" / "mlflow.db"

    def _study(self, *overrides: str) -> list[str]:
        common = f"train -m data=mnist data.dir={self.data} train.batch_size=128"
        return ["-m", "perceptune.cli", *common.split(), "hydra/sweeper=study", *overrides]

    def study(self, trials: int, epochs: int) -> list[str]:
        return self._study(
            "model.hidden=[128,64]",
            f"train.epochs={epochs}",
            f"hydra.sweeper.n_trials={trials}",
            "hydra/sweeper/sampler=tpe",
            "hydra.sweeper.sampler.seed=0",
            "optimizer.lr=tag(log, interval(1e-4, 1e-2))",
        )

    def search(self, size: Size, seed: int) -> list[str]:
        hidden = ",".join(f"[{first},{second}]" for first in WIDTHS[0] for second in WIDTHS[1])
        return self._study(
            f"train.epochs={size.longest}",
            "schedule=cosine",
            f"seed={seed}",
            f"hydra.sweeper.n_trials={size.most}",
            "hydra/sweeper/sampler=tpe",
            f"hydra.sweeper.sampler.seed={seed}",
            "hydra/sweeper/pruner=successive_halving",
            "hydra.sweeper.pruner.min_resource=1",
            f"model.hidden=choice({hidden})",
            "model.dropout=interval(0, 0.5)",
            "optimizer.lr=tag(log, interval(1e-4, 1e-1))",
        )


class Theirs(Side):
    """The usual stack."""

    @property
    def store(self) -> Path:
        return self.folder / "mlflow.db"

    def create_store(self) -> None:
        """Of two workers that meet no store, one fails."""
        uri = f"sqlite:///{self.store}"
        code = f"import mlflow; mlflow.set_tracking_uri({uri!r}); mlflow.set_experiment('race')"
        subprocess.run([self.python, "-c", code], cwd=self.folder, check=True, capture_output=True)

    def _study(self, *overrides: str) -> list[str]:
        store = f"store=sqlite:///{self.store}"
        return [str(PEER), "--multirun", f"data_dir={self.data}", store, *overrides]

    def study(self, trials: int, epochs: int) -> list[str]:
        return self._study(
            f"epochs={epochs}",
            f"hydra.sweeper.n_trials={trials}",
            "hydra.sweeper.sampler.seed=0",
            "lr=tag(log, interval(1e-4, 1e-2))",
        )

    def search(self, size: Size, seed: int) -> list[str]:
        first, second = (",".join(map(str, widths)) for widths in WIDTHS)
        return self._study(
            f"epochs={size.longest}",
            "schedule=cosine",
            f"seed={seed}",
            f"hydra.sweeper.n_trials={size.most}",
            "hydra/sweeper/sampler=random",
            f"hydra.sweeper.sampler.seed={seed}",
            f"hidden_1=choice({first})",
            f"hidden_2=choice({second})",
            "dropout=interval(0, 0.5)",
            "lr=tag(log, interval(1e-4, 1e-1))",
        )


def run_study(side: Side, trials: int, epochs: int) -> tuple[float, float, float]:
    """Wall seconds and processor seconds of a whole study, and its best validation accuracy."""
    before, since, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time(), _now()
    status = side.start(side.study(trials, epochs)).wait()
    wall = _now() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    reached = [accuracy for _, accuracy in side.accuracies(since)]
    if status or len(reached) < trials * epochs:
        last = side.log.read_text("utf-8", "replace")[-3000:]
        sys.exit(f"{side.name}: {len(reached)} epochs recorded, exit code {status}\n{last}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, max(reached)


def run_search(side: Side, size: Size, seed: int) -> float:
    """Seconds until the first epoch at the target, infinite where there is none."""
    began = time.time()
    process = side.start(side.search(size, seed))
    arrived = math.inf
    try:
        while time.time() - began < size.limit and math.isinf(arrived):
            ended = process.poll() is not None
            times = [when for when, value in side.accuracies(began) if value >= size.target]
            arrived = min(times, default=math.inf) - began
            if ended:
                break
            time.sleep(1)
    finally:
        _end(process)
    if process.returncode not in (0, -9):
        sys.exit(f"{side.name}: {side.log.read_text('utf-8', 'replace')[-3000:]}")
    return arrived


def first_race(sides: Sequence[Side], size: Size, rounds: int) -> None:
    print(
        f"\n{size.trials} trials of {size.epochs} epochs, 784-128-64-10, batch 128, two workers\n"
        "round        ours: wall     CPU   best    theirs: wall     CPU   best   wall ×   CPU ×"
    )
    ratios = []
    for number in range(1, rounds + 1):
        (wall, cpu, best), (their_wall, their_cpu, their_best) = (
            run_study(side, size.trials, size.epochs) for side in sides
        )
        ratios.append((their_wall / wall, their_cpu / cpu))
        print(
            f"{number:5}      {wall:9.1f} s {cpu:5.1f} s {best:.4f}  {their_wall:10.1f} s "
            f"{their_cpu:5.1f} s {their_best:.4f} {ratios[-1][0]:8.2f} {ratios[-1][1]:7.2f}",
            flush=True,
        )
    walls, cpus = zip(*ratios, strict=True)
    print(f"median ratio {median(walls):65.2f} {median(cpus):7.2f}")


def second_race(sides: Sequence[Side], size: Size, seeds: int) -> None:
    print(
        f"\nseconds until a validation accuracy of {size.target:.1%}, up to {size.longest} epochs "
        f"a trial, at most {size.limit:.0f} s\nseed       ours    theirs   ratio"
    )
    times = []
    for seed in range(seeds):
        ours, theirs = (run_search(side, size, seed) for side in sides)
        times.append((ours, theirs))
        print(f"{seed:4} {ours:9.1f} {theirs:9.1f} {theirs / ours:7.2f}", flush=True)
    ours, theirs = (median(column) for column in zip(*times, strict=True))
    print(f"median{ours:8.1f} {theirs:9.1f} {theirs / ours:7.2f}")


def unpack(source: Path, target: Path) -> None:
    """The training files of MNIST in `target`, and the rows that our split holds out."""
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        packed = next(source.rglob(f"{name}*"), None)
        if packed is None:
            sys.exit(f"no {name} in {source}; give the folder of MNIST's files by --data")
        content = packed.read_bytes()
        content = gzip.decompress(content) if packed.suffix == ".gz" else content
        (target / name).write_bytes(content)
    spec = DataSpec("mnist", 5000, split_seed=0, standardize=False, dir=str(source), path=None)
    parts = split(load(spec, cache=target), validation=spec.validation, seed=spec.split_seed)
    assert parts.validation is not None
    np.save(target / "validation.npy", parts.validation.rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--peer", required=True, help="a Python that has the usual stack")
    parser.add_argument("--data", type=Path, default=os.environ.get("PERCEPTUNE_DATA_DIR"))
    parser.add_argument("--rounds", type=int, default=3, help="of the first race")
    parser.add_argument("--seeds", type=int, default=3, help="of the second race")
    parser.add_argument("--quick", action="store_true", help="short races, to test this script")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give the folder of MNIST's files by --data or PERCEPTUNE_DATA_DIR")
    size = QUICK if options.quick else Size()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        ours, theirs, unpacked = (Path(scratch, name) for name in ("ours", "theirs", "data"))
        for folder in (ours, theirs, unpacked):
            folder.mkdir()
        unpack(options.data, unpacked)
        peer = Theirs("theirs", str(Path(options.peer).absolute()), theirs, unpacked)
        sides = (Ours("ours", sys.executable, ours, options.data.resolve()), peer)
        for side in sides:
            print(f"{side.name}: {side.versions()}", flush=True)
        peer.create_store()
        for side in sides:  # not counted: stores, caches, and files that nobody has read yet
            run_study(side, 2, 1)
        if options.rounds:
            first_race(sides, size, options.rounds)
        if options.seeds:
            second_race(sides, size, options.seeds)


def _now() -> float:
    return time.perf_counter()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a study and all its workers at once."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in family:
            if child.is_running():
                child.kill()
        psutil.wait_procs(family, timeout=30)
    process.wait()


if __name__ == "__main__":
    main()
