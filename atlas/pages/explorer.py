"""Builds the Bokeh document of the explorer from a view; the page's own script does the rest from static/."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from bokeh.document import Document
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    CustomJS,
    DataRange1d,
    LassoSelectTool,
    LinearColorMapper,
    PanTool,
    ResetTool,
    Scatter,
    WheelZoomTool,
)
from bokeh.plotting import figure

from atlas.data.records import SPLITS
from atlas.errors import AtlasError, one_line
from atlas.pages import colours
from atlas.pages.answers import STATIC, decode_ahead, static_version
from atlas.pages.columns import COORDINATE_STEPS
from atlas.pages.manifest import available, class_palette, manifest
from atlas.pages.shelf import SHELF, find_atlases
from atlas.pages.view import Start, View

UNUSED = ("mathjax", "tables", "widgets")  # of Bokeh's own script files
TEMPLATES = Path(__file__).parent / "templates"
TRAIN_ALPHA = 0.4  # training images are drawn fainter, and under the others
Backend = Literal["canvas", "webgl"]
POINT_SIZE = 5  # pixels, at ten thousand points
SO_FEW = 200  # points on the whole map below which the page draws thumbnails
TIGHT, ROOMY = 0.14, 0.26  # of the map's extent left free around it: what is written over it, and thumbnails, need room


@functools.cache
def templates() -> jinja2.Environment:
    """Return the package's templates; every value is escaped unless it is marked safe."""
    made = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    made.filters["needed"] = needed
    return made


def needed(scripts: Any) -> Any:
    """Return Bokeh's script tags without the parts that a map has no use for: more than half of what a browser would read.

    A server names all of Bokeh's parts, since it cannot know what a page will use; ours draws a figure and nothing else.
    """
    return type(scripts)(re.sub(rf"<[a-z]+ [^>]*/bokeh-(?:{'|'.join(UNUSED)})(?:\.min)?\.js[^>]*></[a-z]+>\s*", "", scripts))


# -- which page ------------------------------------------------------------------------------------------------------------


def build_document(doc: Document, *, cache: Path, path: str | None = None) -> None:
    """Fill `doc` with the explorer of one atlas, the list of atlases, or a notice in words: never with nothing.

    `path` is the atlas given on the command line; without one, those in `cache` are offered, and a single one is opened.
    """
    asked = arguments(doc)
    roots = [Path(path)] if path else find_atlases(cache)
    SHELF.known.update(root.resolve() for root in roots)
    try:
        root, missing = choose_root(roots, asked.get("atlas"), given=path is not None)
        if root is not None:
            view = SHELF.open(root)
            explorer_page(doc, view, asked, several=len(roots) > 1, notices=missing)
            decode_ahead(view)
        elif roots:
            landing_page(doc, roots, missing)
        else:
            notice_page(doc, "No atlas yet", [f"There is no atlas in {cache}."], commands=True)
    except AtlasError as reason:
        notice_page(doc, "This atlas cannot be opened", [str(reason)], several=len(roots) > 1)


def arguments(doc: Document) -> dict[str, str]:
    """Return the URL's arguments as text: the first of each name, cut at 300 characters; what is empty is left out."""
    context = doc.session_context
    request = getattr(context, "request", None)  # a document made outside a server has none
    raw: Mapping[str, list[bytes]] = request.arguments if request is not None else {}
    found = {}
    for name, values in raw.items():
        value = values[0].decode("utf-8", "replace") if values else ""
        if value:
            found[name] = value[:300]
    return found


def choose_root(roots: list[Path], wanted: str | None, *, given: bool) -> tuple[Path | None, list[str]]:
    """Return the atlas to open, None for the list, and a notice where the one asked for is not there."""
    named = [root for root in roots if root.resolve().name == wanted]
    if named:
        return named[0], []
    missing = [f"There is no atlas {one_line(wanted, 60)} here."] if wanted else []
    return (roots[0] if given or len(roots) == 1 else None), missing


def shell(doc: Document, template: str, title: str, **variables: Any) -> None:
    """Give `doc` one of the package's templates."""
    doc.title = title
    doc.template = templates().get_template(template)
    doc.template_variables.update({"version": static_version(), "title": title, **variables})


def notice_page(doc: Document, heading: str, lines: list[str], *, commands: bool = False, several: bool = False) -> None:
    """Fill `doc` with a page of words."""
    told = {"heading": heading, "lines": lines, "commands": commands, "several": several}
    shell(doc, "notice.html", f"{heading} · Activation Atlas", **told)


def landing_page(doc: Document, roots: list[Path], notices: list[str]) -> None:
    """Fill `doc` with a card for each atlas; one that cannot be opened says why on its card."""
    shell(doc, "landing.html", "Activation Atlas", cards=[card(root) for root in roots], notices=notices)


def card(root: Path) -> dict[str, Any]:
    """Return what a card says of one atlas."""
    try:
        view = SHELF.open(root)
        told = manifest(view, view.start({}), several=True)
    except AtlasError as reason:
        return {"name": root.name, "title": root.name, "error": str(reason)}
    networks = sorted({part["network"] for part in told["predictions"].values() if part["network"]})
    seen = view.images.decoded if len(view.images.decoded) else np.arange(len(view.images))
    spread = seen[np.linspace(0, len(seen) - 1, min(10, len(seen))).astype(int)].tolist()
    return {
        "name": view.name,
        "title": view.title,
        "count": images_in_words(view),
        "networks": networks,
        "layers": list(dict.fromkeys(layer for space in view.spaces for layer in space.layers)),
        "date": view.date,
        "thumbs": [thumb(view, row, told["images"]) for row in spread],
    }


def images_in_words(view: View) -> str:
    """Return how many images an atlas holds, and of how many where a limit left some out: ``5 of 20 images``."""
    most = available(view)
    number = f"{len(view.images):,}" + ("" if most is None else f" of {most:,}")
    return f"{number} image{'' if (most or len(view.images)) == 1 else 's'}".replace(",", "\u202f")


def thumb(view: View, row: int, told: Mapping[str, Any], edge: int = 44) -> str:
    """Return the style that shows one image's thumbnail from its sheet; it holds numbers and a key only."""
    columns = told["columns"]
    number, slot = divmod(row, columns * columns)
    return (
        f"background-image:url(atlas/thumbs/{view.images_name}/{number}.webp);background-size:{columns * edge}px auto;"
        f"background-position:-{slot % columns * edge}px -{slot // columns * edge}px"
    )


# -- the explorer ----------------------------------------------------------------------------------------------------------


def explorer_page(doc: Document, view: View, asked: Mapping[str, str], *, several: bool, notices: list[str]) -> None:
    """Fill `doc` with the explorer of one atlas."""
    start = view.start(asked)
    start.notices[:0] = notices
    backend: Backend = "canvas" if asked.get("backend") == "canvas" else "webgl"
    doc.add_root(map_figure(view, start, backend))
    shell(doc, "index.html", f"{view.title} · Activation Atlas", manifest=manifest(view, start, several=several), view=view)


def shown_count(view: View, activations: str, split: str) -> int:
    """Return how many points of the split there are."""
    splits = view.splits[view.point_image(activations)]
    return len(splits) if split == "all" else int(np.count_nonzero(splits == SPLITS.index(split)))


def class_mapper(view: View) -> LinearColorMapper:
    """Return the mapper of codes: the classes, none, then both once more, fainter, for training images."""
    strong = [*class_palette(view)[: len(view.images.labels)], colours.NONE]
    palette = [*strong, *(colours.faded(colour, TRAIN_ALPHA) for colour in strong)]
    return LinearColorMapper(palette=palette, low=-0.5, high=len(palette) - 0.5, name="mapper")


def map_figure(view: View, start: Start, backend: Backend) -> Any:
    """Return the map: points, rings for what is clicked, and tools.

    The document holds no point: the page's script fills the source from the columns it fetches and keeps, so
    that nothing is sent twice and a session's memory does not grow with the atlas.
    """
    space = view.space(start.space) or view.spaces[0]
    nothing = {
        "x": np.zeros(0, np.uint16),
        "y": np.zeros(0, np.uint16),
        "i": np.zeros(0, np.int32),
        "c": np.zeros(0, np.uint8),
    }
    source = ColumnDataSource(data=nothing, name="points", syncable=False)
    source.selected.syncable = False  # the selection stays in the browser: nothing is sent, whatever its size
    source.selected.name = "chosen"
    plot = bare_figure(backend)
    corners = ColumnDataSource(data=extent(view.xy(start.layout)), name="corners", syncable=False)
    frame = plot.scatter("x", "y", source=corners, size=1, alpha=0, name="frame", level="underlay")
    padding = ROOMY if shown_count(view, space.activations[0], start.split) < SO_FEW else TIGHT
    plot.x_range = DataRange1d(renderers=[frame], range_padding=padding, name="x")
    plot.y_range = DataRange1d(renderers=[frame], range_padding=padding, name="y")
    colour: Any = {"field": "c", "transform": class_mapper(view)}
    plot.add_glyph(
        source,
        Scatter(x="x", y="y", size=POINT_SIZE, line_color=None, fill_color=colour, fill_alpha=0.85),
        nonselection_glyph=Scatter(
            x="x", y="y", size=POINT_SIZE, line_color=None, fill_color=colour, fill_alpha=0.12 * 0.85
        ),
        selection_glyph=Scatter(x="x", y="y", size=POINT_SIZE, line_color=None, fill_color=colour, fill_alpha=0.85),
        name="dots",
    )
    add_rings(plot)
    add_tools(plot)
    return plot


def extent(xy: np.ndarray) -> dict[str, Any]:
    """Return two corners of a layout: what the map fits into its place, whichever points are shown."""
    low, high = (xy.min(1), xy.max(1)) if xy.size else (np.zeros(2), np.full(2, COORDINATE_STEPS))
    return {"x": [float(low[0]), float(high[0])], "y": [float(low[1]), float(high[1])]}


def bare_figure(backend: Backend) -> Any:
    """Return a figure without axes, as large as its place, with one scale for both directions."""
    plot = figure(
        name="map",
        tools="",
        match_aspect=True,
        sizing_mode="stretch_both",
        output_backend=backend,
        lod_threshold=20_000,  # a canvas draws fewer points while it is dragged
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border=0,
    )
    plot.axis.visible = False
    plot.grid.visible = False
    plot.toolbar_location = None  # the page has buttons of its own, which a keyboard and a screen reader can use
    plot.stylesheets = [(STATIC / "map.css").read_text("utf-8")]
    plot.html_attributes = {"role": "img", "aria-label": "Map of the points; the panels beside it hold the same in words"}
    return plot


def add_rings(plot: Any) -> None:
    """Add the rings around the clicked point and its neighbours; the page's script moves them."""
    empty: dict[str, Any] = {"x": [], "y": [], "size": [], "width": []}
    rings = ColumnDataSource(empty, name="rings", syncable=False)
    plot.add_glyph(
        rings,
        Scatter(x="x", y="y", size="size", fill_color=None, line_color="#ffffff", line_width="width"),
        name="ring_dots",
        level="overlay",
    )


def add_tools(plot: Any) -> None:
    """Add the tools: drag to pan, wheel to zoom, lasso and box to select; and what is under the pointer."""
    wheel = WheelZoomTool(zoom_on_axis=False)
    # Bokeh tells what was drawn, and the page's script finds the images in it: a selection is a set of images, whichever of
    # them are drawn, and alt takes out of it.
    lasso = LassoSelectTool(continuous=False, renderers=[], name="lasso")
    box = BoxSelectTool(continuous=False, renderers=[], name="box")
    plot.js_on_event("selectiongeometry", CustomJS(code="window.AtlasPage?.swept?.(cb_obj)"))
    plot.add_tools(PanTool(name="pan"), lasso, box, wheel, ResetTool())
    plot.toolbar.active_scroll = wheel
    # Pointing and clicking ask the same question of the page's script, so that a click opens what the tooltip showed. The
    # tooltip is the page's own: names stay text nodes, and its thumbnail is a part of a sheet that is fetched once.
    for event, asked in (("tap", "tap"), ("doubletap", "tap"), ("mousemove", "hover")):
        plot.js_on_event(event, CustomJS(code=f"window.AtlasPage?.{asked}(cb_obj.x, cb_obj.y)"))
