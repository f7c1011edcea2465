"""The page's own scripts as one file: a browser asks once, and one text packs to less than sixty small ones do."""

from __future__ import annotations

import json
from pathlib import Path

BEFORE = ("early", "unpack")  # scripts that are no modules: the theme, and what makes modules of the text of the others


def squeezed(source: str) -> str:
    """Return a script without indentation and without comments of `//`.

    What is left means the same: no text of ours goes on from one line to the next, and none holds two slashes between
    blanks (`tests/test_page_modules.py`).
    """
    lines = (line.partition(" // ")[0].strip() for line in source.split("\n"))
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"


def modules(folder: Path) -> dict[str, str]:
    """Return the page's modules by name, whichever there are."""
    return {path.stem: squeezed(path.read_text("utf-8")) for path in sorted(folder.glob("*.js")) if path.stem not in BEFORE}


def bundle(folder: Path) -> bytes:
    """Return one script that holds all modules as text, and makes modules of them."""
    told = json.dumps(modules(folder), ensure_ascii=False, separators=(",", ":"))
    return f"window.atlasModules = {told};\n{squeezed((folder / 'unpack.js').read_text('utf-8'))}".encode()
