"""Copies and texts of configs: quicker than OmegaConf's own, and the same."""

import copy
from dataclasses import dataclass, field
from enum import Enum

from omegaconf import OmegaConf

from optuna_joblib_sweeper._copies import Copies, Texts


class Colour(Enum):
    RED = 1


def test_a_copy_shares_nothing_with_others_and_keeps_types_and_flags() -> None:
    @dataclass
    class Typed:  # no pickle finds a class in a function, as little as one in a script
        width: int = 1
        deep: list[int] = field(default_factory=lambda: [1, 2])

    config = OmegaConf.create({"typed": OmegaConf.structured(Typed), "link": "${typed.width}"})
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config.typed.deep, True)
    copies = Copies(config)
    one, other = copies.one(), copies.one()
    assert one == other == copy.deepcopy(config)
    assert OmegaConf.get_type(one, "typed") is Typed
    assert OmegaConf.is_struct(one)
    assert OmegaConf.is_readonly(one.typed.deep)
    one.typed.width = 7
    assert (one.link, other.link, config.link, copies.one().link) == (7, 1, 1, 1)


def test_texts_are_what_omegaconf_writes_however_often_what_changes() -> None:
    texts = Texts()
    long = " ".join(["word"] * 30)  # which YAML folds
    for value in (1, True, 1.0, "1", None, long, [1, {"on": long}], {}, {"a": {"b": long}}, 1, []):
        config = OmegaConf.create(
            {"same": {"no": 1, "deep": {"er": long}}, "x": {"y": {"z": value}}, 3: Colour.RED}
        )
        assert texts.yaml(config) == OmegaConf.to_yaml(config)
        assert texts.yaml(config, "above") == OmegaConf.to_yaml({"above": config})
    assert texts.yaml(OmegaConf.create({})) == OmegaConf.to_yaml({})


def test_texts_have_no_passwords() -> None:
    config = OmegaConf.create({"a": {"uri": ["postgresql://me:s3cret@host/x"]}})
    assert "s3cret" not in Texts().yaml(config)
    assert config.a.uri[0].count("s3cret") == 1
