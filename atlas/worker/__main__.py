"""The worker of one atlas: ``python -m atlas.worker ATLAS``. Clients start it; nobody needs to."""

import argparse
import os
import sys
from pathlib import Path

from atlas.errors import AtlasError
from atlas.worker.protocol import IDLE, IDLE_VARIABLE, Spot
from atlas.worker.server import serve


def main() -> None:
    """Serve one atlas until nobody asks any more; a mistake is one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", type=Path, help="the atlas's folder")
    parser.add_argument("--idle", type=float, help=f"seconds without a question after which it ends; default: {IDLE:g}")
    options = parser.parse_args()
    try:
        serve(Spot.of(options.atlas), idle=idle_seconds(options.idle))
    except AtlasError as mistake:
        sys.exit(f"atlas.worker: {mistake}")


def idle_seconds(given: float | None) -> float:
    """Return the seconds given, else those in the environment, else the default."""
    said = os.environ.get(IDLE_VARIABLE) if given is None else str(given)
    try:
        seconds = float(said or IDLE)
    except ValueError:
        raise AtlasError(f"{IDLE_VARIABLE} is {said!r}: a number of seconds would do") from None
    if not seconds > 0:
        raise AtlasError(f"{seconds:g} idle seconds: more than 0 would do")
    return seconds


main()
