"""A few of the broken files of `fuzz_files.py`, in a process of its own to measure its memory."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("fuzz_files.py")


def test_broken_files_end_in_one_line_within_memory() -> None:
    count = 100
    command = [sys.executable, str(SCRIPT), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert sum(found["outcomes"].values()) == count
    refused = sum(times for what, times in found["outcomes"].items() if what.endswith("refused"))
    assert refused > count / 2
    assert found["megabytes"] < 500
