"""The tests of one image inside a network are unittest's, and both runners run all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(240)  # each builds its tiny atlas anew, and other tests share the cores
@pytest.mark.parametrize("module", ["test_one_image", "test_breaking"])
def test_unittest_runs_as_many_tests_as_pytest_finds(module):
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", f"tests/{module}.py"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    found = [line for line in listed.stdout.splitlines() if line.startswith(f"tests/{module}.py::")]
    ran = subprocess.run([sys.executable, "-m", "unittest", f"tests.{module}"], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert len(found) > 10 and f"Ran {len(found)} tests" in ran.stderr and "\nOK" in ran.stderr, (listed.stdout, ran.stderr)
