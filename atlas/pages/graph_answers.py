"""What the page fetches of an image graph: its edges, how often each point stands in lists, its communities."""

from __future__ import annotations

from atlas.pages import graphs
from atlas.pages.serving import KEY, Answer, Routes, as_json, owner_of, raw


def edges(key: str) -> Answer:
    """Return the two points of every edge: int32 [2, edge]."""
    return raw(graphs.edges(owner_of(key, "graph"), key))


def lists(key: str) -> Answer:
    """Return in how many lists every point stands, and how many of them are of another label: uint16 [2, point]."""
    return raw(graphs.lists(owner_of(key, "graph"), key))


def community(key: str) -> Answer:
    """Return each image's community: uint16 [image]."""
    return raw(graphs.community_codes(owner_of(key, "graph"), key))


def names(key: str) -> Answer:
    """Return the names of the communities."""
    return as_json(graphs.community_names(owner_of(key, "graph"), key))


ROUTES: Routes = [
    (rf"/graph/{KEY}/edges\.bin", edges),
    (rf"/graph/{KEY}/lists\.bin", lists),
    (rf"/graph/{KEY}/community\.bin", community),
    (rf"/graph/{KEY}/communities\.json", names),
]
