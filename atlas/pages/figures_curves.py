"""Training curves, as a picture and as a page of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from atlas.errors import AtlasError, one_line
from atlas.pages.figures_style import BLUE, FAINT, INK, LINE, VERMILION, heading, place, styled

History = pd.DataFrame | Sequence[Mapping[str, float]] | str | Path
SPLITS = {"train": ("training", BLUE), "validation": ("validation", VERMILION)}
COLUMNS = ("epoch", *(f"{split}_{kind}" for split in SPLITS for kind in ("loss", "accuracy")))


def read(history: History) -> pd.DataFrame:
    """Return a training's history as a table with at least the columns COLUMNS, from a table, its rows or a CSV file."""
    try:
        table = pd.read_csv(history) if isinstance(history, str | Path) else pd.DataFrame(history)
    except (OSError, ValueError) as reason:
        raise AtlasError(f"the history {one_line(history)} cannot be read: {one_line(reason, 100)}") from None
    missing = [name for name in COLUMNS if name not in table]
    if missing or table.empty:
        what = f"lacks {', '.join(missing)}" if missing else "holds no epoch"
        raise AtlasError(f"the history {what}: give the history.csv that `atlas train` leaves beside the weights")
    return table


def best_epoch(table: pd.DataFrame) -> int:
    """Return the position of the epoch whose weights were kept: the first with the highest validation accuracy."""
    return int(np.argmax(table["validation_accuracy"].to_numpy()))


@styled
def training_curves(history: History, *, title: str = "Training") -> Figure:
    """Draw loss and accuracy per epoch of a training, on training and validation images, the epoch kept marked."""
    table = read(history)
    best = best_epoch(table)
    figure = Figure(figsize=(9.6, 3.8))
    epoch, accuracy = table["epoch"].iloc[best], table["validation_accuracy"].iloc[best]
    kept = f"weights kept: epoch {epoch:.0f}, validation accuracy {accuracy:.2%}"
    heading(figure, title, f"{kept} · training values are measured while learning, with augmentation and dropout")
    for column, kind in enumerate(("loss", "accuracy")):
        axes = place(figure, 0.68 + 4.75 * column, 1.0, 3.95, 2.35)
        _curves(axes, table, kind, best)
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="upper right", bbox_to_anchor=(1.0, 1.0), ncols=2, handlelength=1.4)
    return figure


def _curves(axes: Axes, table: pd.DataFrame, kind: str, best: int) -> None:
    epochs = table["epoch"].to_numpy()
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.axvline(epochs[best], color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
    for split, (name, colour) in SPLITS.items():
        values = table[f"{split}_{kind}"].to_numpy()
        axes.plot(
            epochs, values, color=colour, linewidth=1.7, label=name, marker="o", markersize=3 if len(epochs) < 3 else 0
        )
        if split == "validation":
            axes.plot(epochs[best], values[best], "o", color=colour, markersize=6, markeredgecolor="white", zorder=4)
    axes.set_title(kind.capitalize(), color=INK)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if kind == "accuracy":
        axes.yaxis.set_major_formatter(
            lambda value, position: f"{value:.0%}" if np.ptp(axes.get_ylim()) > 0.06 else f"{value:.1%}"
        )


def training_curves_html(history: History, title: str = "Training") -> str:
    """Return the training curves as one HTML page that needs no network: hover for values, drag to zoom."""
    from bokeh.embed import file_html
    from bokeh.layouts import column, row
    from bokeh.models.widgets import Div
    from bokeh.resources import INLINE

    table = read(history)
    panels = [_panel(table, kind) for kind in ("loss", "accuracy")]
    best = best_epoch(table)
    epoch, accuracy = table["epoch"].iloc[best], table["validation_accuracy"].iloc[best]
    head = Div(
        text=title, disable_math=True, render_as_text=True, styles={"font": "600 20px system-ui, sans-serif", "color": INK}
    )
    note = Div(
        text=f"Weights kept: epoch {epoch:.0f}, validation accuracy {accuracy:.2%}. "
        "Training values are measured while learning, with augmentation and dropout.",
        styles={"font": "14px system-ui, sans-serif", "color": FAINT},
    )
    return file_html(
        column(head, note, row(*panels, sizing_mode="scale_width"), sizing_mode="scale_width", margin=20),
        INLINE,
        title=title,
    )


def _panel(table: pd.DataFrame, kind: str):  # type: ignore[no-untyped-def]  # Bokeh's figure is a class known at run time
    from bokeh.models import ColumnDataSource, HoverTool
    from bokeh.models.annotations import Span
    from bokeh.models.renderers import DataRenderer
    from bokeh.plotting import figure

    best = best_epoch(table)
    panel = figure(
        title=kind.capitalize(), height=340, width=520, x_axis_label="epoch", sizing_mode="scale_width",
        tools="pan,box_zoom,wheel_zoom,reset,save", toolbar_location="above", outline_line_color=None,
    )  # fmt: skip
    source = ColumnDataSource(table[list(COLUMNS)])
    panel.add_layout(Span(location=table["epoch"].iloc[best], dimension="height", line_color=FAINT, line_dash="dotted"))
    lines: list[DataRenderer] = []
    for split, (name, colour) in SPLITS.items():
        field = f"{split}_{kind}"
        lines.append(panel.line("epoch", field, source=source, color=colour, line_width=2.4, legend_label=name))
        panel.scatter("epoch", field, source=source, color=colour, size=5)
    tips = [("epoch", "@epoch")] + [(name, f"@{split}_{kind}{{0.0000}}") for split, (name, _) in SPLITS.items()]
    panel.add_tools(HoverTool(tooltips=tips, mode="vline", renderers=lines[:1]))
    panel.legend.location = "top_right" if kind == "loss" else "bottom_right"
    panel.legend.border_line_color = None
    panel.xgrid.grid_line_color = None
    panel.ygrid.grid_line_color = LINE
    panel.axis.axis_line_color = None
    panel.axis.minor_tick_line_color = None
    panel.axis.major_tick_line_color = None
    panel.toolbar.logo = None
    return panel
