"""The time of a training step beside that of its bare matrix products.

`env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE uv run pytest tests/benchmarks/test_trainer.py`:
BLAS chooses its kernel when it is loaded, and the kernel's name is part of every line.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarking import Show
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from perceptune.data.sources import DataSpec, load
from perceptune.data.split import Split, split
from perceptune.nn.activations import Relu
from perceptune.nn.initializers import HeNormal, initialize
from perceptune.nn.layout import Layer
from perceptune.nn.network import Network
from perceptune.nn.optimizers import Adam, Optimizer, Sgd
from perceptune.nn.recipe import Recipe
from perceptune.nn.schedules import Constant
from perceptune.nn.state import TrainingState
from perceptune.nn.trainer import Trainer
from perceptune.nn.workspace import Workspace
from perceptune.tracking.ownership import blas

W1 = (784, 128, 64, 10)
BURSTS, STEPS = 200, 10  # in turn with the products, so that both meet the same noise


@pytest.fixture
def parts(mnist: Path) -> Split:
    spec = DataSpec("mnist", 5000, 0, False, str(mnist), None)
    return split(load(spec), validation=spec.validation, seed=spec.split_seed)


def trainer_of(
    parts: Split, optimizer: Optimizer, widths: tuple[int, ...], batch_size: int | None
) -> Trainer:
    network = Network(widths, Relu(), scale=1 / 255)
    recipe = Recipe(optimizer, 0.001, Constant(), 10, batch_size)
    start = initialize(network.layout, HeNormal(), np.random.default_rng(0))
    seed = np.random.SeedSequence(0)
    state = TrainingState.start(start.astype(np.float32), recipe, seed)
    return Trainer(network, state, recipe, parts.train)


def multiply(work: Workspace, layers: list[Layer], gradient: list[Layer]) -> None:
    """The matrix products of one step, and nothing else."""
    for index, layer in enumerate(layers):
        np.dot(work.inputs[index], layer.matrix, out=work.z[index])
    for index in reversed(range(len(layers))):
        np.dot(work.inputs[index].T, work.z[index], out=gradient[index].matrix)
        if index:
            np.dot(work.z[index], layers[index].weight.T, out=work.z[index - 1])


def seconds(function: Callable[[], object], times: int) -> float:
    """CPU time of this thread, independent of other processes."""
    began = time.thread_time()
    for _ in range(times):
        function()
    return (time.thread_time() - began) / times


@pytest.mark.parametrize(("optimizer", "goal"), [(Sgd(), "1.35"), (Adam(0.9, 0.999, 1e-8), "none")])
def test_a_step_beside_its_products(
    optimizer: Optimizer, goal: str, parts: Split, show: Show, benchmark: BenchmarkFixture
) -> None:
    trainer = trainer_of(parts, optimizer, W1, 32)
    rng = np.random.default_rng(1)
    rows = rng.permutation(parts.train.rows)
    labels = parts.train.labels[rows].astype(np.intp)
    work = trainer.network.read(trainer.images, rows[:32])
    place = iter(range(10**9))

    def step() -> None:
        start = next(place) * 32 % 50_000
        trainer._step(0, rows[start : start + 32], labels[start : start + 32])

    def products() -> None:
        multiply(work, trainer.layers, trainer.gradients)

    ratios, floors = [], []
    with threadpool_limits(1):
        seconds(step, 200)
        for _ in range(BURSTS):
            ours = seconds(step, STEPS)
            work.z[-1][:] = 1e-3  # so that no product overflows
            floors.append(seconds(products, STEPS))
            ratios.append(ours / floors[-1])
        benchmark(step)
    name = f"{type(optimizer).__name__} step / its products ({blas()['kernel']})"
    show(name, float(np.median(ratios)), "×", goal)
    show("  of which the products", 1e6 * float(np.median(floors)), "µs", "none")


def test_a_full_batch_beside_its_products(parts: Split, show: Show) -> None:
    trainer = trainer_of(parts, Sgd(), (784, 10, 10), None)
    count = len(parts.train)
    whole = Workspace(trainer.network.widths, count, np.float32)
    whole.outputs[0][:] = parts.train.images[parts.train.rows] / np.float32(255)

    def products() -> None:
        multiply(whole, trainer.layers, trainer.gradients)

    ratios = []
    with threadpool_limits(1):
        for _ in range(7):
            ours = seconds(trainer.run_epoch, 1)
            whole.z[-1][:] = 1e-9
            ratios.append(ours / seconds(products, 1))
    kernel = blas()["kernel"]
    show(f"full batch, 10 units / its products ({kernel})", float(np.median(ratios)), "×", "none")
