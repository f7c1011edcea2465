"""The frames of a film of preferred inputs as they form: pictures side by side, what each reaches, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.pages.figures_sheet import WRONG
from atlas.pages.figures_style import BLUE, FAINT, GREEN, INK, VERMILION
from atlas.pages.film_canvas import Canvas, font, scaled

MARGIN, HEAD, GAP, WORDS = 24, 116, 18, 50  # pixels: around, of the title, between tiles, under a picture
NARROWEST = 640  # pixels of a frame, for the title's sake
ROOMS = ((4, 288), (12, 200), (10**9, 128))  # up to so many pictures, pixels of the side that a small one is enlarged to
LANDSCAPE = 1.4  # how much wider than high the tiles lie together, about
EMPTY = 0.6  # a last row all empty were as bad as this share of columns too many or too few
TRACK = "#e3e6ea"
COUNTER = 142  # pixels of the step's words
FULL = (1.25, 3.0)  # times the best real image's activation at which a bar is full, at least and at most


@dataclass(frozen=True)
class Forming:
    """Preferred inputs on the way, and as they were kept at the end.

    ``frames`` uint8 [frame, picture, y, x, rgb]; ``value`` float [frame, picture], their activations; ``steps`` int
    [frame, picture]; ``best_real`` float [picture], the greatest activation of a real image; ``names`` and ``states`` say
    of each picture which unit it is and how it ended ("" where it converged).
    """

    frames: np.ndarray
    value: np.ndarray
    steps: np.ndarray
    best_real: np.ndarray
    names: Sequence[str]
    states: Sequence[str]
    title: str
    note: str

    @property
    def above_zero(self) -> bool:
        """Whether every best real activation is above 0, so that shares of it mean something."""
        return bool((self.best_real > 0).all())


@dataclass(frozen=True)
class Layout:
    """How many pictures of a height and width lie how, in pixels."""

    columns: int
    rows: int
    height: int  # of a picture as it is shown
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        wide = 2 * MARGIN + self.columns * (self.width + GAP) - GAP
        return max(NARROWEST, wide), HEAD + self.rows * (self.height + WORDS + GAP) + MARGIN - GAP

    def corner(self, number: int) -> tuple[int, int]:
        """Return x and y of a picture's top left corner."""
        row, column = divmod(number, self.columns)
        return MARGIN + column * (self.width + GAP), HEAD + row * (self.height + WORDS + GAP)


def layout(count: int, height: int, width: int) -> Layout:
    """Return how `count` pictures of `height` × `width` pixels lie: small ones enlarged, large ones as they are."""
    room = next(room for most, room in ROOMS if count <= most)
    factor = max(1, room // max(height, width))
    high, wide = height * factor, width * factor
    wanted = math.sqrt(count * LANDSCAPE * (high + WORDS + GAP) / (wide + GAP))
    columns = min(range(1, count + 1), key=lambda n: abs(math.log(n / wanted)) + EMPTY * (-count % n) / n)
    return Layout(columns, -(-count // columns), high, wide)


def forming_frames(film: Forming) -> Iterator[np.ndarray]:
    """Yield the film's frames, uint8 [y, x, rgb]: the last one is of the pictures that were kept.

    The bar under a picture is its activation, the tick in it the best real image's.
    """
    lies, reached = layout(film.frames.shape[1], *film.frames.shape[2:4]), shares(film)
    scale = full_at(reached)
    background = _background(film, lies, scale)
    for number in range(len(film.frames)):
        canvas = background.copy()
        last = number == len(film.frames) - 1
        words = "as they were kept" if last else f"step {film.steps[number].max()} of {film.steps.max()}"
        canvas.text(lies.size[0] - MARGIN, 24, words, size=15, colour=INK, width=COUNTER, right=True)
        for place in range(film.frames.shape[1]):
            _tile(canvas, film, lies, number, place, reached[number, place] / scale, 1 / scale)
        yield canvas.pixels


def shares(film: Forming) -> np.ndarray:
    """Return how far activations have come to the best real image's, [frame, picture]: 1 where they equal it.

    They are counted from 0; where some best real activation is not above 0, from the least that each picture had. A
    picture that was beyond from the start has infinity, one without a finite activation NaN.
    """
    with np.errstate(all="ignore"):
        low = np.zeros(film.value.shape[1]) if film.above_zero else np.nanmin(film.value, axis=0)
        beyond = np.where(film.value >= film.best_real, np.inf, 0.0)
        return np.where(film.best_real > low, (film.value - low) / (film.best_real - low), beyond)


def full_at(reached: np.ndarray) -> float:
    """Return the share [frame, picture] at which a bar is full, one for all: what was reached, within FULL."""
    finite = reached[np.isfinite(reached)]
    return float(np.clip(finite.max(initial=0.0), *FULL))


def _background(film: Forming, lies: Layout, scale: float) -> Canvas:
    """Draw what stays: title, note, the bars' tracks."""
    canvas = Canvas(*lies.size)
    room = lies.size[0] - 2 * MARGIN
    canvas.text(MARGIN, 20, film.title, size=18, colour=INK, width=room - COUNTER - 10, bold=True)
    canvas.lines(MARGIN, 50, film.note, size=12, colour=FAINT, width=room, most=3)
    for place in range(len(film.names)):
        x, y = lies.corner(place)
        canvas.box(x, y + lies.height + 26, lies.width, 4, TRACK)
    return canvas


def _tile(canvas: Canvas, film: Forming, lies: Layout, number: int, place: int, share: float, tick: float) -> None:
    """Draw a picture and what is said of it; `share` of the bar is filled, the tick stands at the share `tick`."""
    x, y = lies.corner(place)
    canvas.picture(x, y, scaled(film.frames[number, place], max(lies.height, lies.width)))
    y += lies.height
    _words(canvas, film, number, place, x, y, lies.width)
    if not np.isnan(share):
        canvas.box(x, y + 26, lies.width * float(np.clip(share, 0, 1)), 4, GREEN if share >= tick else BLUE)
    canvas.box(x + round(lies.width * tick) - 1, y + 23, 2, 10, INK)


def _words(canvas: Canvas, film: Forming, number: int, place: int, x: int, y: int, width: int) -> None:
    """Write unit and step, or how it ended, over the bar; under it what was reached."""
    last = number == len(film.frames) - 1
    state = (last and film.states[place]) or f"step {film.steps[number, place]}"
    colour = {"still rising": VERMILION, "failed": WRONG}.get(state, FAINT)
    taken = font(11).getlength(state)
    canvas.text(x, y + 5, film.names[place], size=13, colour=INK, width=max(0.4 * width, width - taken - 6), bold=True)
    canvas.text(x + width, y + 7, state, size=11, colour=colour, width=taken + 1, right=True)
    value, best = film.value[number, place], film.best_real[place]
    words = f"{value / best:.2f} × best real" if film.above_zero else f"{value:.2g} · best {best:.2g}"
    canvas.text(x, y + 35, words, size=11, colour=FAINT, width=width)
