"""Words that Hydra's grammar refuses, or takes for something else, mean what was typed."""

from pathlib import Path

import pytest

from perceptune import app
from perceptune.errors import UserError
from perceptune.overrides.words import open_mark, parsed, readable

NAMES = ["données.csv", "train (1).csv", "a,b.csv", "it's.csv", "{a}.csv", "[1] x.csv", "100%.csv"]
NAMES += ["a=b.csv", "#1.csv", "数据.csv", "x" * 300, "a & b; c.csv", "007", "1e3", "true"]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_file_is_taken_as_it_is(name: str) -> None:
    assert app.compose(["data=csv", f"data.path={name}"]).data.path == name


@pytest.mark.parametrize("value", ["a", "null", "[1,2]", "{a:1}", "'a,b'", "1e-3", "${seed}"])
def test_what_hydra_reads_is_left_alone(value: str) -> None:
    assert readable([f"x.y={value}"], many=False) == [f"x.y={value}"]


@pytest.mark.parametrize("word", ["", "=", "x", "~x", "x=", "=3", "+", "é=1"])
def test_what_is_no_override_is_left_to_hydra(word: str) -> None:
    assert readable([word], many=False) == [word]


def test_in_a_multirun_a_comma_separates_values() -> None:
    [word] = readable(["data.path=a.csv,é.csv"], many=True)
    override = parsed(word)
    assert override is not None
    assert [str(value) for value in override.sweep_string_iterator()] == ["a.csv", "'é.csv'"]
    assert readable(["data.path=a.csv,b.csv"], many=True) == ["data.path=a.csv,b.csv"]


@pytest.mark.parametrize("word", ["a=[1", "a='b", "a=(", "a={b:[1}", 'a="'])
def test_a_mark_without_a_partner_is_a_slip_and_not_quoted(word: str) -> None:
    assert readable([word], many=False) == [word]
    assert open_mark(word)


@pytest.mark.parametrize("mark", ["\0", "\n", "\x1b", "\x7f", "\x85", "\udcff"])
def test_characters_that_no_setting_can_hold_are_refused(mark: str) -> None:
    with pytest.raises(UserError, match="characters that no setting can hold"):
        readable([f"data.path=a{mark}"], many=False)


def test_an_interpolation_in_a_quoted_value_still_works(tmp_path: Path) -> None:
    config = app.compose(["data=csv", "data.path=${train.epochs} (é).csv"])
    assert config.data.path == "30 (é).csv"
