"""The image graph as a picture: thumbnails where there is room, dots elsewhere, joined by lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlas.pages.colours import WRONG
from atlas.pages.figures_style import FAINT, heading, place, shortened, styled

SIDE = 16.0  # inches of the picture's square
EDGE, LARGEST = 0.17, 0.28  # inches of a thumbnail: of many 26 pixels, a Fashion-MNIST image as it is; of few at most 42
SHARE = 0.55  # of the side of a node's share of the picture, where they are few
FAR, ROOM = 0.01, 0.08  # share of nodes at each end that may lie far out, and how far, of the extent of the others
TOP, BOTTOM = 0.62, 0.5  # inches above and below the square
MARGIN = 0.2
MANY = 20_000  # edges from which lines are thinner
NAMED = 20  # classes in the legend


@styled
def image_graph(
    xy: np.ndarray,
    edges: np.ndarray,
    thumbnail: Callable[[int], Any],
    *,
    crossing: np.ndarray,
    codes: np.ndarray,
    labels: Sequence[str],
    colours: Sequence[str],
    title: str,
    note: str,
) -> Figure:
    """Draw nodes at `xy` [node, 2], joined by `edges` [edge, 2]; those `crossing` [edge] are orange and on top.

    `thumbnail` gives a node's picture; each that finds room is drawn, framed in its class's colour, the others are dots.
    `codes` [node] index `labels` and `colours`, whose last is of those without a label, -1.
    """
    figure = Figure(figsize=(SIDE + 2 * MARGIN, SIDE + TOP + BOTTOM))
    heading(figure, shortened(title, 100), shortened(note, 200), left=MARGIN)
    axes = place(figure, MARGIN, TOP, SIDE, SIDE)
    xy, moved = within(xy)
    low, high = xy.min(axis=0), xy.max(axis=0)
    extent = float((high - low).max()) or 1.0
    edge = float(np.clip(SHARE * SIDE / np.sqrt(len(xy)), EDGE, LARGEST))
    spot = (xy - (low + high) / 2) / extent * (SIDE - 2 * edge) + SIDE / 2  # inches
    axes.set(xlim=(0, SIDE), ylim=(0, SIDE))
    axes.axis("off")
    _lines(axes, spot[edges[~crossing]], FAINT, 0.32, len(edges))
    _lines(axes, spot[edges[crossing]], WRONG, 0.75, len(edges))
    own = np.array(colours)[codes]
    axes.scatter(spot[:, 0], spot[:, 1], s=3, c=own, linewidths=0, zorder=2)
    for node in roomy(spot, edge):
        _picture(axes, spot[node], np.asarray(thumbnail(int(node))), str(own[node]), edge)
    if moved:
        axes.text(SIDE, SIDE, f"{moved} that lie farther out stand at the edge", ha="right", fontsize=8.5, color=FAINT)
    _legend(axes, labels, colours, np.unique(codes[codes >= 0]))
    return figure


def within(xy: np.ndarray) -> tuple[np.ndarray, int]:
    """Return places [node, 2] of which the few that lie far out are moved to the edge of the others, and how many.

    A small component has no edge to the rest that would say how far from it to lie.
    """
    low, high = np.quantile(xy, [FAR, 1 - FAR], axis=0)
    room = ROOM * float((high - low).max())
    held = np.clip(xy, low - room, high + room)
    return held, int((held != xy).any(axis=1).sum())


def roomy(spot: np.ndarray, edge: float) -> np.ndarray:
    """Return which nodes can be drawn as squares of an `edge` without touching, the first of each cell of a grid: int."""
    kept: dict[tuple[int, int], int] = {}
    cells = np.floor(spot / (1.1 * edge)).astype(int)
    for node, (x, y) in enumerate(cells.tolist()):
        around = [kept.get((x + i, y + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        if all(other is None or np.abs(spot[node] - spot[other]).max() >= 1.1 * edge for other in around):
            kept[x, y] = node
    return np.array(list(kept.values()), int)


def _lines(axes: Axes, ends: np.ndarray, colour: str, alpha: float, count: int) -> None:
    from matplotlib.collections import LineCollection

    width = 0.35 if count > MANY else 0.6
    axes.add_collection(LineCollection(list(ends), colors=colour, alpha=alpha, linewidths=width, zorder=1))


def _picture(axes: Axes, middle: np.ndarray, pixels: np.ndarray, colour: str, edge: float) -> None:
    from matplotlib.patches import Rectangle

    (x, y), half = middle, edge / 2
    box = (x - half, x + half, y - half, y + half)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=box, zorder=3, interpolation="antialiased", aspect="auto")
    axes.add_patch(Rectangle((x - half, y - half), edge, edge, fill=False, edgecolor=colour, linewidth=1.1, zorder=4))


def _legend(axes: Axes, labels: Sequence[str], colours: Sequence[str], present: np.ndarray) -> None:
    from matplotlib.lines import Line2D

    if not 0 < len(present) <= NAMED:
        return
    marks = [
        Line2D([], [], marker="s", linestyle="", color=colours[code], label=shortened(labels[code], 24)) for code in present
    ]
    axes.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=10, fontsize=9, handletextpad=0.1)
