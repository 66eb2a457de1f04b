"""Configuration files that cannot be read end in one line, with the file and the line."""

from pathlib import Path

import pytest

from perceptune.app import compose
from perceptune.errors import UserError

FILES = {
    b"x: !!python/object:os.system a\n": ", line 1: the tag 'tag:yaml.org,2002:python/object:os.s",
    b"a: [1\nb: }\n": ", line 2: expected ',' or ']', but got ':'",
    b"a: 1\nb: 2\na: 3\n": ", line 3: found duplicate key a",
    b"? {a: 1}\n: 2\n": ", line 1: found unhashable key",
    b"%YAML 9\n": ", line 1: expected a digit or '.'",
    b"a: \xff\xfe\n": ": it is no UTF-8 text",
    b"a: \0\n": ": unacceptable character",
    b"a: " + b"[" * 5000: ": it is nested too deeply, or contains itself",
    b"a: &x [*x]\n": ": it is nested too deeply, or contains itself",
    b"defaults: 3\n": "experiment/mine: Invalid defaults list",
    b"defaults:\n  - {a: {b: 1}}\n": "experiment/mine: Unsupported item value in defaults",
}


@pytest.mark.parametrize("content", FILES, ids=range(len(FILES)))
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, hydra_restore_singletons: None, content: bytes
) -> None:
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"])
    where = "" if FILES[content].startswith("experiment") else str(file)
    assert f"{where}{FILES[content]}" in str(refusal.value)


def test_other_errors_are_passed_over() -> None:
    from perceptune.overrides.unreadable import fault_of

    assert fault_of(ValueError("x")) is None
