"""The explorer: `bokeh serve apps/atlas` lists the atlases of the cache, `--args PATH` opens one."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
if str(REPOSITORY) not in sys.path:  # a clone whose dependencies are installed but not the package itself
    sys.path.insert(0, str(REPOSITORY))

from bokeh.io import curdoc  # noqa: E402

from atlas.pages.explorer import build_document  # noqa: E402
from atlas.pages.shelf import cache_folder  # noqa: E402

build_document(curdoc(), cache=cache_folder(REPOSITORY), path=sys.argv[1] if len(sys.argv) > 1 else None)
