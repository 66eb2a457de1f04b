"""Every member of a family has a row in `members`, so that it takes its family's contract."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import members
import pytest

from perceptune.nn import activations, initializers, optimizers, schedules

FAMILIES = {
    "optimizers": (optimizers.OPTIMIZERS, members.OPTIMIZERS),
    "activations": (activations.ACTIVATIONS, members.ACTIVATIONS),
    "initializers": (initializers.INITIALIZERS, members.INITIALIZERS),
    "schedules": (schedules.SCHEDULES, members.SCHEDULES),
}
every = pytest.mark.parametrize(("table", "rows"), FAMILIES.values(), ids=FAMILIES)


@every
def test_every_member_has_a_row_of_its_class(
    table: Mapping[str, type], rows: Mapping[str, Any]
) -> None:
    assert {name: type(row.value) for name, row in rows.items()} == table


@every
def test_a_member_is_a_frozen_value_whose_numbers_stand_elsewhere(
    table: Mapping[str, type], rows: Mapping[str, Any]
) -> None:
    for name, row in rows.items():
        assert dataclasses.replace(row.value) == row.value
        assert hash(dataclasses.replace(row.value)) == hash(row.value)
        for field in dataclasses.fields(table[name]):
            assert field.default is dataclasses.MISSING, f"{name}.{field.name}: see conf/"
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(row.value, field.name, 0)
