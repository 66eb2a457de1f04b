"""Optimizers: one contract for every member of the table, numbers worked by hand, then peers."""

import io
import math
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from members import OPTIMIZERS

from perceptune.nn.checks import RangeError
from perceptune.nn.layout import Array
from perceptune.nn.optimizers import (
    AdaGrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RmsProp,
    State,
)

every = pytest.mark.parametrize("name", OPTIMIZERS)

RATES = [0.1, 0.05, 0.2, 0.1, 0.02]  # a schedule: the learning rate may change at every step


def gradients(count: int = len(RATES), size: int = 6) -> Array:
    return np.random.default_rng(0).normal(size=(count, size))


def walk(
    optimizer: Optimizer, theta: Array, slopes: Array, rates: Sequence[float], state: State
) -> Array:
    """Where `theta` stands after each step; neither it nor `slopes` is changed."""
    theta, places = theta.copy(), []
    for slope, rate in zip(slopes, rates, strict=True):
        optimizer.step(theta, slope.astype(theta.dtype), state, rate)
        places.append(theta.copy())
    return np.array(places)


# The formulas of the papers, for one parameter, in plain Python: each takes θ and then pairs of
# gradient and learning rate, and lists θ after each step.
Pairs = list[tuple[float, float]]


def sgd(theta: float, pairs: Pairs) -> list[float]:
    return [theta := theta - lr * g for g, lr in pairs]


def momentum(theta: float, pairs: Pairs, mu: float = 0.9) -> list[float]:
    u = 0.0
    return [theta := theta - lr * (u := mu * u + g) for g, lr in pairs]


def nesterov(theta: float, pairs: Pairs, mu: float = 0.9) -> list[float]:
    places, u = [], 0.0
    for g, lr in pairs:
        u = mu * u + g
        theta -= lr * (g + mu * u)
        places.append(theta)
    return places


def rmsprop(theta: float, pairs: Pairs, rho: float = 0.9, eps: float = 1e-8) -> list[float]:
    places, v = [], 0.0
    for g, lr in pairs:
        v = rho * v + (1 - rho) * g * g
        theta -= lr * g / (math.sqrt(v) + eps)
        places.append(theta)
    return places


def adagrad(theta: float, pairs: Pairs, eps: float = 1e-10) -> list[float]:
    places, v = [], 0.0
    for g, lr in pairs:
        v += g * g
        theta -= lr * g / (math.sqrt(v) + eps)
        places.append(theta)
    return places


def adam(
    theta: float,
    pairs: Pairs,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> list[float]:
    places, m, v = [], 0.0, 0.0
    for t, (g, lr) in enumerate(pairs, start=1):
        theta -= lr * weight_decay * theta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta -= lr * m_hat / (math.sqrt(v_hat) + eps)
        places.append(theta)
    return places


def adamw(theta: float, pairs: Pairs, weight_decay: float = 0.01, **betas: float) -> list[float]:
    return adam(theta, pairs, weight_decay=weight_decay, **betas)


FORMULAS: dict[str, Callable[..., list[float]]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adamw,
}


def by_formula(formula: Callable[..., list[float]], theta: Array, **options: float) -> Array:
    slopes = gradients().T.tolist()
    pairs = [list(zip(slope, RATES, strict=True)) for slope in slopes]
    columns = zip(theta.tolist(), pairs, strict=True)
    return np.array([formula(start, column, **options) for start, column in columns]).T


@pytest.mark.parametrize("name", FORMULAS)
def test_steps_follow_the_formula(name: str) -> None:
    theta = np.linspace(-1, 1, 6)
    optimizer = OPTIMIZERS[name].value
    found = walk(optimizer, theta, gradients(), RATES, optimizer.init(6, np.float64))
    # Some ten roundings a step; Adam's 1 - β₂ᵗ alone loses three digits to cancellation.
    np.testing.assert_allclose(found, by_formula(FORMULAS[name], theta), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "formula", "options"),
    [
        (Momentum(0.0), momentum, {"mu": 0.0}),
        (Momentum(0.5), momentum, {"mu": 0.5}),
        (Nesterov(0.5), nesterov, {"mu": 0.5}),
        (RmsProp(0.5, 1e-2), rmsprop, {"rho": 0.5, "eps": 1e-2}),
        (AdaGrad(1e-2), adagrad, {"eps": 1e-2}),
        (Adam(0.5, 0.9, 1e-2), adam, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-2}),
        (Adam(0.0, 0.0, 1e-8), adam, {"beta1": 0.0, "beta2": 0.0}),
        (AdamW(0.5, 0.9, 1e-2, 0.3), adamw,
         {"beta1": 0.5, "beta2": 0.9, "eps": 1e-2, "weight_decay": 0.3}),
        (AdamW(0.9, 0.999, 1e-8, 0.0), adam, {}),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)  # fmt: skip
def test_steps_follow_the_formula_with_other_options(
    optimizer: Optimizer, formula: Callable[..., list[float]], options: dict[str, float]
) -> None:
    theta = np.linspace(-1, 1, 6)
    found = walk(optimizer, theta, gradients(), RATES, optimizer.init(6, np.float64))
    expected = by_formula(formula, theta, **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)  # as above


@every
def test_two_steps_agree_with_numbers_worked_by_hand(name: str) -> None:
    optimizer = OPTIMIZERS[name].value
    state = optimizer.init(1, np.float64)
    found = walk(optimizer, np.ones(1), np.array([[0.5], [-0.25]]), [0.1, 0.1], state)
    # ε moves the largest of these, √10, by a 1e-7th.
    np.testing.assert_allclose(found[:, 0], OPTIMIZERS[name].worked, rtol=0, atol=5e-8)


@every
def test_a_convex_quadratic_is_descended(name: str) -> None:
    optimizer = OPTIMIZERS[name].value
    curvature = np.array([0.5, 1.0, 2.0])
    theta = np.array([1.0, -1.0, 1.0])
    state, start = optimizer.init(3, np.float64), np.dot(curvature, theta**2)
    for _ in range(600):
        optimizer.step(theta, curvature * theta, state, 0.05)
    # AdaGrad, the slowest, has gone a way of about 0.05·Σ1/√t = 2.4, more than the 1 there is.
    assert np.dot(curvature, theta**2) < 1e-2 * start


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_works_in_place_and_keeps_the_type(name: str, dtype: type) -> None:
    optimizer = OPTIMIZERS[name].value
    theta, slope = np.ones(6, dtype), np.full(6, 0.5, dtype)
    state = optimizer.init(6, dtype)
    before = dict(state)
    optimizer.step(theta, slope, state, 0.1)
    assert theta.dtype == slope.dtype == dtype
    assert (theta < 1).all()
    assert list(state) == list(before)
    for key, array in before.items():
        assert state[key] is array
        assert array.dtype in (dtype, np.int64)  # numbers, or a count of steps
        assert array.size in (1, 6)


@every
def test_a_step_makes_no_array(name: str) -> None:
    optimizer = OPTIMIZERS[name].value
    size = 100_000
    theta, slope, state = np.ones(size), np.ones(size), optimizer.init(size, np.float64)
    optimizer.step(theta, slope, state, 0.1)
    tracemalloc.start()
    try:
        optimizer.step(theta, slope, state, 0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Room for Python's own small objects; one array of flags would take ten times that.
    assert peak < size / 10


@every
def test_steps_are_the_same_bits_each_time(name: str) -> None:
    optimizer = OPTIMIZERS[name].value
    first, again = (
        walk(optimizer, np.ones(6, np.float32), gradients(), RATES, optimizer.init(6))
        for _ in range(2)
    )
    assert np.array_equal(first, again)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_its_state_survives_a_file(name: str, dtype: type) -> None:
    optimizer, start = OPTIMIZERS[name].value, np.linspace(-1, 1, 6, dtype=dtype)
    slopes = gradients()
    straight = walk(optimizer, start, slopes, RATES, optimizer.init(6, dtype))

    state = optimizer.init(6, dtype)
    half = walk(optimizer, start, slopes[:2], RATES[:2], state)
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        loaded = {key: archive[key] for key in archive.files}
    rest = walk(optimizer, half[-1], slopes[2:], RATES[2:], loaded)
    assert np.array_equal(np.concatenate([half, rest]), straight)


@every
def test_a_gradient_of_zero_moves_nothing_but_what_decays(name: str) -> None:
    optimizer = OPTIMIZERS[name].value
    theta, state = np.array([1.0, -2.0, 0.0]), optimizer.init(3, np.float64)
    with np.errstate(all="raise"):
        for _ in range(3):
            optimizer.step(theta, np.zeros(3), state, 0.1)
    factor = (1 - 0.1 * getattr(optimizer, "weight_decay", 0.0)) ** 3
    # Three roundings.
    np.testing.assert_allclose(theta, np.array([1, -2, 0]) * factor, rtol=1e-15, atol=0)


@every
def test_parameters_do_not_disturb_each_other(name: str) -> None:
    optimizer, theta = OPTIMIZERS[name].value, np.linspace(-1, 1, 6)
    together = walk(optimizer, theta, gradients(), RATES, optimizer.init(6, np.float64))
    for number in range(6):
        place = slice(number, number + 1)
        state = optimizer.init(1, np.float64)
        alone = walk(optimizer, theta[place], gradients()[:, place], RATES, state)
        # Vector instructions and single ones may round √ and ÷ alike, products never worse.
        np.testing.assert_allclose(alone, together[:, place], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("value", [1.0, -0.1, math.nan])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("momentum", "momentum"),
        ("nesterov", "momentum"),
        ("rmsprop", "decay"),
        ("adam", "beta1"),
        ("adam", "beta2"),
        ("adamw", "beta1"),
        ("adamw", "beta2"),
    ],
)
def test_a_decay_rate_outside_its_range_is_refused(name: str, field: str, value: float) -> None:
    with pytest.raises(RangeError, match=rf"^{field} must be in \[0, 1\), got {value}$"):
        changed(name, field, value)


@pytest.mark.parametrize("value", [0.0, -1e-8, math.nan, math.inf])
@pytest.mark.parametrize("name", ["rmsprop", "adagrad", "adam", "adamw"])
def test_an_eps_that_is_not_positive_is_refused(name: str, value: float) -> None:
    with pytest.raises(RangeError, match=f"^eps must be above 0, got {value}$"):
        changed(name, "eps", value)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_negative_weight_decay_is_refused(value: float) -> None:
    with pytest.raises(RangeError, match=f"^weight_decay must be 0 or more, got {value}$"):
        changed("adamw", "weight_decay", value)


def changed(name: str, field: str, value: float) -> Any:
    optimizer: Any = OPTIMIZERS[name].value
    return replace(optimizer, **{field: value})


# Each takes a parameter, or a learning rate, and makes the peer's optimizer of the same name.
TORCH: dict[str, Callable[[Any, Any], Any]] = {
    "sgd": lambda optim, theta: optim.SGD([theta], lr=1),
    "momentum": lambda optim, theta: optim.SGD([theta], lr=1, momentum=0.9),
    "nesterov": lambda optim, theta: optim.SGD([theta], lr=1, momentum=0.9, nesterov=True),
    "rmsprop": lambda optim, theta: optim.RMSprop([theta], lr=1, alpha=0.9),
    "adagrad": lambda optim, theta: optim.Adagrad([theta], lr=1),
    "adam": lambda optim, theta: optim.Adam([theta], lr=1),
    "adamw": lambda optim, theta: optim.AdamW([theta], lr=1, weight_decay=0.01),
}
OPTAX: dict[str, Callable[[Any, float], Any]] = {
    "sgd": lambda optax, lr: optax.sgd(lr),
    "momentum": lambda optax, lr: optax.sgd(lr, momentum=0.9),
    "nesterov": lambda optax, lr: optax.sgd(lr, momentum=0.9, nesterov=True),
    "rmsprop": lambda optax, lr: optax.rmsprop(lr, decay=0.9, eps=1e-8, eps_in_sqrt=False),
    "adagrad": lambda optax, lr: optax.adagrad(lr, initial_accumulator_value=0.0, eps=1e-10),
    "adam": lambda optax, lr: optax.adam(lr),
    "adamw": lambda optax, lr: optax.adamw(lr, weight_decay=0.01),
}


@pytest.mark.peers
@pytest.mark.parametrize("name", TORCH)
def test_steps_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    theta = np.linspace(-1, 1, 6)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    peer = TORCH[name](torch.optim, parameter)
    expected = []
    for slope, rate in zip(gradients(), RATES, strict=True):
        peer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(slope)
        peer.step()
        expected.append(parameter.detach().numpy().copy())
    optimizer = OPTIMIZERS[name].value
    found = walk(optimizer, theta, gradients(), RATES, optimizer.init(6, np.float64))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)  # as for the formulas


@pytest.mark.peers
@pytest.mark.parametrize("name", OPTAX)
def test_steps_are_those_of_optax(name: str) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    start = np.linspace(-1, 1, 6, dtype=np.float32)
    theta, expected, rate = jax.numpy.array(start), [], 0.1
    peer = OPTAX[name](optax, rate)
    moments = peer.init(theta)
    for slope in gradients():
        updates, moments = peer.update(jax.numpy.array(slope, "float32"), moments, theta)
        theta = optax.apply_updates(theta, updates)
        expected.append(np.array(theta))
    optimizer = OPTIMIZERS[name].value
    found = walk(optimizer, start, gradients(), [rate] * len(RATES), optimizer.init(6))
    # It takes 1 - β₂ᵗ in float32, wrong by 2⁻²⁴/0.001 = 6e-5 at first: half of that of a step of
    # 0.1 is 3e-6, five times.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.5e-5)
