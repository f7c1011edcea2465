"""One image's pattern against its class and the runner-up, and how both pattern and prediction go as it is disturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from atlas.pages.figures_sheet import CRISP
from atlas.pages.figures_style import (
    BLUE,
    FAINT,
    INK,
    LINE,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    bare,
    heading,
    place,
    shortened,
    styled,
)
from atlas.patterns.courses import ORDERS, Against, Course
from atlas.patterns.deviation import LEVEL

MOST = 4.0  # scales at the ends of the colours, as in the explorer
UNITS = 24  # drawn one by one: half of them the farthest from either class
LEFT, WIDE, PICTURE = 0.3, 12.9, 1.9  # inches
ROW = 2.15, 4.9, 8.35  # inches from the top of the rows: unit by unit, courses, and where the figure ends
SIDES = BLUE, ORANGE  # the class predicted, the runner-up


@styled
def pattern_figure(
    picture: np.ndarray,
    vector: np.ndarray,
    sides: Sequence[Against],
    courses: Sequence[Course],
    *,
    names: Sequence[str],
    title: str,
    note: str = "",
) -> Figure:
    """Draw one image: every unit's deviation from each of `sides`, the farthest units, and its `courses`.

    `picture` is uint8 [rgb, y, x] as the network takes it, `vector` [unit]; `sides` are the predicted class and, where there
    is one, the runner-up; `names` those of the outputs.
    """
    bottom = ROW[2] if courses else ROW[1]
    figure = Figure(figsize=(WIDE, bottom + 0.05))
    heading(figure, shortened(title, 110), shortened(note, 190), left=LEFT)
    _picture(place(figure, LEFT, 0.75, PICTURE, PICTURE - 0.3), picture)
    for number, side in enumerate(sides):
        top = 0.98 + 0.82 * number
        _fingerprint(place(figure, 2.5, top, 6.6, 0.36), side, SIDES[number], last=number == len(sides) - 1)
    _histogram(place(figure, 9.75, 0.98, 2.85, 1.18), sides)
    _units(place(figure, LEFT + 0.45, ROW[0] + 0.75, WIDE - 1.05, 1.55), vector, sides)
    each = min((WIDE - LEFT) / max(len(courses), 1), 4.0)
    for number, course in enumerate(courses):
        _course(figure, LEFT + 0.4 + each * number, ROW[1], each - 0.55, course, names)
    return figure


def _picture(axes: Axes, pixels: np.ndarray) -> None:
    shown = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    smooth = "nearest" if max(shown.shape[:2]) < CRISP else "antialiased"
    bare(axes).imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
    axes.set_anchor("NW")


def _fingerprint(axes: Axes, side: Against, colour: str, *, last: bool) -> None:
    """Draw each unit's deviation as a cell, in the order of the units."""
    shown = np.ma.masked_invalid(side.deviations[None])
    axes.set_facecolor(LINE)
    axes.imshow(shown, cmap="RdBu_r", norm=Normalize(-MOST, MOST), aspect="auto", interpolation="nearest")
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.tick_params(labelsize=7, length=0, labelbottom=last)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.4)
    where = "outside" if side.outside else "within"
    farther = f"farther out than {side.nearer} of its {side.of} images"
    said = f"{shortened(side.label, 24)}  {side.probability:.1%}   distance {side.distance:.2f}, limit {side.limit:.2f}"
    axes.set_title(f"{said}: {where}; {farther}", fontsize=8.5, color=INK, fontweight="normal", pad=4)
    if last:
        words = f"unit; red above the class's mean, blue below, full colour at {MOST:g} standard deviations"
        axes.set_xlabel(words, fontsize=7.5)


def _histogram(axes: Axes, sides: Sequence[Against]) -> None:
    """Draw how far the classes' own images lie, and the image."""
    most = max(max(float(np.quantile(side.distances, 0.999)), side.distance, side.limit) for side in sides) * 1.06
    for side, colour in zip(sides, SIDES, strict=False):
        axes.hist(side.distances, bins=np.linspace(0, most, 60).tolist(), color=colour, alpha=0.55, rwidth=1)
        axes.axvline(side.limit, color=colour, linewidth=1, linestyle=(0, (3, 2)))
        axes.axvline(side.distance, color=colour, linewidth=2)
    axes.set_yticks([])
    axes.set_xlim(0, most)
    axes.tick_params(labelsize=7)
    axes.set_title("the classes' own images", fontsize=8.5, color=INK, fontweight="normal", pad=4)
    axes.set_xlabel(f"distance; dashed: limit, {LEVEL:.0%} lie within; thick: this image", fontsize=7.5)


def farthest_units(sides: Sequence[Against], count: int = UNITS) -> np.ndarray:
    """Return the units farthest from either class, as many of each, in the order of the units: int64 [unit]."""
    each = -(-count // len(sides))
    order = [np.argsort(-np.nan_to_num(np.abs(side.deviations)), kind="stable")[:each] for side in sides]
    return np.unique(np.concatenate(order))[:count]


def _units(axes: Axes, vector: np.ndarray, sides: Sequence[Against]) -> None:
    """Draw single units: each class's mean and standard deviation, and the image's value."""
    units = farthest_units(sides)
    at = np.arange(len(units))
    for number, (side, colour) in enumerate(zip(sides, SIDES, strict=False)):
        x = at + 0.16 * (2 * number - 1) * (len(sides) > 1)
        axes.errorbar(
            x, side.mean[units], side.std[units], fmt="_", color=colour, linewidth=3, markersize=7, alpha=0.8,
            label=f"{shortened(side.label, 20)}: mean ± standard deviation",
        )  # fmt: skip
    axes.scatter(at, vector[units], marker="D", s=22, color=INK, zorder=3, label="this image")
    axes.set_xticks(at, [str(unit) for unit in units], fontsize=7.5)
    axes.set_xlim(-0.7, len(units) - 0.3)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7.5)
    axes.set_ylabel("activation", fontsize=8)
    axes.set_title("the units that lie farthest out of either class", fontsize=8.5, color=INK, fontweight="normal", pad=6)
    axes.legend(fontsize=7.5, ncols=3, loc="lower right", bbox_to_anchor=(1, 1.0), borderaxespad=0, handlelength=1.0)


def _course(figure: Figure, left: float, top: float, wide: float, course: Course, names: Sequence[str]) -> None:
    """Draw one disturbance: the images, the distance, and the probability of what is predicted."""
    steps = len(course.strength)
    edge = wide / steps
    for step in range(steps):
        _picture(place(figure, left + step * edge, top + 0.4, edge * 0.94, edge * 0.94), course.pictures[step])
    _title(figure, course, left, top)
    axes = place(figure, left, top + 0.48 + edge, wide, 1.3)
    axes.plot(course.distance, color=BLUE, marker="o", markersize=3.5, linewidth=1.4)
    axes.axhline(course.limit, color=BLUE, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_ylim(0, 1.08 * max(float(np.nanmax(course.distance)), course.limit))
    for event, colour in ((course.breaks, BLUE), (course.changes, VERMILION)):
        if event is not None:
            axes.axvline(event, color=colour, linewidth=5, alpha=0.22)
    axes.set_ylabel("distance", fontsize=7.5, labelpad=1)
    _step_axis(axes, steps)
    axes.set_xticklabels([])
    _bars(place(figure, left, top + 1.88 + edge, wide, 0.75), course, names)


def _title(figure: Figure, course: Course, left: float, top: float) -> None:
    wide, tall = figure.get_size_inches()
    figure.text(left / wide, 1 - top / tall, course.kind, fontsize=9, fontweight="bold", va="top")
    figure.text(left / wide, 1 - (top + 0.17) / tall, told_first(course), fontsize=8.5, color=FAINT, va="top")


def _step_axis(axes: Axes, steps: int) -> None:
    axes.set_xlim(-0.5, steps - 0.5)
    axes.set_xticks(range(steps))
    axes.tick_params(labelsize=7, length=2)


def _bars(axes: Axes, course: Course, names: Sequence[str]) -> None:
    same = course.prediction == course.prediction[0]
    axes.bar(range(len(same)), course.probability, color=[SKY if one else VERMILION for one in same], width=0.84)
    for step, output in enumerate(course.prediction.tolist()):
        axes.text(step, 0.05, shortened(names[output], 12), rotation=90, ha="center", va="bottom", fontsize=6, color=INK)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1], ["0", "1"])
    axes.set_ylabel("probability", fontsize=7.5, labelpad=1)
    _step_axis(axes, len(same))
    axes.set_xticklabels([f"{strength:g}" for strength in course.strength])
    axes.set_xlabel(course.measure, fontsize=7.5, labelpad=2)


def told_first(course: Course) -> str:
    """Return in words which of pattern and prediction broke first, and at which strengths."""
    pattern, prediction = (
        "never" if step is None else f"at {course.strength[step]:g}" for step in (course.breaks, course.changes)
    )
    words = {
        "pattern": f"pattern breaks {pattern}, prediction {prediction}",
        "prediction": f"prediction changes {prediction}, pattern {pattern}",
        "together": f"both break {pattern}",
        "neither": "neither breaks",
    }
    return words.get(course.first, "pattern outside from the start")


# -- a sample ---------------------------------------------------------------------------------------------------------------

EVENTS = (
    ("pattern", "pattern has left its class", BLUE, "-"),
    ("confidence", "confidence is below its class's own", ORANGE, "-"),
    ("prediction", "prediction has changed", INK, "-"),
)
FIRST_COLOURS = dict(zip(ORDERS, (BLUE, SKY, VERMILION, LINE, PURPLE), strict=True))


def survivors(table: pd.DataFrame, event: str, strengths: Sequence[float]) -> np.ndarray:
    """Return the share of images whose `event` came at or before each strength: float64 [step]."""
    at = table[event].to_numpy(np.float64)
    return np.array([(at <= strength).mean() for strength in strengths])


@styled
def breaking_figure(
    tables: Sequence[pd.DataFrame], strengths: Mapping[str, Sequence[float]], *, title: str, note: str
) -> Figure:
    """Draw of each table, one per layer, and of each disturbance which share of images has broken by which strength."""
    kinds = list(strengths)
    figure = Figure(figsize=(0.95 + 3.0 * len(kinds), 1.55 + 2.1 * len(tables)))
    heading(figure, title, shortened(note, 190), left=LEFT)
    for row, table in enumerate(tables):
        for column, kind in enumerate(kinds):
            axes = place(figure, 0.75 + 3.0 * column, 1.35 + 2.1 * row, 2.6, 1.5)
            _curves(axes, table[table["kind"] == kind], [0, *strengths[kind]])
            axes.set_title(f"{table.attrs['layer']}, {kind}", fontsize=9)
            if row == column == 0:
                figure.legend(
                    *axes.get_legend_handles_labels(), ncols=3, fontsize=8.5, loc="upper left",
                    bbox_to_anchor=(LEFT / figure.get_size_inches()[0], 1 - 0.62 / figure.get_size_inches()[1]),
                )  # fmt: skip
    return figure


def _curves(axes: Axes, table: pd.DataFrame, strengths: Sequence[float]) -> None:
    for event, words, colour, style in EVENTS:
        shares = survivors(table, event, strengths)
        axes.plot(shares, color=colour, linestyle=style, marker="o", markersize=3, linewidth=1.5, label=words)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    _step_axis(axes, len(strengths))
    axes.set_xticklabels([f"{strength:g}" for strength in strengths])


@styled
def first_figure(tables: Sequence[pd.DataFrame], *, title: str, note: str) -> Figure:
    """Draw of each table, one per layer, and of each disturbance which share of images broke in which order."""
    bars = [(f"{table.attrs['layer']}, {kind}", own) for table in tables for kind, own in table.groupby("kind", sort=False)]
    figure = Figure(figsize=(10.5, 1.5 + 0.3 * len(bars)))
    heading(figure, title, shortened(note, 160), left=LEFT)
    axes = place(figure, 1.75, 1.0, 8.4, 0.3 * len(bars))
    for row, (_, own) in enumerate(bars):
        _stack(axes, row, own["first"].value_counts(normalize=True))
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], color=INK, fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", length=0)
    handles = [axes.barh(0, 0, color=colour) for colour in FIRST_COLOURS.values()]
    words = ("pattern first", "both at one step", "prediction first", "neither breaks", "pattern outside from the start")
    axes.legend(handles, words, ncols=5, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 1.0), handlelength=1.0)
    return figure


def _stack(axes: Axes, row: int, shares: pd.Series) -> None:
    left = 0.0
    for name, colour in FIRST_COLOURS.items():
        share = float(shares.get(name, 0.0))
        axes.barh(row, share, left=left, color=colour, height=0.72)
        if share >= 0.05:
            pale = colour in (SKY, LINE)
            axes.text(
                left + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=7.5, color=INK if pale else "white"
            )
        left += share
