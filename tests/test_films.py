"""Films of preferred inputs: what is in their frames, in which order, and that what cannot be filmed is refused."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageSequence

import atlas
from atlas import films
from atlas.errors import AtlasError
from atlas.pages import film_file
from atlas.pages.figures_column import architecture_column, pixels
from atlas.pages.film_canvas import fitted, font, scaled, wrapped
from atlas.pages.film_forming import HEAD, MARGIN, Forming, forming_frames, full_at, layout, shares
from atlas.pages.film_units import SIDE, Chapter, Sheet, Tile, unit_pages
from atlas.preferred.ascent import CHECK
from atlas.preferred.records import Preferred
from tests.command import clear_refusal, run, success
from tests.test_figures import deep_network, small_network

FAST = {"steps": 24, "restarts": 2}
LOOKS = 24 // CHECK + 1


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def shots(count: int = 3, frames: int = 4, edge: int = 28, **changes: object) -> Forming:
    given: dict[str, object] = {
        "frames": noise(frames, count, edge, edge, 1), "value": np.linspace(0, 3, frames)[:, None] * np.ones(count),
        "steps": np.arange(frames)[:, None] * 8 * np.ones((1, count), int), "best_real": np.full(count, 2.0),
        "names": [f"Unit {n}" for n in range(count)], "states": [""] * count, "title": "as they form", "note": "a note",
    }  # fmt: skip
    return Forming(**given | changes)  # type: ignore[arg-type]


def shown(frame: np.ndarray, film: Forming, place: int) -> np.ndarray:
    """Cut a picture out of a frame and make it as small as it was."""
    lies = layout(film.frames.shape[1], *film.frames.shape[2:4])
    x, y = lies.corner(place)
    factor = lies.height // film.frames.shape[2]
    return frame[y : y + lies.height : factor, x : x + lies.width : factor]


@pytest.fixture(scope="module")
def own(tiny_atlas: atlas.Atlas, tmp_path_factory: pytest.TempPathFactory) -> atlas.Atlas:
    """A copy of the tiny atlas, to write preferred inputs into."""
    folder = tmp_path_factory.mktemp("films") / "tiny"
    shutil.copytree(tiny_atlas.store.root, folder)
    return atlas.open(folder)


@pytest.fixture(scope="module")
def filmed(own: atlas.Atlas) -> atlas.Atlas:
    """The same with preferred inputs of three layers, drawn in no order, one of them twice and one of them a control."""
    own.preferred("logits", **FAST)
    own.preferred("conv1", [0, 1], **FAST)
    own.preferred("act", [7], **FAST)
    own.preferred("act", [0, 3], **FAST)
    own.preferred("pool", [0], untrained=True, **FAST)
    return atlas.open(own.store.root)


# -- pictures and words


def test_a_small_picture_is_enlarged_pixel_by_pixel_and_a_large_one_reduced() -> None:
    small, large = noise(7, 5, 3), noise(40, 30, 1)
    found = scaled(small, 23)
    assert found.shape == (21, 15, 3) and np.array_equal(found[1::3, 1::3], small)
    assert scaled(large, 20).shape == (20, 15, 3) and np.array_equal(scaled(large, 40), large)


@pytest.mark.parametrize("text", ["short", "a long name " * 30, "$x^2$", "🙂" * 50, "\ud800\n\x1b[1m", "ば" * 99, ""])
def test_words_keep_to_their_width_whatever_they_are(text: str) -> None:
    of = font(11)
    for width in (9, 40, 300):
        for line in (fitted(text, width, of), *wrapped(text, width, of, lines=3)):
            assert of.getlength(line) <= max(width, of.getlength("…")) and line.isprintable()
    assert len(wrapped(text, 40, of, lines=3)) <= 3 and " ".join(wrapped("a b c", 900, of, lines=2)) == "a b c"


# -- as it forms


def test_a_film_has_every_frame_with_its_pictures_to_the_pixel() -> None:
    film = shots(5)
    frames = list(forming_frames(film))
    assert len(frames) == 4 and len({frame.shape for frame in frames}) == 1
    for number, frame in enumerate(frames):
        for place in range(5):
            assert np.array_equal(shown(frame, film, place), film.frames[number, place].repeat(3, axis=2))


def test_large_pictures_are_shown_as_they_are() -> None:
    film = shots(2, edge=300)
    assert layout(2, 300, 300).height == 300
    (frame, *_) = forming_frames(film)
    assert np.array_equal(shown(frame, film, 1), film.frames[0, 1].repeat(3, axis=2))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 64, 65, 100])
def test_every_picture_has_a_place_of_its_own_inside_the_frame(count: int) -> None:
    lies = layout(count, 28, 28)
    corners = [lies.corner(number) for number in range(count)]
    assert len(set(corners)) == count and min(y for _, y in corners) == HEAD and min(x for x, _ in corners) == MARGIN
    assert max(x for x, _ in corners) + lies.width + MARGIN <= lies.size[0]
    assert max(y for _, y in corners) + lies.height + MARGIN < lies.size[1]


def test_the_bar_is_the_share_of_the_best_real_images_activation() -> None:
    film = shots(2, value=np.array([[0.0, 1.0], [1.0, 3.0], [2.0, -1.0], [2.5, np.nan]]), best_real=np.array([2.0, 1.0]))
    assert np.allclose(shares(film)[:, 0], [0, 0.5, 1, 1.25]) and np.allclose(shares(film)[:3, 1], [1, 3, -1])
    assert np.isnan(shares(film)[3, 1]) and full_at(shares(film)) == 3.0
    lies = layout(2, 28, 28)
    x, y = lies.corner(0)
    rows = [frame[y + lies.height + 27, x : x + lies.width] for frame in forming_frames(film)]
    track = rows[0][-1]
    filled = [int((row != track).any(axis=1).sum()) / lies.width for row in rows]
    assert np.allclose(filled[1:], [0.5 / 3, 1 / 3, 1.25 / 3], atol=3 / lies.width)


def test_where_real_activations_are_below_zero_the_bar_begins_at_the_least_that_was() -> None:
    film = shots(3, value=np.array([[-4.0, -1, 5], [-3, 0, 6], [-2, 3, 7], [-1, 1, 8]]), best_real=np.array([-2.0, 1, 4]))
    found = shares(film)
    assert np.allclose(found[:, 0], [0, 0.5, 1, 1.5]) and np.allclose(found[:, 1], [0, 0.5, 2, 1])
    assert np.isposinf(found[:, 2]).all() and len(list(forming_frames(film))) == 4


def test_how_a_picture_ended_is_said_on_the_last_frame_alone() -> None:
    plain, failed = shots(2), shots(2, states=["", "failed"])
    one, two = list(forming_frames(plain)), list(forming_frames(failed))
    assert all(np.array_equal(a, b) for a, b in zip(one[:-1], two[:-1], strict=True))
    changed = np.flatnonzero((one[-1] != two[-1]).any(axis=(0, 2)))
    assert len(changed) and changed.min() > layout(2, 28, 28).corner(1)[0], "only the second picture's words differ"


def test_the_last_frame_is_the_records_picture_and_the_record_is_the_same_as_without_a_film(own, tmp_path) -> None:
    before = own.preferred("act", [0, 3], seed=3, **FAST)  # stands already when it is filmed
    record, told = films.forming(own, tmp_path / "film.webp", layer="act", units=[0, 3], seed=3, **FAST)
    fresh, _ = films.forming(own, tmp_path / "fresh.webp", layer="act", units=[0, 7], seed=3, **FAST)
    assert np.array_equal(before.images, record.images) and np.array_equal(fresh.images[0], record.images[0])
    assert told == {"file": str(tmp_path / "film.webp"), "frames": LOOKS + 1, "seconds": pytest.approx(0.2 * LOOKS + 2.2)}
    film = Image.open(tmp_path / "film.webp")
    frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    lies = layout(2, 20, 20)
    as_film = replace(shots(2), frames=np.asarray(record.images)[None])
    assert frames[0].shape[1::-1] == lies.size
    assert all(np.array_equal(shown(frames[-1], as_film, place), record.images[place]) for place in (0, 1))
    assert not np.array_equal(shown(frames[0], as_film, 0), record.images[0])


def test_a_film_measures_its_pictures_as_the_record_does(own) -> None:
    from atlas.preferring import preferred

    formed: list = []
    record = preferred(own, layer="act", units=[0, 3, 7], formed=formed, **FAST)
    found = films.shots_of(own, record, formed[0])
    assert found.frames.shape == (LOOKS + 1, 3, 20, 20, 3) and np.allclose(found.value[-1], record.activation)
    assert np.array_equal(formed[0].images, record.images) and "another machine" not in found.note
    assert found.steps[:, 0].tolist() == [*range(0, 24, CHECK), 24, 24]
    same = (found.frames[:-1] == np.asarray(record.images)).all(axis=(2, 3, 4))
    assert np.allclose(found.value[:-1][same], np.broadcast_to(record.activation, same.shape)[same], rtol=1e-5)
    assert same.any(axis=0).all(), "each picture that was kept was seen on the way"


def test_reconstructions_are_numbered_and_classes_named(own, tmp_path) -> None:
    from atlas.preferring import preferred

    formed: list = []
    record = preferred(own, layer="logits", units=[1], formed=formed, variants=2, steps=16)
    assert films.shots_of(own, record, formed[0]).names == ["1 · frame (1)", "1 · frame (2)"]


# -- through the units


def chapter(marked: str, count: int, **changes: object) -> Chapter:
    tiles = [Tile(noise(20, 20, 3, seed=number), str(number), "99.5 %") for number in range(count)]
    given: dict[str, object] = {
        "marked": marked,
        "place": "layer 1 of 2",
        "tiles": tiles,
        "note": "n",
        "counts": "c",
        "foot": "f",
    }
    return Chapter(**given | changes)  # type: ignore[arg-type]


def drawings(sheet: Sheet, *marked: str) -> list[np.ndarray]:
    width, height = ((side + 0.5) / films.DPI for side in sheet.drawing)
    return [pixels(architecture_column(small_network(), marked=name, width=width, height=height)) for name in marked]


def test_pages_hold_sixty_four_units_each_picture_to_the_pixel() -> None:
    sheet = Sheet(1440)
    one, two = chapter("conv1", 65), chapter("logits", 3)
    pages = list(unit_pages([one, two], drawings(sheet, "conv1", "logits"), title="mine", sheet=sheet))
    assert [len(part) for part in one.pages] == [64, 1] and len(pages) == 3
    assert all(page.shape == (sheet.height, 1440, 3) and page.dtype == np.uint8 for page in pages)
    for page, tiles, of in ((pages[0], one.pages[0], one), (pages[1], one.pages[1], one), (pages[2], two.pages[0], two)):
        lies = of.lies(sheet)
        factor = lies.side // 20
        for number, tile in enumerate(tiles):
            y, x = 86 + number // lies.columns * (lies.side + 28), sheet.left + number % lies.columns * lies.step
            assert np.array_equal(page[y : y + 20 * factor : factor, x : x + 20 * factor : factor], tile.picture)


@pytest.mark.parametrize("width", [1200, 1440, 1441, 3840])
@pytest.mark.parametrize("edge", [8, 28, 128, 512])
def test_tiles_never_overlap_and_stay_on_the_page(width: int, edge: int) -> None:
    sheet = Sheet(width)
    for count in range(1, SIDE * SIDE + 1):
        lies = sheet.lies(count, edge)
        rows = -(-count // lies.columns)
        assert lies.columns <= SIDE and rows <= SIDE and (lies.step >= lies.side or lies.columns == 1)
        assert lies.side % edge == 0 or lies.side < edge
        assert sheet.left + (lies.columns - 1) * lies.step + lies.side <= width
        assert 86 + rows * (lies.side + 28) - 8 <= sheet.height - 70


def test_the_marked_layer_stands_out_in_the_drawing_and_nothing_else_changes() -> None:
    sheet = Sheet(1440)
    conv, logits, relu = drawings(sheet, "conv1", "logits", "relu1")
    rows = np.flatnonzero((conv != logits).any(axis=(1, 2)))
    inside = np.flatnonzero((conv != relu).any(axis=(1, 2)))
    assert len(rows) and len(inside) and inside.max() < rows.max(), "relu1 is a stripe of the block of conv1"
    assert np.diff(rows).max() > 100, "the blocks between keep their pixels"
    pages = list(unit_pages([chapter("a", 2), chapter("a", 2)], [conv, logits], title="t", sheet=sheet))
    differ = (pages[0] != pages[1]).any(axis=2)[: sheet.height - 4]
    assert differ.any() and not differ[:, sheet.left :].any()


@pytest.mark.parametrize("marked", ["blocks.7.fc", "stem", "blocks.39"])
def test_a_layer_of_a_folded_block_can_be_marked(marked: str) -> None:
    plain, other = (architecture_column(deep_network(40), marked=name) for name in ("logits", marked))
    assert not np.array_equal(pixels(plain), pixels(other))


def test_strange_names_are_names_and_an_unknown_layer_is_refused() -> None:
    layers = small_network()
    layers.loc[0, "name"] = "$x$ 🙂 <b>\x1b"
    assert pixels(architecture_column(layers, marked="$x$ 🙂 <b>\x1b")).any()
    with pytest.raises(AtlasError, match="did you mean conv1"):
        architecture_column(small_network(), marked="conv2")
    tile = Tile(noise(20, 20, 3), "$\\frac$ 🙂" * 40, "failed")
    sheet = Sheet(1200)
    (page,) = unit_pages([chapter("<i>\n", 1, tiles=[tile])], drawings(sheet, "fc1"), title="🙂" * 300, sheet=sheet)
    assert page.shape[1] == 1200


def test_a_film_goes_through_the_layers_in_order_of_execution(filmed, tmp_path) -> None:
    told = films.film(filmed, tmp_path / "film.webp", seconds_per_page=1.5)
    assert [row["layer"] for row in told["layers"]] == ["conv1", "act", "logits"]
    held = films.held_of(filmed)
    most = [max(len(set(filmed.store.read(name, Preferred).units)) for name in held[row["layer"]]) for row in told["layers"]]
    assert [(row["drawn"], row["units"]) for row in told["layers"]] == list(zip(most, (8, 12, 3), strict=True))
    assert told["left_out"] == ["pool"] and told["frames"] == 3 and told["seconds"] == 4.5
    film = Image.open(tmp_path / "film.webp")
    assert film.n_frames == 3 and film.size == (told["width"], told["height"]) == (1440, Sheet(1440).height)
    for page, record in zip(ImageSequence.Iterator(film), films.records_of(filmed), strict=True):
        sheet, found = Sheet(1440), np.asarray(page.convert("RGB"))
        factor = sheet.lies(len(record), 20).side // 20
        cut = found[86 : 86 + 20 * factor : factor, sheet.left : sheet.left + 20 * factor : factor]
        assert np.array_equal(cut, record.images[0]) and page.info["duration"] == 1500
        drawing = films.drawing_of(filmed, record.layer, sheet)[40:]  # below the title
        assert np.array_equal(found[MARGIN + 40 : MARGIN + 40 + len(drawing), MARGIN : MARGIN + drawing.shape[1]], drawing)


def test_layers_can_be_chosen_by_name_or_number(filmed, tmp_path) -> None:
    number = filmed.network_record.layers.set_index("name")["number"]["conv1"]
    told = films.film(filmed, tmp_path / "film.webp", layers=["act", int(number)], width=1200)
    assert [row["layer"] for row in told["layers"]] == ["conv1", "act"] and told["left_out"] == []


def test_of_several_records_the_one_filmed_is_the_same_whichever_was_made_last(tiny_atlas, tmp_path) -> None:
    shutil.copytree(tiny_atlas.store.root, tmp_path / "tiny")
    made = atlas.open(tmp_path / "tiny")
    orders = (["pca", "fourier"], ["fourier", "pca"])
    for seed, order in zip((11, 12), orders, strict=True):
        for param in order:
            made.preferred("conv1", [1, 4], param=param, seed=seed, **FAST)
        names = [name for name in atlas.open(tmp_path / "tiny").names("preferred", layer="conv1", untrained=False)
                 if made.store.header(name)["fields"]["settings"]["seed"] == seed]  # fmt: skip
        held = atlas.open(tmp_path / "tiny")
        assert held.field(films.chosen(held, names), "parameterisation") == "pca"
        assert films.chosen(held, names) == films.chosen(held, names[::-1])
    made.preferred("conv1", [1, 4, 5], param="pixel", seed=11, **FAST)
    made.preferred("act", [7], **FAST)
    held = atlas.open(tmp_path / "tiny")
    every = held.names("preferred", layer="conv1", untrained=False)
    (most,) = films.names_of(held, ["conv1"])
    assert held.field(most, "parameterisation") == "pixel", "the one of most units goes before all"
    fourier = next(name for name in every if held.field(name, "parameterisation") == "fourier")
    told = films.film(held, tmp_path / "film.webp", layers=["conv1"], record=[fourier])["layers"]
    assert [(row["record"], row["param"], row["of"]) for row in told] == [(fourier, "fourier", len(every))]
    told = films.film(held, tmp_path / "film.webp", layers=["conv1"], param="pca")["layers"]
    assert [(row["param"], row["seed"]) for row in told] == [("pca", 11)], "of equals the lesser seed"
    said = success(run("film", held.store.root, "-o", tmp_path / "film.webp", "-l", "conv1")).out
    assert most in said and "of: how many records of the layer stand" in said
    words = {
        ("--record", "preferred-0"): "no record of preferred inputs 'preferred-0'",
        ("--record", every[0], "--record", every[1]): "are both of conv1: name one of a layer",
        ("--layer", "act", "--record", every[0]): "is of conv1, which is none of the layers asked for: name it too",
        ("--layer", "conv1", "--param", "maco"): "no preferred inputs of conv1 drawn by 'maco': there is",
        ("--param", "maco"): "no preferred inputs drawn by 'maco': there is",
    }
    for given, expected in words.items():
        clear_refusal(run("film", held.store.root, "-o", tmp_path / "film.webp", *given), expected)


def test_a_page_says_what_failed_what_rises_what_is_dead_and_how_many_were_drawn(filmed) -> None:
    record = films.records_of(filmed, ["logits"])[0]
    changed = {
        "failure": np.array([1, 0, 0], np.uint8), "converged": np.array([False, False, True]), "dead": list(range(4, 99)),
    }  # fmt: skip
    part = films.chapter_of(filmed, Preferred(**{**vars(record), **changed}), Sheet(1440))
    assert [tile.value for tile in part.tiles] == ["failed", "still rising", f"{record.percentile[2]:.4g} %"]
    assert part.counts == "3 of 3 units drawn · 1 failed · 1 still rising · 95 dead"
    assert "not drawn: 4, 5, 6" in part.foot and "43 and 55 more" in part.foot
    assert [tile.name for tile in part.tiles] == ["0 · disc", "1 · frame", "2 · stripes"]


# -- files


def test_the_same_frames_make_the_same_bytes_and_are_read_back(tmp_path) -> None:
    frames = [noise(30, 41, 3, seed=number) for number in range(3)]
    paths = [film_file.write_film(tmp_path / name, iter(frames), [0.2, 0.4, 2.0]) for name in ("a.webp", "b.WEBP")]
    assert paths[0].read_bytes() == paths[1].read_bytes() and len(list(tmp_path.iterdir())) == 2
    found = [(np.asarray(f.convert("RGB")), f.info["duration"]) for f in ImageSequence.Iterator(Image.open(paths[0]))]
    assert [shown_for for _, shown_for in found] == [200, 400, 2000]
    assert all(np.array_equal(frame, pixels) for frame, (pixels, _) in zip(frames, found, strict=True))


def test_a_video_has_every_frame_for_its_time_and_the_same_bytes(tmp_path) -> None:
    encoder = importlib.import_module("imageio_ffmpeg")  # the test extra has it
    frames = [np.full((61, 81, 3), level, np.uint8) for level in (0, 128, 255)]
    paths = [film_file.write_film(tmp_path / f"{name}.mp4", frames, [0.2, 0.4, 2.0]) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert encoder.count_frames_and_secs(str(paths[0])) == (26, pytest.approx(2.6))
    reader = encoder.read_frames(str(paths[0]))
    assert next(reader)["size"] == (82, 62)
    levels = [np.frombuffer(frame, np.uint8).mean() for frame in reader]
    assert np.allclose(levels, [0] * 2 + [128] * 4 + [255] * 20, atol=3)


def test_what_breaks_off_leaves_no_file(tmp_path) -> None:
    def breaking() -> Iterator[np.ndarray]:
        yield noise(8, 8, 3)
        raise AtlasError("enough")

    with pytest.raises(AtlasError, match="enough"):
        film_file.write_film(tmp_path / "film.webp", breaking(), [1.0, 1.0])
    assert not list(tmp_path.iterdir())


def test_a_video_that_is_not_whole_is_refused_and_removed(tmp_path, monkeypatch) -> None:
    def write_frames(path: str, *arguments: object, **options: object) -> Iterator[None]:
        Path(path).write_bytes(b"half")
        while True:
            yield

    broken = SimpleNamespace(write_frames=write_frames, count_frames_and_secs=lambda path: (1, 0.1))
    monkeypatch.setattr(film_file, "_encoder", lambda: broken)
    with pytest.raises(AtlasError, match="no whole film of 20 frames: free some space"):
        film_file.write_film(tmp_path / "film.mp4", [noise(8, 8, 3)] * 2, [1.0, 1.0])
    assert not list(tmp_path.iterdir())


def test_about_six_seconds_whatever_the_number_of_frames() -> None:
    assert film_file.seconds_of(1, held=2) == [2.2] and film_file.seconds_of(26, held=2)[:2] == [0.2, 0.2]
    assert sum(film_file.seconds_of(50, held=0)) == pytest.approx(10) and film_file.seconds_of(400, held=0)[0] == 0.1


# -- what is refused


@pytest.mark.parametrize(
    ("frames", "size", "words"),
    [
        (401, (100, 100), "a film of 401 frames: at most 400 would do; less"),
        (2, (4098, 100), "frames of 4098 × 100 pixels: at most 4096 a side would do; less"),
        (100, (2000, 2000), "100 frames of 2000 × 2000 pixels are 400 million pixels: at most 200 million would do; less"),
    ],
)
def test_a_film_too_large_is_refused(frames, size, words) -> None:
    with pytest.raises(AtlasError, match=words):
        film_file.check_size(frames, size, "less")
    film_file.check_size(400, (700, 700), "less")


def test_a_film_too_large_is_refused_before_anything_is_drawn(own, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("atlas.preferred.making.draw", lambda *arguments, **options: pytest.fail("drawn"))
    with pytest.raises(AtlasError, match=r"a film of 402 frames.* give fewer --unit, fewer --steps or a smaller --size"):
        films.forming(own, tmp_path / "film.webp", layer="act", units=[0], steps=3200)
    with pytest.raises(AtlasError, match="steps 0"):
        films.forming(own, tmp_path / "film.webp", layer="act", units=[0], steps=0)
    with pytest.raises(AtlasError, match="did you mean"):
        films.forming(own, tmp_path / "film.webp", layer="actt")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["-o", "film.gif"], "film.gif would be a .gif: .webp, .mp4 would do"),
        (["-o", "film"], "film would be a file without suffix"),
        (["-o", "nowhere/film.webp"], "make it first"),
        (["--seconds-per-page", "0"], "0.0 seconds per page: 0.2 to 60 would do"),
        (["--seconds-per-page", "nan"], "nan seconds per page"),
        (["--width", "100"], "a film 100 pixels wide: an even number from 1200 to 3840 would do"),
        (["--width", "1441"], "a film 1441 pixels wide: an even number"),
        (["--layer", "pool"], "pool has no preferred inputs in this atlas: run `atlas preferred"),
        (["--layer", "logit"], "did you mean logits?"),
    ],
)
def test_what_cannot_be_filmed_is_refused_in_one_line(filmed, tmp_path, monkeypatch, given, words) -> None:
    monkeypatch.chdir(tmp_path)
    clear_refusal(run("film", filmed.store.root, *given), words)
    assert not list(tmp_path.iterdir())


def test_an_atlas_without_preferred_inputs_says_how_to_draw_them(tiny_atlas, tmp_path) -> None:
    refusal = run("film", tiny_atlas.store.root, "-o", tmp_path / "film.webp")
    clear_refusal(refusal, "holds no preferred inputs: run `atlas preferred", "--layer logits` first")


def test_without_the_extra_a_video_is_refused_before_the_work(filmed, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    words = "an .mp4 needs the video extra: `pip install imageio-ffmpeg`, or give a name that ends in .webp"
    clear_refusal(run("film", filmed.store.root, "-o", tmp_path / "film.mp4"), words)
    clear_refusal(run("preferred", filmed.store.root, "-l", "act", "-u", "7", "--film", tmp_path / "film.mp4"), words)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "film.webp").mkdir()
    with pytest.raises(AtlasError, match="is a folder: give a file's name"):
        film_file.write_film(tmp_path / "film.webp", [noise(8, 8, 3)], [1.0])
    with pytest.raises(AtlasError, match=r"cannot be written .*: choose another place"):
        film_file.write_film(Path("/proc/film.webp"), [noise(8, 8, 3)], [1.0])


# -- the commands


def test_the_commands_write_films_and_say_what_is_in_them(filmed, tmp_path) -> None:
    done = success(run("film", filmed.store.root, "-o", tmp_path / "all.webp"))
    assert "3 pages, 9.0 s, 1440 ×" in done.out and "has drawn none of their units: pool" in done.out
    told = json.loads(success(run("film", filmed.store.root, "-o", tmp_path / "all.webp", "-l", "act", "--json")).out)
    assert told["frames"] == 1 and told["layers"][0]["layer"] == "act"
    arguments = ["preferred", filmed.store.root, "-l", "act", "-u", "7", "--steps", "16", "--film", tmp_path / "one.webp"]
    assert "one.webp: 4 frames, 2.8 s" in success(run(*arguments)).out
    told = json.loads(success(run(*arguments, "--json")).out)
    assert told["film"]["frames"] == Image.open(tmp_path / "one.webp").n_frames == 4
