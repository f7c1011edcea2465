"""embedding-atlas in an environment of its own, and its page over the same points."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.pages.view import View
from benchmarks import measure
from benchmarks._pages import served

# What its command needs to serve points that are laid out already; the rest (sentence-transformers, and torch with it)
# computes embeddings, which is not measured here.
NEEDS = (
    *("fastapi", "uvicorn", "uvloop", "websockets", "httpx", "click", "inquirer", "platformdirs", "tqdm", "cryptography"),
    *("pandas", "pyarrow", "duckdb", "numpy", "narwhals"),
)
WITH_WEBGL = ("0.23.*", "0.22.*")  # the last release that draws without WebGPU; 0.23 is not in every registry


def installed(cache: Path, wanted: str) -> tuple[Path, str] | str:
    """Return an environment's folder with embedding-atlas as `wanted` and its version; else why not."""
    folder = cache / "benchmarks" / f"embedding-atlas-{wanted.rstrip('.*')}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        measure.tell(f"installing embedding-atlas {wanted} into {folder}")
        venv.create(folder, with_pip=True, clear=True)
        spec = f"embedding-atlas=={wanted}"
        for words in (["--no-deps", spec], list(NEEDS)):
            done = subprocess.run([str(python), "-m", "pip", "install", "-qqq", *words], stdout=sys.stderr, check=False)
            if done.returncode:
                return f"embedding-atlas {wanted} is left out: it could not be installed from this registry."
        (folder / "complete").touch()
    show = "from importlib.metadata import version; print(version('embedding-atlas'))"
    return folder, subprocess.run([str(python), "-c", show], capture_output=True, text=True, check=True).stdout.strip()


def with_webgl(cache: Path) -> tuple[Path, str] | str:
    """Return the last release that draws by WebGL and can be had, or why there is none."""
    found: tuple[Path, str] | str = ""
    for wanted in WITH_WEBGL:
        found = installed(cache, wanted)
        if not isinstance(found, str):
            return found
    return found


def points(view: View, file: Path) -> Path:
    """Write the points of the first layer's first layout as Parquet, with label and number; return the file."""
    xy = view.xy(view.spaces[0].layouts[0]).astype(np.float32)
    label = view.images.table["label"].astype(str)
    pd.DataFrame({"x": xy[0], "y": xy[1], "label": label, "number": np.arange(len(label))}).to_parquet(file)
    return file


def page(folder: Path, file: Path) -> Any:
    """Serve embedding-atlas over the points of a file."""
    command = [str(folder / "bin" / "embedding-atlas"), str(file), "--x", "x", "--y", "y", "--disable-projection"]
    return served([*command, "--host", "127.0.0.1", "--port", "PORT"], "http://127.0.0.1:PORT/")
