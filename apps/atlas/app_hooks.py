"""Run by Bokeh when the server starts, twice in each process: adds what the page fetches beside its websocket."""

import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

from atlas.pages.routes import install_routes  # noqa: E402
from atlas.serving import end_with_starter  # noqa: E402
from atlas.worker import Worker  # noqa: E402
from atlas.worker.protocol import MOST_BYTES  # noqa: E402


def see(root: Path, image: bytes, **question: Any) -> dict[str, Any]:
    """Ask the worker of the atlas in `root` what its network says of a new image."""
    return Worker(root).see(image, **question)


def maps(root: Path, image: bytes | int, **question: Any) -> dict[str, Any]:
    """Ask the worker of the atlas in `root` for the activation maps of an image: its row in the atlas, or its bytes."""
    return Worker(root).maps(image, **question)


def way(root: Path, image: bytes | int, **question: Any) -> dict[str, Any]:
    """Ask the worker of the atlas in `root` what each layer makes of an image: its row in the atlas, or its bytes."""
    return Worker(root).propagate(image, **question)


def on_server_loaded(server_context: Any) -> None:
    """End with the notebook that shows this server, if one does."""
    end_with_starter()


install_routes(see, maps=maps, way=way, most=MOST_BYTES)
