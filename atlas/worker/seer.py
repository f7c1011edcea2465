"""The worker's own view of its atlas: opened again when it has changed, its networks kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.atlas import Atlas
from atlas.errors import AtlasError, one_line
from atlas.looking import MOST_UNITS, as_input, check_layers, edges, look, packed, spatial_layers, worth_a_look
from atlas.propagated import packed as packed_way
from atlas.seeing import Seeing, Space
from atlas.worker.protocol import Question

if TYPE_CHECKING:
    from atlas.models.network import Network


class StaleError(AtlasError):
    """A network could not be loaded in this process.

    `worth_trying` tells whether another process might load it: this one had been in use, perhaps with an older module of
    the same name, or was started where the module is not found.
    """

    def __init__(self, reason: object, *, worth_trying: bool):
        super().__init__(str(reason))
        self.worth_trying = worth_trying


class Seer:
    """One atlas and its networks, used by one thread."""

    def __init__(self, root: Path):
        self.root = root
        self.stamp: tuple[int, int] | None = None
        self.seeing: Seeing | None = None
        self.networks: dict[str, Network] = {}  # those in memory, by name
        self.asked = 0  # questions so far, this one included
        self.failed = False  # a network could not be loaded: this process ends, and another is worth trying
        self.since: float | None = None  # when the run under way began, its network loaded

    def see(self, question: Question, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Return what the atlas's network says of the image in `body`, and its thumbnail."""
        seeing = self._taken()
        picture = seeing.decoded(body, question.name)
        space = seeing.space(question.layer, question.activations, network=question.network)
        row = seeing.row_of(body)
        if row is None:
            self._load(space)
        with self._running():
            answer = seeing.see(row, picture, space, k=question.k, method=question.method, vectors=question.vectors)
        return {"query": question.name, **answer}, seeing.thumbnail(picture)

    def maps(self, question: Question, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Return the strongest activation maps of an image in some layers, and the image as the network is given it.

        The bytes are that picture's PNG, ``picture`` of them, and then the maps, uint8, as `atlas.looking.packed` has them.
        """
        seeing = self._taken()
        space = seeing.space(question.layer, question.activations, network=question.network)
        picture = seeing.picture(question.row) if question.row is not None else seeing.decoded(body, question.name)
        record = space.network_record
        wanted = list(question.maps) or worth_a_look(record.layers, space.recorded, edges(record.preprocess))
        check_layers(wanted, record.layers)
        self._load(space)
        network = space.atlas.network(space.activations[0])
        with self._running():
            told, pixels = packed(look(network, picture, wanted, units=min(question.k, MOST_UNITS)))
        shown = as_input(network, picture)
        every = spatial_layers(record.layers)
        return {"query": question.name, "layers": told, "others": every, "picture": len(shown)}, shown + pixels

    def propagate(self, question: Question, body: bytes) -> tuple[dict[str, Any], bytes]:
        """Return what each layer makes of an image, place by place: what is told and its bytes, as `packed_way` has them."""
        seeing = self._taken()
        space = seeing.space(question.layer, question.activations, network=question.network)
        row = seeing.row_of(body) if question.row is None else question.row
        picture = seeing.decoded(body, question.name) if question.row is None else seeing.picture(question.row)
        self._load(space)
        from atlas.propagating import of_picture  # after what says that there is no torch

        with self._running():
            found = of_picture(space.atlas, picture, list(question.maps) or None, row=row, name=question.name)
        told, pixels = packed_way(found)
        return {"query": question.name, **told}, pixels

    def _taken(self) -> Seeing:
        """Count a question and return the atlas opened; StaleError once a network could not be loaded."""
        self.asked += 1
        if self.failed:
            raise StaleError("this worker is ending", worth_trying=True)
        return self.opened()

    @contextmanager
    def _running(self) -> Iterator[None]:
        self.since = time.monotonic()
        try:
            yield
        finally:
            self.since = None

    def seconds(self) -> float:
        """Return how long the run under way has taken, loading left out."""
        since = self.since
        return 0.0 if since is None else time.monotonic() - since

    def opened(self) -> Seeing:
        """Return the atlas, opened anew where atlas.json has changed; networks that it still shows stay in memory."""
        stamp = stamp_of(self.root / "atlas.json")
        if self.seeing is None or stamp != self.stamp:
            atlas = Atlas(self.root, networks=self.networks)
            for name in set(self.networks) - set(atlas.headers):
                del self.networks[name]
            self.seeing, self.stamp = Seeing(atlas), stamp
        return self.seeing

    def _load(self, space: Space) -> None:
        self.failed = True
        try:
            space.atlas.network(space.activations[0])
            self.failed = False
        except ImportError as reason:
            raise StaleError(f"a new image needs torch: {one_line(reason)}", worth_trying=False) from None
        except AtlasError as reason:
            raise StaleError(reason, worth_trying=self.asked > 1) from None


def stamp_of(path: Path) -> tuple[int, int]:
    """Return what changes when a file is replaced: its time and its inode; zeros where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino
