"""The public `query`: an image file is asked of the worker, what the atlas holds is read from its records.

Imports neither pandas nor numpy: `atlas query ATLAS FILE` takes little more than the worker's own time.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError
from atlas.files import is_file as exists_as_file
from atlas.worker.client import Worker
from atlas.worker.protocol import TIMEOUT

if TYPE_CHECKING:
    from atlas.atlas import Atlas

NAMED = re.compile(r"-?[0-9]+|[0-9a-f]{16}(-[0-9]+)?")  # a row, or an image_id: never taken for a file's name


def query(
    atlas: str | os.PathLike[str] | Atlas,
    image: Any,
    *,
    k: int = 10,
    layer: str | None = None,
    network: str | int | None = None,
    sheet: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT,
) -> dict[str, Any]:
    """Return the k nearest images of a row, an image_id or an image file, and what the network says of it.

    Of a file also its place in every layout of the layer; it goes through the worker, a process that keeps the network in
    memory, and `timeout` is how many seconds that may take. `sheet` names a PNG to write the answer to as a contact sheet.
    """
    if not is_file(image):
        from atlas.verbs import query as of_row

        return of_row(atlas, image, k=k, layer=layer, network=network, sheet=sheet)
    if sheet is not None:
        from atlas.verbs import check_writable

        check_writable(sheet, (".png",))
    if k < 1:
        raise AtlasError(f"k is {k}: at least 1 would do")
    root = Path(atlas) if isinstance(atlas, str | os.PathLike) else atlas.store.root
    answer = Worker(root).see(Path(image), layer=layer, network=network, k=k, timeout=timeout)
    answer = {name: value for name, value in answer.items() if name not in ("thumbnail", "points")} | {"query": str(image)}
    if sheet is not None:
        from atlas.atlas import open_atlas
        from atlas.verbs import write_sheet

        write_sheet(open_atlas(root), image, answer, Path(sheet))
    return answer


def is_file(image: Any) -> bool:
    """Tell whether a query names a file; AtlasError where it names nothing at all."""
    if isinstance(image, os.PathLike):
        return True
    return isinstance(image, str) and not NAMED.fullmatch(image) and exists_as_file(Path(image))
