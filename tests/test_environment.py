"""What `make` checks before it installs: each thing that can be missing is one clear line."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", ROOT / ".ci" / "environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(capsys) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_an_old_python_is_told(environment, capsys):
    with pytest.raises(SystemExit):
        environment.check_python((3, 8, 1))
    assert "Python 3.8 is too old: the atlas needs 3.11 or newer" in line(capsys)


def test_a_python_without_venv_is_told(environment, capsys, monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        environment.check_python((3, 12, 0))
    assert "apt-get install python3.12-venv" in line(capsys)


def test_a_full_disk_is_told(environment, capsys, monkeypatch):
    monkeypatch.setattr(environment, "ON_DISK_GB", 10**9)
    with pytest.raises(SystemExit):
        environment.check_space(ROOT)
    assert "needs 1000000000 GB on disk" in line(capsys)


def test_a_missing_browser_is_told(environment, capsys, monkeypatch):
    monkeypatch.delenv("ATLAS_BROWSER", raising=False)
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit):
        environment.find_browser()
    assert "apt-get install chromium" in line(capsys)


def test_a_browser_of_ones_own_is_taken(environment, monkeypatch):
    monkeypatch.setenv("ATLAS_BROWSER", "/opt/browser")
    assert environment.has_browser()


def test_make_without_python_is_told(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("pyproject.toml", "constraints.txt", ".ci/environment.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    done = subprocess.run(["make", "demo", "PYTHON=no-such-python"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "no no-such-python: install Python 3.11 or newer" in done.stdout + done.stderr
