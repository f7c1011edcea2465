"""Films of an atlas's preferred inputs: of a reconstruction as it forms, and through the units of each layer."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import AtlasError, choose, one_line
from atlas.pages.figures_column import architecture_column, pixels
from atlas.pages.film_file import LOSSLESS, check_film, check_size, seconds_of, write_film
from atlas.pages.film_forming import Forming, forming_frames
from atlas.pages.film_forming import layout as forming_layout
from atlas.pages.film_units import SIDE, Chapter, Sheet, Tile, unit_pages
from atlas.preferred.records import Preferred
from atlas.progress import Progress
from atlas.unit_sheet import unit_name

if TYPE_CHECKING:
    from atlas.atlas import Atlas
    from atlas.preferred.making import Drawn

HELD = 2.0  # seconds that the pictures as they were kept stay
PAGE, SHORTEST, LONGEST = 3.0, 0.2, 60.0  # seconds of a page: usual, and what can be asked for
WIDTH, NARROWEST, WIDEST = 1440, 1200, 3840  # pixels of a page
DPI = 150  # of our figures: the drawing's pixels to an inch
MOST_NAMED = 40  # dead units named on a page
PRIORS = (
    "pca",
    "maco",
    "fourier",
    "pixel",
)  # of records of as many units, the one with more of the dataset's prior is filmed

# -- as it forms


def forming(
    atlas: Atlas,
    path: str | os.PathLike[str],
    *,
    layer: str | int | None = None,
    units: Sequence[int] | str | None = None,
    progress: Progress | None = None,
    device: str = "auto",
    **choices: Any,
) -> tuple[Preferred, dict[str, Any]]:
    """Draw preferred inputs as `Atlas.preferred` does, write how they form as a film; return the record and what was made.

    The frames come from the same ascent as the record, whose pictures are the last frame; where the record stands
    already, the ascent is run once more. `path` ends in .webp or .mp4; what would be too large is refused before.
    """
    from atlas.models.layers import named_layer
    from atlas.preferring import Preferring, checked_choices, preferred, wanted_units

    check_film(path)
    name, chosen = atlas.layer_name(layer), checked_choices(choices)
    named_layer(atlas.network_record.layers, name)  # an unknown one is told first
    wanted = wanted_units(atlas, name, units)
    _, height, width = Preferring(atlas, device=device).size(chosen.size)
    lies = forming_layout(max(1, len(wanted)) * chosen.variants, height, width)
    check_size(frames_of(chosen.steps), lies.size, "give fewer --unit, fewer --steps or a smaller --size")
    progress, formed = progress or Progress(), list["Drawn"]()
    record = preferred(atlas, layer=name, units=wanted, progress=progress, device=device, formed=formed, **choices)
    shots = shots_of(atlas, record, formed[0])
    seconds = seconds_of(len(shots.frames), held=HELD)
    with progress.stage("the film", len(shots.frames)) as advance:
        write_film(path, forming_frames(shots), seconds, lossless=max(height, width) <= LOSSLESS, advance=advance)
    return record, {"file": str(path), "frames": len(shots.frames), "seconds": round(sum(seconds), 1)}


def frames_of(steps: int) -> int:
    """Return how many frames an ascent of `steps` has at most: one per check, and the pictures as they were kept."""
    from atlas.preferred.ascent import CHECK

    return math.ceil(steps / CHECK) + 2


def shots_of(atlas: Atlas, record: Preferred, drawn: Drawn) -> Forming:
    """Return pictures on their way from the ascent that drew them, and at the end those of the record."""
    from atlas.preferred.ascent import CHECK

    assert drawn.frames is not None and drawn.risen is not None
    checks = np.arange(len(drawn.frames))[:, None] * CHECK
    ends = np.asarray(record.steps_run)[None]
    dead = f" · dead, not drawn: {_listed(record.dead)}" if record.dead else ""
    other = "" if np.array_equal(drawn.images, record.images) else " · kept from another machine, so the end may leap"
    return Forming(
        frames=np.concatenate([drawn.frames, np.asarray(record.images)[None]]),
        value=np.concatenate([drawn.risen, np.asarray(record.activation)[None]]),
        steps=np.concatenate([np.minimum(checks, ends), ends]),
        best_real=np.asarray(record.best_real),
        names=[_name(atlas, record, place) for place in range(len(record))],
        states=[state_of(record, place) for place in range(len(record))],
        title=f"Preferred inputs of {record.layer} as they form",
        note=f"{_how(record)}; {_bar(record)}{dead}{other}",
    )


def _bar(record: Preferred) -> str:
    """Say what the bars are, as `atlas.pages.film_forming.shares` counts them."""
    since = "" if (np.asarray(record.best_real) > 0).all() else " since the least it was"
    return f"the bar is the activation{since}, its tick the best of {record.real}"


def state_of(record: Preferred, place: int) -> str:
    """Return how a picture ended: "failed", "still rising", or "" where it converged."""
    return "failed" if record.failure[place] else "" if record.converged[place] else "still rising"


def _how(record: Preferred) -> str:
    control = " in an untrained network" if record.untrained else ""
    return f"{record.functional} of each unit raised{control} · {record.prior} · seed {record.settings['seed']}"


def _name(atlas: Atlas, record: Preferred, place: int, *, short: bool = False) -> str:
    """Return which unit a picture is of, and of several reconstructions which."""
    several = f" ({record.variant[place] + 1})" if record.settings["variants"] > 1 else ""
    name = unit_name(atlas, record.layer, int(record.units[place]))
    return (name.removeprefix("Unit ") if short else name) + several


def _listed(units: Sequence[int]) -> str:
    more = f" and {len(units) - MOST_NAMED} more" if len(units) > MOST_NAMED else ""
    return ", ".join(map(str, units[:MOST_NAMED])) + more


# -- through the units of each layer


def film(
    atlas: Atlas,
    path: str | os.PathLike[str],
    *,
    layers: Sequence[str | int] = (),
    param: str | None = None,
    record: Sequence[str] = (),
    seconds_per_page: float = PAGE,
    width: int = WIDTH,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a film through the preferred inputs that the atlas holds, layer by layer in order of execution.

    Each page shows up to 8 × 8 units beside the drawing of the network, in which their layer is marked. Of a layer of which
    several records of the trained network stand, the one that `record` names is filmed, or of those by the parameterisation
    `param` the one that `chosen` puts first; `layers` names those that are wanted, by default all there are. A layer without
    preferred inputs raises AtlasError, and so does a film that would be too large. Returns the file, its frames, seconds,
    width and height, a row for each layer with its record and of how many, and the recorded layers that were left out.
    """
    check_film(path)
    _check_page(seconds_per_page, width)
    progress, sheet = progress or Progress(), Sheet(width)
    names = names_of(atlas, layers, param=param, record=record)
    records = [atlas.store.read(name, Preferred) for name in names]
    chapters = [chapter_of(atlas, record, sheet) for record in records]
    pages = sum(len(chapter.pages) for chapter in chapters)
    check_size(pages, (width, sheet.height), "give a smaller --width, or some of the layers by --layer")
    drawings = [drawing_of(atlas, record.layer, sheet) for record in records]
    lossless = max(max(record.images.shape[1:3]) for record in records) <= LOSSLESS
    with progress.stage("the film", pages) as advance:
        found = unit_pages(chapters, drawings, title=atlas.title, sheet=sheet)
        write_film(path, found, [seconds_per_page] * pages, lossless=lossless, advance=advance)
    return {
        "file": str(path),
        "frames": pages,
        "seconds": round(pages * seconds_per_page, 1),
        "width": width,
        "height": sheet.height,
        "layers": [_row(atlas, name, own, chapter) for name, own, chapter in zip(names, records, chapters, strict=True)],
        "left_out": [] if layers else left_out(atlas),
    }


def _check_page(seconds: float, width: int) -> None:
    if not SHORTEST <= seconds <= LONGEST:
        raise AtlasError(f"{seconds} seconds per page: {SHORTEST} to {LONGEST:.0f} would do")
    if not NARROWEST <= width <= WIDEST or width % 2:
        raise AtlasError(f"a film {width} pixels wide: an even number from {NARROWEST} to {WIDEST} would do")


def held_of(atlas: Atlas) -> dict[str, list[str]]:
    """Return the names of the records of preferred inputs of each layer of the trained network, by the layer's name."""
    found: dict[str, list[str]] = {}
    for name in atlas.names("preferred", untrained=False):
        found.setdefault(atlas.field(name, "layer"), []).append(name)
    return found


def chosen(atlas: Atlas, names: Sequence[str]) -> str:
    """Return the record to film of several of one layer, whichever was made first: that of most units.

    Of equals the one with more of the dataset's prior (PRIORS), then the larger, that of more starts, of more steps, of the
    lesser seed; the name decides between what is left.
    """

    def order(name: str) -> tuple[Any, ...]:
        own = atlas.headers[name]["fields"]
        how = own["settings"]
        units = len(set(np.asarray(atlas.store.read(name, Preferred).units).tolist()))
        more = (units, -PRIORS.index(own["parameterisation"]), max(how["size"]), how["restarts"], how["steps"] or 0)
        return *(-value for value in more), how["seed"], name

    return min(names, key=order)


def names_of(
    atlas: Atlas, layers: Sequence[str | int] = (), *, param: str | None = None, record: Sequence[str] = ()
) -> list[str]:
    """Return the names of the records to film, one of each of `layers`, or of all that have any, in order of execution.

    Those of `record` where they are named, else by `chosen`, among those drawn by `param` where it is given.
    """
    held, names = held_of(atlas), list(atlas.network_record.layers["name"])
    named = _named_records(held, record)
    wanted = [atlas.layer_name(layer) for layer in layers]
    for name in wanted:
        if name not in names:
            raise choose("layer", name, names)
        if name not in held:
            raise AtlasError(f"{one_line(name)} has no preferred inputs in this atlas: run {_command(atlas, name)} first")
    if not held:
        layer = (atlas.layers or names)[-1]
        raise AtlasError(f"this atlas holds no preferred inputs: run {_command(atlas, layer)} first")
    for layer in named:
        if wanted and layer not in wanted:
            raise AtlasError(f"{named[layer]} is of {one_line(layer)}, which is none of the layers asked for: name it too")
    found = []
    for layer in dict.fromkeys(wanted or held):
        own = [named[layer]] if layer in named else held[layer]
        if fitting := _by_param(atlas, layer, own, param, wanted=bool(wanted)):
            found.append(chosen(atlas, fitting))
    if not found:
        there = dict.fromkeys(atlas.field(name, "parameterisation") for own in held.values() for name in own)
        raise choose("preferred inputs drawn by", param, there)
    return sorted(found, key=lambda name: int(atlas.field(name, "number")))


def _named_records(held: Mapping[str, Sequence[str]], record: Sequence[str]) -> dict[str, str]:
    """Return the record that was named of each layer; an unknown one, and two of one layer, raise AtlasError."""
    layer_of = {name: layer for layer, names in held.items() for name in names}
    named: dict[str, str] = {}
    for name in dict.fromkeys(record):
        if name not in layer_of:
            raise choose("record of preferred inputs", name, layer_of)
        if layer_of[name] in named:
            raise AtlasError(
                f"{name} and {named[layer_of[name]]} are both of {one_line(layer_of[name])}: name one of a layer"
            )
        named[layer_of[name]] = name
    return named


def _by_param(atlas: Atlas, layer: str, names: Sequence[str], param: str | None, *, wanted: bool) -> list[str]:
    """Return the records drawn by a parameterisation; AtlasError where the layer was asked for and has none."""
    found = [name for name in names if param in (None, atlas.field(name, "parameterisation"))]
    if wanted and not found:
        there = dict.fromkeys(atlas.field(name, "parameterisation") for name in names)
        raise choose(f"preferred inputs of {one_line(layer)} drawn by", param, there)
    return found


def records_of(atlas: Atlas, layers: Sequence[str | int] = ()) -> list[Preferred]:
    """Return the preferred inputs to film of each of `layers`, or of all that have any, in order of execution."""
    return [atlas.store.read(name, Preferred) for name in names_of(atlas, layers)]


def _command(atlas: Atlas, layer: str) -> str:
    return f"`atlas preferred {one_line(atlas.store.root)} --layer {one_line(layer)}`"


def left_out(atlas: Atlas) -> list[str]:
    """Return the recorded layers that have no preferred inputs, in order of execution."""
    held = held_of(atlas)
    found = {
        atlas.field(n, "number"): atlas.field(n, "layer") for n in [*atlas.names("statistics"), *atlas.names("activations")]
    }
    return [found[number] for number in sorted(found) if found[number] not in held]


def drawing_of(atlas: Atlas, layer: str, sheet: Sheet) -> np.ndarray:
    """Return the network's drawing with a layer marked, uint8 [y, x, rgb], as large as a page has room for it."""
    width, height = ((side + 0.5) / DPI for side in sheet.drawing)  # half a pixel more, for sides are cut to whole ones
    return pixels(architecture_column(atlas.network_record.layers, marked=layer, width=width, height=height))


def chapter_of(atlas: Atlas, record: Preferred, sheet: Sheet) -> Chapter:
    """Return a layer's part of the film: its pictures in the record's order, and what is said of them."""
    tiles = [
        Tile(
            np.asarray(record.images[place]),
            _name(atlas, record, place, short=True),
            state_of(record, place) or f"{record.percentile[place]:.4g} %",
        )
        for place in range(len(record))
    ]
    told = _told(atlas, record)
    counts = [f"{told['drawn']} of {told['units']} units drawn"]
    counts += [
        f"{told[state]} {words}" for state, words in (("failed", "failed"), ("rising", "still rising")) if told[state]
    ]
    dead = f"dead, never varying, not drawn: {_listed(record.dead)} · " if record.dead else ""
    share = f"percentages: of the real images' activations, how many a picture reaches ({record.real})"
    return Chapter(
        marked=record.layer,
        place=f"layer {record.number} of {len(atlas.network_record.layers)}",
        tiles=tiles,
        counts=" · ".join([*counts, *([f"{len(record.dead)} dead"] if record.dead else [])]),
        note=_how(record),
        foot=f"{dead}{share}{_reduced(record, tiles, sheet)}",
    )


def _reduced(record: Preferred, tiles: Sequence[Tile], sheet: Sheet) -> str:
    """Say that pictures are shown smaller than they are, where they are."""
    edge = max(record.images.shape[1:3])
    smaller = sheet.lies(min(len(tiles), SIDE * SIDE), edge).side < edge
    return f" · pictures of {edge} pixels, shown smaller" if smaller else ""


def _told(atlas: Atlas, record: Preferred) -> dict[str, Any]:
    states = [state_of(record, place) for place in range(len(record))]
    table = atlas.network_record.layers
    return {
        "layer": record.layer,
        "units": int(table.loc[table["name"] == record.layer, "units"].iloc[0]),
        "drawn": len(set(np.asarray(record.units).tolist())),
        "failed": states.count("failed"),
        "rising": states.count("still rising"),
        "dead": len(record.dead),
    }


def _row(atlas: Atlas, name: str, record: Preferred, chapter: Chapter) -> dict[str, Any]:
    of = len(held_of(atlas)[record.layer])
    how = {"param": record.parameterisation, "seed": record.settings["seed"], "record": name, "of": of}
    return _told(atlas, record) | {"pages": len(chapter.pages)} | how
