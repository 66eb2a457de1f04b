"""What a mistyped word may stand for."""

import pytest

from perceptune.overrides.spelling import nearest, or_list

NAMES = ["data", "optimizer", "optimizer.lr", "optimizer.beta1", "optimizer.beta2", "model.hidden"]
NAMES += ["hydra.job.name", "train.epochs"]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("lr", ["optimizer.lr"]),
        ("train.lr", ["optimizer.lr"]),
        ("optim.lr", ["optimizer.lr"]),
        ("OPTIMIZER.LR", ["optimizer.lr"]),
        ("optimizer.beta3", ["optimizer.beta1", "optimizer.beta2"]),
        ("hiden", ["model.hidden"]),
        ("modle.hiden", ["model.hidden"]),
        ("hydra.jbo.name", ["hydra.job.name"]),
        ("opt", ["optimizer"]),
        ("optimizer.speed", []),
        ("x", []),
        ("", []),
        ("." * 9, []),
        ("x" * 100_000, []),
    ],
)
def test_the_nearest_names_are_found(word: str, names: list[str]) -> None:
    assert nearest(word, NAMES) == names


def test_names_are_joined_for_a_sentence() -> None:
    assert [or_list(["a"]), or_list(["a", "b"]), or_list(["a", "b", "c"])] == [
        "a",
        "a or b",
        "a, b or c",
    ]
