"""Run the benchmarks, each in a process of its own, and write what they print into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT, demo_atlas, machine, tell

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
QUICK_DOCUMENT = "benchmarks-quick.md"  # in the cache: figures of small sizes belong in no document
PREFACE = """# Benchmarks

What the scripts in `benchmarks/` printed, word for word; `make bench` runs them and writes this page. Each compares both
sides in one run on one machine: the ratios carry over to other machines better than the seconds do.
"""
LAST = ("scale",)  # it takes longest, so what the others say is there before


def scripts() -> list[str]:
    """Return the names of all benchmarks, in the order in which they run."""
    names = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_") and path.stem != "measure")
    return sorted(names, key=LAST.__contains__)


def title(name: str) -> str:
    """Return the title of a script's section: the first line of its docstring."""
    found = re.match(r'"""(.+?)(\.?"""|\.?\n)', (HERE / f"{name}.py").read_text("utf-8"))
    return found[1] if found else name


def run(name: str, options: Sequence[str]) -> str | None:
    """Run one benchmark; return its section, or None where it failed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    tell(f"\n{' '.join(['python', *command[1:]])}")
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    print(done.stdout, flush=True)
    if done.returncode:
        tell(f"benchmark {name} failed with exit code {done.returncode}: its section stays as it was")
        return None
    return section(name, options, done.stdout, time.monotonic() - started)


def section(name: str, options: Sequence[str], printed: str, seconds: float) -> str:
    """Return a section: the heading, what the script printed, and the run it is from."""
    shown = [Path(option).name if option.startswith("/") else option for option in options]  # no machine's own folders
    command = " ".join(["python -m", f"benchmarks.{name}", *shown])
    run_line = f"`{command}`, {datetime.date.today()}, {seconds:.0f} s. {machine()}."
    return f"## {name}\n\n{title(name)}.\n\n{printed.strip()}\n\n{run_line}\n"


def sections(document: str) -> dict[str, str]:
    """Return the sections of a document, by name."""
    found = re.split(r"^## ", document, flags=re.MULTILINE)[1:]
    return {text.partition("\n")[0].strip(): f"## {text.rstrip()}\n" for text in found}


def write(document: Path, new: dict[str, str]) -> None:
    """Put sections into the document in the scripts' order, the others left as they are; those of no script go."""
    kept = sections(document.read_text("utf-8")) if document.exists() else {}
    all_of_them = {**kept, **new}
    document.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([PREFACE, *(all_of_them[name] for name in scripts() if name in all_of_them)])
    document.write_text(text, "utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks named, or all; return how many failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of them; all without: {', '.join(scripts())}")
    parser.add_argument("--quick", action="store_true", help="small sizes; writes into the cache, not into docs/")
    parser.add_argument("--cache", type=Path, default=ROOT / "cache", help="where datasets and atlases are (%(default)s)")
    asked = parser.parse_args(argv)
    unknown = sorted(set(asked.names) - set(scripts()))
    if unknown:
        parser.error(f"no benchmark {unknown[0]}: there are {', '.join(scripts())}")
    demo_atlas(asked.cache)
    document = asked.cache / QUICK_DOCUMENT if asked.quick else DOCUMENT
    options = ["--quick"] if asked.quick else []
    options += ["--cache", str(asked.cache)] if asked.cache != ROOT / "cache" else []
    failed = 0
    for name in asked.names or scripts():
        made = run(name, options)
        failed += made is None
        write(document, {name: made} if made else {})  # after each: an interrupted run keeps what it has
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
