"""A volume of activations rendered without a screen: its levels as a stack of sheets, and seen along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from atlas.errors import AtlasError
from atlas.pages.figures_sheet import CRISP
from atlas.pages.figures_style import FAINT, INK, bare, heading, place, shortened, styled

RAMP = "magma"
WIDE, TALL = 0.52, 0.30  # of a sheet's width: how wide it is drawn, and how far its right edge stands higher
EDGE = 260  # pixels of a sheet as it is drawn
FAINTEST, DENSEST = 0.03, 0.95  # opacity of 0 and of 1: an empty level is still a pane
GAMMA = 2.5  # of the opacity: what is half as active is drawn a sixth as dense, so that what is behind shines through
BACK, RIM = (0.05, 0.055, 0.075), 0.35  # the paper behind a stack, rgb; the opacity of a sheet's edge
LENGTH, BETWEEN = 1180, 2.2  # pixels over which the sheets stand; the step between two layers, in levels
FIGURE = 9.6  # inches


@dataclass(frozen=True)
class Level:
    """A run of levels of one layer: its name, and from which level to before which."""

    layer: str
    start: int
    stop: int


def runs(layers: Sequence[str], cam: bool) -> list[Level]:
    """Return the layers as runs of levels, the class activation map as a run of its own."""
    names = [*layers[: len(layers) - cam], *(["class activation map"] if cam else [])]
    found: list[Level] = []
    for level, name in enumerate(names):
        if found and found[-1].layer == name:
            found[-1] = Level(name, found[-1].start, level + 1)
        else:
            found.append(Level(name, level, level + 1))
    return found


def spaced(found: Sequence[Level], length: int) -> np.ndarray:
    """Return where each sheet of a stack stands, 0 to `length` pixels, the layers a little apart: float64 [level]."""
    steps = [BETWEEN if level == run.start and level else 1.0 for run in found for level in range(run.start, run.stop)]
    places = np.cumsum(steps) - steps[0]
    return places * (length / max(float(places[-1]), 1.0))


def composite(planes: np.ndarray, opacity: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Lay planes over each other, the last in front: float64 [y, x, rgb].

    planes [plane, y, x, rgb], opacity [plane, y, x], paper [rgb] or [y, x, rgb]; each covers what is behind it by its
    opacity (Porter and Duff 1984, over).
    """
    seen: np.ndarray = np.broadcast_to(paper, planes.shape[1:]).astype(np.float64)
    for plane, share in zip(planes, opacity, strict=True):
        seen = seen * (1 - share[..., None]) + plane * share[..., None]
    return seen


def oblique(values: np.ndarray, places: np.ndarray, *, edge: int = EDGE, ramp: str = RAMP) -> np.ndarray:
    """Return a volume [level, y, x] of 0 to 1 seen obliquely: uint8 [y, x, rgb], the first level at the left and behind.

    Each level is a sheet turned about its upright edge, a parallelogram, `places` [level] pixels from the left, and as
    dense as it is active. NaN is drawn as 0.
    """
    if values.ndim != 3 or not values.size or len(places) != len(values):
        raise AtlasError(f"a volume of shape {values.shape}: give [level, y, x], at least one of each, and a place each")
    tall, wide, rise = round(edge * values.shape[1] / values.shape[2]), round(edge * WIDE), round(edge * TALL)
    height = tall + rise
    # where in a sheet each pixel of its parallelogram comes from, as Pillow's affine wants it
    turn = (edge / wide, 0.0, 0.0, rise / wide, 1.0, -float(rise))

    def turned(sheet: Image.Image) -> np.ndarray:
        return np.asarray(sheet.transform((wide, height), Image.Transform.AFFINE, turn, Image.Resampling.BILINEAR))

    whole = np.ones((tall, edge), np.float32)
    rim = whole.copy()
    rim[2:-2, 3:-3] = 0
    there, edges = turned(Image.fromarray(whole)), turned(Image.fromarray(rim))
    seen, colours = np.full((height, wide + round(places.max()) + 1, 3), BACK), colormaps[ramp]
    for level, at in zip(np.nan_to_num(values), places, strict=True):
        sheet = Image.fromarray(level.astype(np.float32)).resize((edge, tall), Image.Resampling.BICUBIC)
        drawn = turned(sheet).clip(0, 1)
        share = there * (FAINTEST + (DENSEST - FAINTEST) * drawn**GAMMA)
        behind = seen[:, round(at) : round(at) + wide]
        planes = np.stack([colours(drawn)[..., :3], np.ones((height, wide, 3))])
        behind[:] = composite(planes, np.stack([share, RIM * edges * there]), behind)
    return np.round(255 * seen.clip(0, 1)).astype(np.uint8)


@styled
def volume_figure(
    values: np.ndarray,
    layers: Sequence[str],
    *,
    cam: bool,
    title: str,
    note: str = "",
    picture: np.ndarray | None = None,
    at: tuple[int, int] | None = None,
) -> Figure:
    """Draw a volume [level, y, x] of 0 to 1: its sheets obliquely, its mean along the levels, and two slices across them.

    `layers` [level] are the levels' layers, the last the class activation map where `cam`; `picture` uint8 [y, x, rgb] is
    the image as the network was given it; the slices are at `at` y, x, by default the middle.
    """
    if len(layers) != len(values):
        raise AtlasError(f"{len(values)} levels and {len(layers)} names of layers: give one for each level")
    found = runs(layers, cam)
    places = spaced(found, LENGTH)
    drawn = oblique(values, places)
    wide = FIGURE - 0.5
    tall, front = wide * drawn.shape[0] / drawn.shape[1], 1.75
    figure = Figure(figsize=(FIGURE, 0.75 + tall + 0.85 + front + 0.75))
    heading(figure, shortened(title, 100), shortened(note, 170), left=0.25)
    axes = bare(place(figure, 0.25, 0.7, wide, tall))
    axes.imshow(drawn, interpolation="antialiased", aspect="auto")
    _names(axes, found, places, drawn)
    _below(figure, values, found, picture, at or (values.shape[1] // 2, values.shape[2] // 2), 0.7 + tall + 0.85, front)
    return figure


def _below(
    figure: Figure, values: np.ndarray, found: Sequence[Level], picture: np.ndarray | None, at: tuple[int, int], top: float,
    front: float,
) -> None:  # fmt: skip
    """Draw the input, the mean along the levels, and the slices at a y and at an x, with lines where these lie."""
    left = 0.25
    if picture is not None:
        smooth = "nearest" if max(picture.shape[:2]) < CRISP else "antialiased"
        one = bare(place(figure, left, top, front, front))
        one.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation=smooth, extent=(-0.5, values.shape[2] - 0.5,
                   values.shape[1] - 0.5, -0.5), aspect="auto")  # fmt: skip
        _titled(one, "the input", at)
        left += front + 0.25
    one = bare(place(figure, left, top, front, front))
    one.imshow(np.nanmean(values, axis=0), cmap=RAMP, aspect="auto")
    _titled(one, "mean of all levels", at)
    left += front + 0.3
    rest = (FIGURE - 0.25 - left - 0.25) / 2
    for name, across, slice_ in (("y", "x", values[:, at[0]]), ("x", "y", values[:, :, at[1]])):
        one = place(figure, left, top, rest, front)
        one.imshow(slice_.T, cmap=RAMP, vmin=0, vmax=1, aspect="auto")
        one.set_title(f"slice at {name} = {at[0] if name == 'y' else at[1]}", fontsize=8.5, fontweight="normal")
        one.set_yticks([])
        one.set_ylabel(across, fontsize=8)
        one.set_xlabel("level", fontsize=8)
        one.tick_params(labelsize=7.5)
        for run in found[1:]:
            one.axvline(run.start - 0.5, color="white", linewidth=0.6, alpha=0.8)
        left += rest + 0.25


def _titled(axes: Axes, words: str, at: tuple[int, int]) -> None:
    axes.set_title(words, fontsize=8.5, fontweight="normal")
    axes.axhline(at[0], color="white", linewidth=0.6, alpha=0.7)
    axes.axvline(at[1], color="white", linewidth=0.6, alpha=0.7)


def _names(axes: Axes, found: Sequence[Level], places: np.ndarray, drawn: np.ndarray) -> None:
    """Write under the stack which sheets are of which layer; of many, names stand on two lines in turn."""
    for number, run in enumerate(found):
        ends = places[run.start], places[run.stop - 1] + 12
        y = drawn.shape[0] + 8
        axes.plot(ends, [y, y], color=INK, linewidth=1.4, clip_on=False, solid_capstyle="butt")
        low = number % 2 == 1 and len(found) > 6
        axes.text(sum(ends) / 2, y + (38 if low else 10), shortened(run.layer, 24), fontsize=7.5, ha="center", va="top",
                  color=FAINT, clip_on=False)  # fmt: skip
    axes.set_xlim(0, drawn.shape[1])
    axes.set_ylim(drawn.shape[0], 0)
