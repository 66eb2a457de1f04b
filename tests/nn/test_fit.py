"""Training: epochs, steps, memory, and resuming to the same bits."""

import math
import tracemalloc
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from members import ACTIVATIONS, OPTIMIZERS, SCHEDULES

from perceptune.nn.activations import Tanh
from perceptune.nn.checkpoint import load_training, save_training
from perceptune.nn.checks import RangeError
from perceptune.nn.fit import Epoch, evaluate, fit
from perceptune.nn.initializers import HeNormal, initialize
from perceptune.nn.layout import Array
from perceptune.nn.network import Network
from perceptune.nn.optimizers import AdamW, Optimizer, Sgd, State
from perceptune.nn.recipe import Recipe
from perceptune.nn.schedules import Constant, Cosine, WarmUp
from perceptune.nn.state import TrainingState

WIDTHS = (2, 16, 3)


@dataclass
class Points:
    """Labelled samples in memory."""

    images: Array
    labels: Array
    rows: Array

    @classmethod
    def rings(cls, count: int = 90, seed: int = 0) -> "Points":
        """Three rings around each other: no straight line tells them apart."""
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % 3
        radius, angle = labels + 0.5 + rng.uniform(-0.3, 0.3, count), rng.uniform(0, 7, count)
        images = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
        return cls(images.astype(np.float32), labels, np.arange(count))


@dataclass
class Recorder:
    """An optimizer that moves every parameter by `move` and keeps a copy of what it was given."""

    move: float = 0.0
    gradients: list[Array] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def init(self, size: int, dtype: Any = np.float32) -> State:
        return {}

    def step(self, params: Array, gradient: Array, state: State, lr: float) -> None:
        self.gradients.append(gradient.copy())
        self.rates.append(lr)
        params += self.move


def recipe(optimizer: Optimizer | None = None, **options: Any) -> Recipe:
    defaults = {"lr": 0.1, "schedule": Constant(), "epochs": 2, "batch_size": 8}
    return Recipe(optimizer or Sgd(), **defaults | options)


def network(**options: Any) -> Network:
    return Network(WIDTHS, Tanh(), **options)


def start(net: Network, plan: Recipe, seed: int = 0) -> TrainingState:
    theta = initialize(net.layout, HeNormal(), np.random.default_rng(seed))
    sequence = np.random.SeedSequence(seed)
    return TrainingState.start(theta.astype(net.dtype), plan, sequence)


def train(
    plan: Recipe,
    samples: Points | None = None,
    validation: Points | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[TrainingState, list[Epoch]]:
    """A training from its start to its end."""
    net = network(**options)
    state = start(net, plan, seed)
    return state, list(fit(net, state, plan, samples or Points.rings(), validation))


# An epoch


@pytest.mark.parametrize(
    ("batch_size", "steps"), [(1, 10), (3, 4), (4, 3), (5, 2), (9, 2), (10, 1), (99, 1), (None, 1)]
)
def test_an_epoch_has_one_step_for_each_batch_the_last_partial_one_included(
    batch_size: int | None, steps: int
) -> None:
    optimizer = Recorder()
    _, epochs = train(recipe(optimizer, epochs=3, batch_size=batch_size), Points.rings(10))
    assert len(optimizer.gradients) == 3 * steps
    assert [epoch.samples for epoch in epochs] == [10, 10, 10]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, None])
def test_the_mean_over_an_epoch_weighs_every_sample_once(batch_size: int | None) -> None:
    """With constant weights it is the loss on all samples, for any batch size."""
    samples, net = Points.rings(10), network()
    plan = recipe(Recorder(), batch_size=batch_size)
    state = start(net, plan)
    for epoch in fit(net, state, plan, samples):
        loss, accuracy = evaluate(net, state.theta, samples)
        assert epoch.train_loss == pytest.approx(loss, rel=1e-6)  # float32 has 24 bits
        assert epoch.train_accuracy == pytest.approx(accuracy, rel=1e-12)


def test_only_the_given_rows_are_used() -> None:
    samples = Points.rings(20)
    samples.images[10:] = np.nan
    samples.rows = np.arange(10)
    state, epochs = train(recipe(), samples, samples)
    assert np.isfinite(state.theta).all()
    assert all(epoch.finite and epoch.samples == 10 for epoch in epochs)


def test_each_epoch_goes_through_the_samples_in_another_order() -> None:
    optimizer = Recorder()
    train(recipe(optimizer, batch_size=1), Points.rings(10))
    first, second = np.array(optimizer.gradients).reshape(2, 10, -1)
    assert not np.array_equal(first, second)

    def ordered(gradients: Array) -> list[list[float]]:
        return sorted(gradients.tolist())

    assert ordered(first) == ordered(second)


def test_a_full_batch_is_one_step_of_plain_gradient_descent() -> None:
    samples, net = Points.rings(30), network(dtype=np.float64)
    samples.images = samples.images.astype(np.float64)
    plan = recipe(epochs=3, batch_size=None, lr=0.5)
    state = start(net, plan)
    theta = state.theta.copy()
    list(fit(net, state, plan, samples))

    other, gradient = network(dtype=np.float64), np.empty_like(theta)
    layers, slopes = other.layout.layers(theta), other.layout.layers(gradient)
    for _ in range(3):
        work = other.read(samples.images, samples.rows)
        targets = np.eye(3)[samples.labels]
        other.loss_and_gradient(layers, slopes, work, targets, np.random.default_rng())
        theta -= 0.5 * gradient
    # The same sums in another order, three times: some roundings of numbers near 1.
    np.testing.assert_allclose(state.theta, theta, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("epochs", "every", "reported"),
    [(7, 1, [1, 2, 3, 4, 5, 6, 7]), (7, 3, [3, 6, 7]), (6, 3, [3, 6]), (2, 10, [2]), (1, 1, [1])],
)
def test_metrics_come_every_so_many_epochs_and_at_the_end(
    epochs: int, every: int, reported: list[int]
) -> None:
    plan = recipe(epochs=epochs, metrics_every=every)
    state, records = train(plan, validation=Points.rings(9, seed=1))
    assert [record.number for record in records] == reported
    assert all(record.val_loss is not None for record in records)
    assert state.epoch == epochs


def test_how_often_metrics_come_changes_no_bit_of_the_weights() -> None:
    often, _ = train(recipe(epochs=5), validation=Points.rings(50, seed=1))
    seldom, _ = train(recipe(epochs=5, metrics_every=5))
    assert np.array_equal(often.theta, seldom.theta)


def test_without_validation_there_are_no_numbers_of_it() -> None:
    _, records = train(recipe())
    assert {(record.val_loss, record.val_accuracy) for record in records} == {(None, None)}


def test_validation_is_measured_after_the_epoch_on_the_weights_to_keep() -> None:
    net, plan, validation = network(), recipe(epochs=3, ema=0.5), Points.rings(50, seed=1)
    state = start(net, plan)
    for record in fit(net, state, plan, Points.rings(), validation):
        assert state.average is not None
        assert state.weights is state.average
        found = evaluate(net, state.average, validation)
        assert (record.val_loss, record.val_accuracy) == found


def test_a_finished_training_does_nothing_more() -> None:
    net, plan = network(), recipe()
    state = start(net, plan)
    list(fit(net, state, plan, Points.rings()))
    theta = state.theta.copy()
    assert list(fit(net, state, plan, Points.rings())) == []
    assert np.array_equal(state.theta, theta)


# A step


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warm_up", [0, 1.5])
def test_every_step_has_the_lr_of_the_schedule(name: str, warm_up: float) -> None:
    optimizer, schedule = Recorder(), WarmUp(SCHEDULES[name].value, warm_up)
    plan = recipe(optimizer, lr=0.3, schedule=schedule, epochs=4, batch_size=3)
    _, records = train(plan, Points.rings(10))  # four steps an epoch
    moments = [number / 4 for number in range(16)]
    assert optimizer.rates == [0.3 * schedule.factor(epoch / 4, epoch) for epoch in moments]
    assert [record.lr for record in records] == optimizer.rates[3::4]


@pytest.mark.parametrize("limit", [1e-3, 0.1, 1e3])
def test_gradients_are_clipped_before_the_optimizer_sees_them(limit: float) -> None:
    free, clipped = Recorder(), Recorder()
    train(recipe(free), dtype=np.float64)
    train(recipe(clipped, clip_norm=limit), dtype=np.float64)
    for before, after in zip(free.gradients, clipped.gradients, strict=True):
        norm = float(np.linalg.norm(before))
        # A few roundings.
        np.testing.assert_allclose(after, before * min(1, limit / norm), rtol=1e-13)


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
def test_penalties_add_to_the_gradient_of_weights_and_not_to_the_loss(l1: float, l2: float) -> None:
    free, held = Recorder(), Recorder()
    first, plain = train(recipe(free), dtype=np.float64)
    _, penalized = train(recipe(held, l1=l1, l2=l2), dtype=np.float64)
    penalty = np.zeros_like(first.theta)  # the weights stand still
    for source, target in zip(*(network().layout.layers(a) for a in (first.theta, penalty)),
                              strict=True):  # fmt: skip
        target.weight[:] = l1 * np.sign(source.weight) + l2 * source.weight
    for before, after in zip(free.gradients, held.gradients, strict=True):
        np.testing.assert_allclose(after, before + penalty, rtol=0, atol=1e-15)  # numbers near 0.3
    assert [one.train_loss for one in plain] == [one.train_loss for one in penalized]


def test_weight_decay_shrinks_weights_by_lr_times_its_strength_and_no_bias() -> None:
    net, plan = network(dtype=np.float64), recipe(Recorder(), lr=0.1, weight_decay=0.5)
    state = start(net, plan)
    state.theta += 1  # biases too
    before = state.theta.copy()
    list(fit(net, state, plan, Points.rings(16)))  # two steps an epoch, two epochs
    layers = zip(net.layout.layers(before), net.layout.layers(state.theta), strict=True)
    for old, new in layers:
        np.testing.assert_allclose(new.weight, 0.95**4 * old.weight, rtol=1e-15)  # four roundings
        assert np.array_equal(new.bias, old.bias)


def test_no_unit_ends_longer_than_max_norm() -> None:
    free, _ = train(recipe(lr=1.0, epochs=5))
    held, _ = train(recipe(lr=1.0, epochs=5, max_norm=0.7))

    def longest(theta: Array) -> float:
        layers = network().layout.layers(theta)
        return max(float(np.linalg.norm(layer.weight, axis=0).max()) for layer in layers)

    assert longest(free.theta) > 1
    assert longest(held.theta) <= 0.7 * (1 + 1e-6)  # float32 rounds at 6e-8


@pytest.mark.parametrize(
    ("ema", "expected"),
    # θ is 0, then 1, 2, 3 after its steps. What is kept at step k is at most (1 + k)/(10 + k),
    # 1/10, 2/11, 3/12:  0.9·1;  0.9·2/11 + 2·9/11 = 1.8;  1.8/4 + 3·3/4 = 2.7.
    [(0.999, 2.7), (0.25, 2.7), (0.2, 0.2 * 1.8 + 0.8 * 3), (0.05, 2.947375)],
)
def test_the_average_agrees_with_numbers_worked_by_hand(ema: float, expected: float) -> None:
    net, plan = network(dtype=np.float64), recipe(Recorder(move=1), epochs=3, ema=ema)
    plan = replace(plan, batch_size=None)
    state = start(net, plan)
    state.theta[:] = 0
    assert state.average is not None
    state.average[:] = 0
    list(fit(net, state, plan, Points.rings()))
    assert (state.theta == 3).all()
    np.testing.assert_allclose(state.average, expected, rtol=1e-14)  # a few roundings
    assert state.weights is state.average


def test_without_ema_there_is_no_average() -> None:
    state, _ = train(recipe())
    assert state.average is None
    assert state.weights is state.theta


def test_the_average_does_not_touch_the_training() -> None:
    plain, _ = train(recipe())
    averaged, _ = train(recipe(ema=0.9))
    assert np.array_equal(plain.theta, averaged.theta)


# Memory


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": 0.9, "clip_norm": 1.0, "weight_decay": 0.01},
        {"max_norm": 2.0},
        {"l1": 0.01, "l2": 0.01},
    ],
    ids=str,
)
def test_an_epoch_makes_no_array_as_large_as_a_batch(options: dict[str, float]) -> None:
    assert peak_of_an_epoch(OPTIMIZERS["adam"].value, "relu", **options) < ROOM


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_makes_an_array_as_large_as_a_batch(activation: str) -> None:
    assert peak_of_an_epoch(Sgd(), activation) < ROOM


# The smallest array that a step works on, but for the logits, is the pixels of a batch,
# 256 · 800 bytes. An epoch may make its order, rows and labels, 8 bytes each for 300 samples, and
# NumPy borrows two buffers of 8,192 numbers where it converts between types.
ROOM = 256 * 800


def peak_of_an_epoch(optimizer: Optimizer, activation: str, **options: float) -> int:
    """The most memory that a second epoch holds beyond what was there before it."""
    net = Network((800, 240, 220, 10), ACTIVATIONS[activation].value, scale=1 / 255, dropout=0.2)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 800), dtype=np.uint8)
    samples = Points(images, rng.integers(0, 10, 300), np.arange(300))
    plan = recipe(optimizer, batch_size=256, lr=1e-3, **options)
    state = start(net, plan)
    epochs = fit(net, state, plan, samples)
    next(epochs)
    tracemalloc.start()
    try:
        next(epochs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak


# Reproducibility


def same(first: TrainingState, second: TrainingState) -> bool:
    """True if two states agree in every bit."""
    return (
        np.array_equal(first.theta, second.theta)
        and np.array_equal(first.weights, second.weights)
        and first.optimizer.keys() == second.optimizer.keys()
        and all(np.array_equal(first.optimizer[k], second.optimizer[k]) for k in first.optimizer)
        and first.epoch == second.epoch
        and first.order.bit_generator.state == second.order.bit_generator.state
        and first.noise.bit_generator.state == second.noise.bit_generator.state
    )


def numbers(records: list[Epoch]) -> list[tuple[Any, ...]]:
    names = [part.name for part in fields(Epoch) if part.name != "seconds"]
    return [tuple(getattr(record, name) for name in names) for record in records]


def full(name: str) -> Recipe:
    """A recipe with every kind of state that a checkpoint must keep."""
    optimizer = OPTIMIZERS[name].value
    return recipe(
        optimizer,
        lr=0.01,
        schedule=WarmUp(Cosine(0.0), 1.5),
        epochs=5,
        l2=1e-3,
        weight_decay=0.0 if hasattr(optimizer, "weight_decay") else 0.01,
        clip_norm=1.0,
        max_norm=3.0,
        label_smoothing=0.1,
        ema=0.95,
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_seed_gives_the_same_bits_again_and_another_seed_others(name: str) -> None:
    options = {"dropout": 0.2, "input_dropout": 0.1, "validation": Points.rings(30, seed=1)}
    first, records = train(full(name), **options)
    again, same_records = train(full(name), **options)
    other, _ = train(full(name), seed=1, **options)
    assert same(first, again)
    assert numbers(records) == numbers(same_records)
    assert not np.array_equal(first.theta, other.theta)


@pytest.mark.parametrize("stop", [1, 3, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(
    name: str, stop: int, tmp_path: Path
) -> None:
    plan, validation = full(name), Points.rings(30, seed=1)
    options = {"dropout": 0.2, "input_dropout": 0.1}
    straight, records = train(plan, validation=validation, **options)

    net = network(**options)
    state = start(net, plan)
    seen = list(islice(fit(net, state, plan, Points.rings(), validation), stop))
    save_training(tmp_path / "training.npz", state, {}, {})
    del net, state

    loaded, _, _ = load_training(tmp_path / "training.npz")
    assert loaded.epoch == stop
    seen += fit(network(**options), loaded, plan, Points.rings(), validation)
    assert same(loaded, straight)
    assert numbers(seen) == numbers(records)


def test_saving_between_epochs_does_not_disturb_the_training(tmp_path: Path) -> None:
    plan = full("adam")
    straight, _ = train(plan, dropout=0.2)
    net = network(dropout=0.2)
    state = start(net, plan)
    for _ in fit(net, state, plan, Points.rings()):
        save_training(tmp_path / "training.npz", state, {}, {})
    assert same(state, straight)


def test_bytes_and_numbers_train_alike() -> None:
    """uint8 pixels are read by other code than float32 ones, with the same result."""
    samples = Points.rings()
    pixels = np.round((samples.images + 3) * 40).astype(np.uint8)
    found = []
    for images in (pixels, pixels.astype(np.float32)):
        state, _ = train(recipe(), replace(samples, images=images), scale=1 / 40, shift=-3.0)
        found.append(state.theta)
    assert np.array_equal(found[0], found[1])


def test_labels_of_any_integer_type_train_alike() -> None:
    samples = Points.rings()
    first, _ = train(recipe(), samples, samples)
    second, _ = train(recipe(), *[replace(samples, labels=samples.labels.astype(np.uint8))] * 2)
    assert np.array_equal(first.theta, second.theta)


# Evaluation


@pytest.mark.parametrize("chunk", [1, 7, 90, 1000])
def test_an_evaluation_is_the_formula_on_all_rows(chunk: int) -> None:
    net, samples = network(dtype=np.float64), Points.rings()
    samples.images, samples.rows = samples.images.astype(np.float64), np.arange(3, 80)
    theta = start(net, recipe()).theta
    loss, accuracy = evaluate(net, theta, samples, chunk)

    first, second = net.layout.layers(theta)
    images, labels = samples.images[3:80], samples.labels[3:80]
    logits = np.tanh(images @ first.weight + first.bias) @ second.weight + second.bias
    exponentials = np.exp(logits)
    chances = exponentials / exponentials.sum(axis=1, keepdims=True)
    # Some ten roundings of numbers near 1.
    assert loss == pytest.approx(-np.log(chances[np.arange(77), labels]).mean(), rel=1e-13)
    assert accuracy == np.mean(logits.argmax(axis=1) == labels)


def test_an_evaluation_leaves_the_weights_alone() -> None:
    net, samples = network(dropout=0.5), Points.rings()
    theta = start(net, recipe()).theta
    before = theta.copy()
    assert evaluate(net, theta, samples) == evaluate(net, theta, samples)
    assert np.array_equal(theta, before)


# Learning


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rings_are_learnt(name: str) -> None:
    row = OPTIMIZERS[name]
    plan = recipe(row.value, lr=row.lr, epochs=120, metrics_every=120, batch_size=16)
    _, (record,) = train(plan, Points.rings(240), Points.rings(240, seed=1))
    assert record.val_accuracy is not None
    assert record.val_accuracy > 0.95


def test_a_training_that_diverges_says_so_and_raises_nothing() -> None:
    _, records = train(recipe(lr=3e38, epochs=5), validation=Points.rings(9))
    assert not records[-1].finite
    assert records[0].number == 1


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "finite"),
    [(0.5, 0.5, True), (0.0, 0.0, True), (0.5, None, True), (math.nan, None, False),
     (0.5, math.nan, False), (math.inf, 0.5, False), (0.5, math.inf, False)],
)  # fmt: skip
def test_an_epoch_is_finite_if_its_losses_are(
    train_loss: float, val_loss: float | None, finite: bool
) -> None:
    assert Epoch(1, train_loss, 0.5, val_loss, None, 0.1, 1.0, 10).finite == finite


# Refusals


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [(name, value, "1 or more") for name in ("epochs", "batch_size", "metrics_every")
     for value in (0, -1)]
    + [(name, value, "0 or more")
       for name in ("l1", "l2", "weight_decay", "clip_norm", "max_norm")
       for value in (-0.1, math.nan, math.inf)]
    + [(name, value, r"in \[0, 1\)")
       for name in ("label_smoothing", "ema") for value in (-0.1, 1.0, math.nan)]
    + [("lr", value, "above 0") for value in (0.0, -1.0, math.nan, math.inf)],
)  # fmt: skip
def test_a_number_outside_its_range_is_refused(option: str, value: float, rule: str) -> None:
    with pytest.raises(RangeError, match=f"^{option} must be {rule}, got {value}$"):
        recipe(**{option: value})


def test_two_weight_decays_at_once_are_refused() -> None:
    with pytest.raises(RangeError, match=r"^weight_decay must be 0 with an optimizer") as caught:
        recipe(AdamW(0.9, 0.999, 1e-8, 0.01), weight_decay=0.1)
    assert caught.value.field == "weight_decay"
    recipe(AdamW(0.9, 0.999, 1e-8, 0.0), weight_decay=0.1)
    recipe(AdamW(0.9, 0.999, 1e-8, 0.01), weight_decay=0.0)
