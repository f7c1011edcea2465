"""Run by Bokeh when the server starts, twice in each process: adds what the page fetches beside its websocket."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

from atlas.pages.routes import install_routes  # noqa: E402

install_routes()
