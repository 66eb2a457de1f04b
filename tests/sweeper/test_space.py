"""The space: every way to write it, and what arrives in the task."""

import random
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from optuna_joblib_sweeper._space import Space
from optuna_joblib_sweeper._space_syntax import read_plan
from optuna_joblib_sweeper._values import override_text, short_text
from optuna_joblib_sweeper.errors import SweepError


def plan_of(params: dict[str, Any], *arguments: str, **config: Any) -> Any:
    return read_plan(params, arguments, None, config.__getitem__)


def space_of(params: dict[str, Any], *arguments: str, **config: Any) -> Space:
    found: Space = plan_of(params, *arguments, **config).space
    return found


@pytest.mark.parametrize(
    ("written", "distribution"),
    [
        ("choice(1,2)", CategoricalDistribution([1, 2])),
        ("1,2", CategoricalDistribution([1, 2])),
        ("choice(true,false)", CategoricalDistribution([True, False])),
        ("choice('hello',world)", CategoricalDistribution(["hello", "world"])),
        ("shuffle(range(1,3))", CategoricalDistribution([1, 2])),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(0,10,3)", IntDistribution(0, 9, step=3)),
        ("range(5,0,-2)", IntDistribution(1, 5, step=2)),
        ("range(0.5,5.5,step=1)", FloatDistribution(0.5, 4.5, step=1)),
        ("interval(1,5)", FloatDistribution(1, 5)),
        ("int(interval(1,5))", IntDistribution(1, 5)),
        ("tag(log,interval(1,5))", FloatDistribution(1, 5, log=True)),
        ("tag(log,int(interval(1,5)))", IntDistribution(1, 5, log=True)),
        ([1, 2], CategoricalDistribution([1, 2])),
        ([[128, 64], [64]], CategoricalDistribution(["[128,64]", "[64]"])),
        ({"low": 0, "high": 10}, IntDistribution(0, 10)),
        ({"low": 0, "high": 10, "step": 2}, IntDistribution(0, 10, step=2)),
        ({"low": 0, "high": 1, "type": "float"}, FloatDistribution(0, 1)),
        ({"low": 0.001, "high": 0.1, "log": True}, FloatDistribution(0.001, 0.1, log=True)),
        ({"type": "categorical", "choices": [1, 2]}, CategoricalDistribution([1, 2])),
        ({"space": "range(1,4)"}, IntDistribution(1, 3)),
    ],
)
def test_every_syntax_gives_its_distribution(written: Any, distribution: Any) -> None:
    assert space_of({"key": written}).parameters[0].distribution == distribution


@pytest.mark.parametrize(
    "written",
    [
        "choice([128,64],[64])",
        "choice('a,b',c)",
        "null,1",
        "choice(true,no)",
        "choice({a:1},{a:2})",
        "choice(1e-3,inf)",
        "choice('${x}',b)",
        "range(1,4)",
        "range(0,10,3.3)",
        "range(-5,step=-1)",
    ],
)
def test_a_grid_gives_the_values_that_hydra_itself_would_sweep(written: str) -> None:
    parser = OverridesParser.create()
    override = parser.parse_overrides([f"key={written}"])[0]
    by_hydra = [
        parser.parse_overrides([f"key={text}"])[0].value()
        for text in override.sweep_string_iterator()
    ]
    space = space_of({"key": written})
    texts = [space.overrides(point)[0] for point in space.grid()]
    ours = [parser.parse_overrides([text])[0].value() for text in texts]

    if written.startswith("range"):
        by_hydra = sorted(by_hydra)  # a distribution has no downward order
    assert ours == pytest.approx(by_hydra) if isinstance(ours[0], float) else ours == by_hydra
    assert [type(value) for value in ours] == [type(value) for value in by_hydra]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("choice('1',2)", ["1", 2]),  # Hydra's own multirun loses these quotes
        (r"choice('it\'s','a b',' lead','null','True')", ["it's", "a b", " lead", "null", "True"]),
        ("choice('a,b',c)", ["a,b", "c"]),
    ],
)
def test_quoted_strings_stay_strings(written: str, values: list[Any]) -> None:
    space = space_of({"key": written})
    texts = [space.overrides(point)[0] for point in space.grid()]
    assert [OverridesParser.create().parse_overrides([t])[0].value() for t in texts] == values


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        0.1,
        1e-30,
        "plain",
        "two words",
        "null",
        "1e3",
        "it's",
        'a"b',
        "a\\",
        "",
        "é,ü",
        [1, [2, "x y"]],
        {"a": [None, True]},
        "-x",
        "a=b",
        "${not:this}",
    ],
)
def test_a_value_survives_as_override_text(value: Any) -> None:
    parser = OverridesParser.create()
    assert parser.parse_overrides([f"key={override_text(value)}"])[0].value() == value


def test_the_command_line_wins_over_the_yaml() -> None:
    plan = plan_of({"x": "range(1,9)", "y": "1,2", "z": "1,2"}, "x=3,4", "y=7", "~z", "w=5")
    assert str(plan.space) == "x = choice(3,4)"
    assert plan.fixed == ("y=7", "~z", "w=5")


def test_a_parameter_is_there_only_under_its_condition() -> None:
    space = space_of(
        {
            "optimizer.momentum": {"choices": [0.8, 0.9], "when": {"optimizer": "momentum"}},
            "optimizer": ["sgd", "momentum", "nesterov"],
            "optimizer.decay": {"space": "1,2", "when": "optimizer=momentum,nesterov"},
        }
    )
    points = [space.overrides(point) for point in space.grid()]
    assert points == [
        ["optimizer=sgd"],
        ["optimizer=momentum", "optimizer.momentum=0.8", "optimizer.decay=1"],
        ["optimizer=momentum", "optimizer.momentum=0.8", "optimizer.decay=2"],
        ["optimizer=momentum", "optimizer.momentum=0.9", "optimizer.decay=1"],
        ["optimizer=momentum", "optimizer.momentum=0.9", "optimizer.decay=2"],
        ["optimizer=nesterov", "optimizer.decay=1"],
        ["optimizer=nesterov", "optimizer.decay=2"],
    ]


@pytest.mark.parametrize(("fixed", "count"), [("optimizer=sgd", 0), ("optimizer=momentum", 1)])
def test_a_condition_on_a_fixed_value_is_decided_at_once(fixed: str, count: int) -> None:
    params = {
        "optimizer": ["sgd", "momentum"],
        "beta": {"choices": [1, 2], "when": {"optimizer": "momentum"}},
    }
    assert len(space_of(params, fixed).parameters) == count
    by_config = space_of({"beta": params["beta"]}, optimizer=fixed.partition("=")[2])
    assert len(by_config.parameters) == count


def test_children_go_with_the_parent_that_its_own_condition_ruled_out() -> None:
    params = {
        "a": {"choices": [1, 2], "when": {"mode": "on"}},
        "b": {"choices": [1, 2], "when": {"a": 2}},
    }
    assert space_of(params, mode="off").parameters == ()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"x": "interval(5,1)"}, "x: low 5.0 is above high 1.0"),
        ({"x": "tag(log,interval(0,1))"}, "x: "),
        ({"x": {"low": 1}}, "x: needs low and high"),
        ({"x": {"low": 1, "high": 2, "stepp": 1}}, "x: unknown stepp"),
        ({"x": {"low": 1, "high": 2, "type": "complex"}}, "x: type must be int or float"),
        ({"x": []}, "x: a choice needs values"),
        ({"x": [1, True]}, "x: 1 and true are the same choice"),
        ({"x": "range(3,3)"}, "x: range(3,3,1) is empty"),
        ({"x": "choice(1"}, "x=choice(1: "),
        ({"hydra.verbose": "1,2"}, "Hydra's own settings can't be swept"),
        ({"x": {"choices": [1, 2], "when": {"nothing": 1}}}, "x: its `when` names nothing"),
        (
            {
                "a": {"choices": [1, 2], "when": {"b": 1}},
                "b": {"choices": [1, 2], "when": {"a": 1}},
            },
            "wait for each other",
        ),
    ],
)
def test_a_wrong_space_is_refused_naming_the_parameter(params: Any, message: str) -> None:
    with pytest.raises(SweepError) as refusal:
        space_of(params)
    assert message in str(refusal.value)


def test_a_grid_refuses_what_it_can_not_count() -> None:
    with pytest.raises(SweepError, match="a grid needs values that it can count, got x"):
        space_of({"x": "interval(0,1)"}).grid()
    with pytest.raises(SweepError, match="1,000,000"):
        space_of(dict.fromkeys("abc", "range(101)")).grid()


def test_probes_try_each_value_once_beside_first_values() -> None:
    space = space_of({"a": [1, 2], "b": {"low": 0.0, "high": 1.0}})
    assert list(space.probes()) == [
        (None, {"a": 1, "b": 0.0}),
        ("a", {"a": 1, "b": 0.0}),
        ("a", {"a": 2, "b": 0.0}),
        ("b", {"a": 1, "b": 0.0}),
        ("b", {"a": 1, "b": 1.0}),
    ]


def test_short_text_names_what_differs() -> None:
    assert short_text("optimizer.lr", 0.0123456) == "lr=0.0123"
    assert short_text("+db/schema@x", "big") == "schema=big"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"low": 1, "high": 2, "log": "maybe"}, "x: log must be true or false, got 'maybe'"),
        ({"low": 1, "high": 2, "log": 1}, "x: log must be true or false, got 1"),
        ({"low": 1, "high": 2, "step": "x"}, "x: step must be a finite number, got 'x'"),
        ({"low": 1, "high": 2, "step": 0}, "x: step must be above 0, got 0"),
        ({"low": "a", "high": 2}, "x: low must be a finite number, got 'a'"),
        ({"low": 0, "high": float("inf")}, "x: high must be a finite number, got inf"),
        ({"low": False, "high": 2}, "x: low must be a finite number, got False"),
        ({"low": 0.5, "high": 2, "type": "int"}, "x: low of an int must be whole, got 0.5"),
        ({"low": 1, "high": 2, "lgo": True}, "x: unknown lgo in hydra.sweeper.params"),
        ({"choices": "abc"}, "x: choices must be a list, got 'abc'"),
        ({"choices": [1, 2], "low": 1}, "x: low has no meaning beside the other keys"),
        ("tag(lgo,interval(1,2))", "x: the only tag is log, got lgo"),
        ("tag(log,choice(1,2))", "x: tag(log, …) takes interval(…) or range(…)"),
        ("interval(nan,1)", "x: low must be a finite number, got nan"),
        ("range(0.0,1e12)", "x: it has more than 1,000,000 values"),
        ("range(0,1e40)", "x: it has more than 1,000,000 values"),
    ],
)
def test_what_would_be_passed_over_in_silence_is_refused(written: Any, message: str) -> None:
    with pytest.raises(SweepError) as refusal:
        space_of({"x": written})
    assert message in str(refusal.value)


def test_a_grid_of_far_too_many_points_is_refused_before_they_are_listed() -> None:
    for written in ("range(0,1000000000000)", {"low": 0.0, "high": 1e12, "step": 0.5}):
        with pytest.raises(SweepError, match="a grid may have 1,000,000 points"):
            space_of({"x": written}).grid()


_SCALARS: list[Any] = [None, True, 0, -3, 2.5, float("nan"), float("inf"), 10**400, "", "a b"]
_TEXTS = [
    "choice",
    "choice()",
    "interval(1)",
    "range(1,2,3,4)",
    "tag(log)",
    "${x}",
    "a=b",
    "é\n",
    "]",
]
_KEYS = ["low", "high", "step", "log", "type", "choices", "space", "when", "unknown", 3, None]
_FORMS = ["choice({},{})", "interval({},{})", "range({},{})", "tag(log,interval({},{}))", "{},{}"]


def _junk(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(3 if depth > 2 else 6)
    if kind == 0:
        return rng.choice(_SCALARS)
    if kind == 1:
        return rng.choice(_TEXTS)
    if kind == 2:
        return rng.choice(_FORMS).format(rng.choice(_SCALARS), rng.choice(_SCALARS))
    items = [_junk(rng, depth + 1) for _ in range(rng.randrange(4))]
    return items if kind == 3 else {rng.choice(_KEYS): item for item in items}


@pytest.mark.parametrize("seed", range(8))
def test_junk_is_a_space_or_refused_in_few_words(seed: int) -> None:
    rng, outcomes = random.Random(seed), []
    for _ in range(250):
        params = {rng.choice(["x", "y", "+z", "a/b", "", "a b", 5]): _junk(rng) for _ in range(2)}
        arguments = [f"{rng.choice('xyz')}={_junk(rng)}" for _ in range(rng.randrange(2))]
        outcomes.append(_refusal(params, arguments))
    assert [text for text in outcomes if len(text.splitlines()) > 1] == []
    assert 5 < outcomes.count("") < 200


def _refusal(params: dict[Any, Any], arguments: list[str]) -> str:
    """The message of who refuses; empty if it is a space whose values can be written."""
    try:
        space = space_of(params, *arguments, x=1)
        str(space)
        assert all(space.overrides(chosen) is not None for _, chosen in space.probes())
        space.grid()
    except SweepError as refusal:
        return str(refusal)
    return ""
