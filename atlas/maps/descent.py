"""UMAP's stochastic gradient descent in the plane, compiled, and byte for byte the same however many threads share it.

umap-learn's own, with its schedule: an edge is visited as often as its weight says, pulls both its ends, and its first
end is then pushed off by points drawn at random. Three things differ. The power is a polynomial instead of the library
call. The pushes of one visit are all reckoned from one place, so that the processor overlaps them. And large maps are
descended in blocks of points: two blocks at a time meet, as in a tournament, so that no two threads touch one point, and
the random points are read where they stood when the epoch began. Blocks by Gemulla et al., KDD 2011 (doi
10.1145/2020408.2020426); the rest is McInnes, Healy, Melville, arXiv 1802.03426.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from atlas.maps.umap import default_epochs
from atlas.progress import Advance

BLOCKS = 8  # four pairs of blocks meet at a time; fixed, so that the result does not depend on the machine
IN_BLOCKS_FROM = 20_000  # points: with fewer a meeting is over sooner than a thread can be woken
RATE = 5.0  # random points per visit of an edge, umap-learn's default
NEAR = np.float32(0.001)  # added to a squared distance before a push divides by it, as in umap-learn
MOST = np.float32(4.0)  # no step along an axis is longer than this times the learning rate, as in umap-learn
ZERO = np.float32(0)
OCTAVES = -40, 40  # powers of two of a squared distance between which the forces are tabled
FINE = 16  # low bits of a float32 between two entries: 128 entries per octave, straight between them to 5e-5 of the force
FIRST = np.int32((127 + OCTAVES[0]) << 23 >> FINE)  # the high bits of the first entry


def descend(
    graph: Any,
    start: np.ndarray,
    *,
    a: float,
    b: float,
    epochs: int,
    random: np.random.RandomState,
    threads: int = 1,
    advance: Advance = lambda done: None,
) -> np.ndarray:
    """Return the layout, float32 [point, 2], of a sparse symmetric `graph` [point, point] from `start` [point, 2].

    `a` and `b` are the curve's, 1 / (1 + a·d²ᵇ). The learning rate falls from 1 to 0 over the `epochs`, which are told to
    `advance` one by one.
    """
    xy = _within_ten(start)
    edges = edges_of(graph, epochs, blocks=BLOCKS if len(xy) >= IN_BLOCKS_FROM else 1)
    states = random_states(xy, random)
    pulls, pushes = forces(a, b)
    with ThreadPoolExecutor(threads) as pool:
        for epoch in range(epochs):
            rate = 1.0 - max(0, epoch - 1) / epochs  # umap-learn's second epoch is as bold as its first
            one_epoch(xy, edges, states, pulls=pulls, pushes=pushes, rate=rate, epoch=epoch, pool=pool)
            advance(1)
    return xy


@dataclass
class Edges:
    """The edges of a graph in the order they are visited, and the epochs at which each is due."""

    head: np.ndarray  # [edge]
    tail: np.ndarray
    every: np.ndarray  # epochs between two visits
    due: np.ndarray  # the epoch of the next visit
    pushed: np.ndarray  # the epoch up to which random points have pushed
    rounds: list[list[tuple[int, int]]]  # spans of edges: those of a round share no point


def edges_of(graph: Any, epochs: int, *, blocks: int) -> Edges:
    """Return the edges that are visited at all in so many epochs, those of two blocks of points beside each other."""
    graph = graph.tocsr(copy=True)
    graph.sum_duplicates()
    # umap-learn's rule: what is lighter than one visit is left out; up to ten epochs, what its default would leave out.
    graph.data[graph.data < graph.data.max() / (epochs if epochs > 10 else default_epochs(graph.shape[0]))] = 0
    graph.eliminate_zeros()
    edges = graph.tocoo()
    every = epochs / (epochs * (edges.data / edges.data.max())).astype(np.float64)
    head, tail = (block_of(ends, graph.shape[0], blocks) for ends in (edges.row, edges.col))
    pair = np.minimum(head, tail) * blocks + np.maximum(head, tail)
    order = np.argsort(pair.astype(np.int16), kind="stable")
    starts = np.searchsorted(pair[order], np.arange(blocks * blocks + 1)).tolist()
    rounds = [[(starts[i * blocks + j], starts[i * blocks + j + 1]) for i, j in pairs] for pairs in tournament(blocks)]
    every = every[order]
    return Edges(edges.row[order], edges.col[order], every, every.copy(), every / RATE, rounds)


def block_of(points: np.ndarray, count: int, blocks: int) -> np.ndarray:
    """Return the block that each of some of `count` points is in: runs of nearly equal length."""
    return points.astype(np.int64) * blocks // count


def tournament(players: int) -> list[list[tuple[int, int]]]:
    """Return rounds of pairs, the smaller first: each meets itself, then each other once. An even number, or one."""
    first = [(player, player) for player in range(players)]
    circle, rounds = list(range(players)), [first]
    for _ in range(players - 1):
        rounds.append([(min(pair), max(pair)) for pair in zip(circle[: players // 2], circle[::-1], strict=False)])
        circle = [circle[0], circle[-1], *circle[1:-1]]
    return rounds


def random_states(xy: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return each point's own generator, int64 [point, 3]: umap-learn's, one seed with the point's place added."""
    limit = np.iinfo(np.int32)
    seed = random.randint(limit.min + 1, limit.max - 1, 3).astype(np.int64)
    return seed + xy[:, :1].astype(np.float64).view(np.int64)


def one_epoch(
    xy: np.ndarray,
    edges: Edges,
    states: np.ndarray,
    *,
    pulls: np.ndarray,
    pushes: np.ndarray,
    rate: float,
    epoch: int,
    pool: ThreadPoolExecutor,
) -> None:
    """Visit the edges that are due, moving `xy` in place by the `forces`."""
    seen = xy if len(edges.rounds) == 1 else xy.copy()
    how: tuple[Any, ...] = (np.float32(rate), epoch, RATE, FIRST)

    def meet(span: tuple[int, int]) -> None:
        visit(xy, seen, edges.head, edges.tail, edges.every, edges.due, edges.pushed, states, pulls, pushes, *span, *how)

    for spans in edges.rounds:
        list(pool.map(meet, spans))


def forces(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much two points' difference is scaled to pull and to push them, float32 [entry, 2]: value and slope.

    The gradients of umap-learn's `optimize_layout_euclidean`, per squared distance; an entry is a float32's high bits.
    """
    entries = np.arange(FIRST, FIRST + ((OCTAVES[1] - OCTAVES[0]) << 23 >> FINE) + 1, dtype=np.int32)
    squared = (entries << FINE).view(np.float32).astype(np.float64)
    curve = a * squared**b
    pull, push = -2 * b * curve / (squared * (1 + curve)), 2 * b / ((NEAR + squared) * (1 + curve))
    return tabled(pull), tabled(push)


def tabled(values: np.ndarray) -> np.ndarray:
    """Return each value and, per step of the lowest bit, its way to the next."""
    return np.stack([values[:-1], np.diff(values) / (1 << FINE)], axis=1).astype(np.float32)


def _within_ten(start: np.ndarray) -> np.ndarray:
    """Return places moved and stretched to 0 to 10 along both axes, as umap-learn does before it descends."""
    low, high = start.min(axis=0), start.max(axis=0)
    return (10.0 * (start - low) / np.where(high > low, high - low, 1.0)).astype(np.float32, order="C")


# ---------------------------------------------------------------------------------------------------------------------
# Compiled


@njit(inline="always", fastmath=True)
def force(table: Any, squared: Any, first: Any) -> Any:
    """Return the force of a `table` of `forces` at a squared distance; outside of it, about that of its end."""
    bits = np.float32(squared).view(np.int32)
    entry = min(max((bits >> np.int32(FINE)) - first, np.int32(0)), np.int32(len(table) - 1))
    return table[entry, 0] + table[entry, 1] * np.float32(bits & np.int32((1 << FINE) - 1))


@njit(inline="always", fastmath=True)
def bounded(step: Any) -> Any:
    """Return a step within ±MOST."""
    return min(max(step, -MOST), MOST)


@njit(inline="always")
def drawn(s0: Any, s1: Any, s2: Any) -> Any:
    """Return the next state of L'Ecuyer's three-part Tausworthe generator, as umap-learn has it."""
    s0 = (((s0 & 4294967294) << 12) & 0xFFFFFFFF) ^ ((((s0 << 13) & 0xFFFFFFFF) ^ s0) >> 19)
    s1 = (((s1 & 4294967288) << 4) & 0xFFFFFFFF) ^ ((((s1 << 2) & 0xFFFFFFFF) ^ s1) >> 25)
    s2 = (((s2 & 4294967280) << 17) & 0xFFFFFFFF) ^ ((((s2 << 3) & 0xFFFFFFFF) ^ s2) >> 11)
    return s0, s1, s2


@njit(fastmath=True, nogil=True, cache=True)
def visit(
    xy: Any, seen: Any, head: Any, tail: Any, every: Any, due: Any, pushed: Any, states: Any, pulls: Any, pushes: Any,
    first: int, last: int, rate: Any, epoch: int, draws: float, entry: Any,
) -> None:  # fmt: skip
    """Visit the edges from `first` to before `last` that are due; random points are read in `seen`, `xy` itself or older."""
    points = np.uint32(len(xy))
    for edge in range(first, last):
        if due[edge] > epoch:
            continue
        i, j = head[edge], tail[edge]
        x, y = xy[i, 0], xy[i, 1]
        dx, dy = x - xy[j, 0], y - xy[j, 1]
        squared = dx * dx + dy * dy
        if squared > ZERO:
            pull = force(pulls, squared, entry)
            dx, dy = bounded(pull * dx) * rate, bounded(pull * dy) * rate
            x, y = x + dx, y + dy
            xy[j, 0] -= dx
            xy[j, 1] -= dy
        due[edge] += every[edge]
        step = every[edge] / draws
        count = int((epoch - pushed[edge]) / step)
        pushed[edge] += count * step
        s0, s1, s2 = states[i, 0], states[i, 1], states[i, 2]
        far_x, far_y = ZERO, ZERO
        for _ in range(count):
            s0, s1, s2 = drawn(s0, s1, s2)
            other = np.uint32(s0 ^ s1 ^ s2) % points
            dx, dy = x - seen[other, 0], y - seen[other, 1]
            push = force(pushes, dx * dx + dy * dy, entry) if other != i else ZERO
            far_x += bounded(push * dx)
            far_y += bounded(push * dy)
        states[i, 0], states[i, 1], states[i, 2] = s0, s1, s2
        xy[i, 0], xy[i, 1] = x + far_x * rate, y + far_y * rate
