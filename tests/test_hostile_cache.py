"""An atlas's folder that is read-only, full, of another format, edited by hand, or going: one line, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import atlas
from atlas.errors import AtlasError
from atlas.pages import answers, routes
from atlas.pages.shelf import EXPECTED, Shelf
from atlas.store import BUILDING, Store
from tests import hostile
from tests.command import Answer, bound, build, clear_refusal, files_of, run, success

VERBS = (["show"], ["query", 3, "-k", 11, "--json"], ["query", 3, "-k", 5], ["gc"])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve plain pictures of two classes, as the test set that they are said to be."""
    folder = tmp_path_factory.mktemp("base") / "images"
    for number, name in enumerate(("cat", "dog")):
        hostile.plain(folder / name, 6, first=100 + 20 * number)
    return folder


@pytest.fixture(scope="module")
def standing(images: Path) -> Path:
    """An atlas of them; a copy in a folder beside its own finds its images."""
    success(rebuild(images, images.parent / "whole" / "a"))
    return images.parent / "whole" / "a"


@pytest.fixture
def copied(standing: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of the atlas, to be damaged."""
    folder = standing.parents[1] / f"copy-{abs(hash(request.node.name))}"
    shutil.copytree(standing, folder / "a")
    yield folder / "a"
    shutil.rmtree(folder, ignore_errors=True)


def rebuild(images: Path, root: Path) -> Answer:
    return build(images, root, "--layer=act", "--layer=logits", "--split=test")


def arrays(root: Path) -> dict[str, bytes]:
    return {name: body for name, body in files_of(root).items() if name.endswith(".npy")}


def ends_clearly(answer: Answer) -> bool:
    """Hold that a command succeeded or was refused in one line; tell whether it was refused."""
    if answer.code == 0:
        assert "Traceback" not in answer.err, answer.err
        return False
    clear_refusal(answer)
    return True


# -- read-only -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(standing: Path) -> Iterator[Callable[[str], Path]]:
    """Returns a folder, as deep as the atlas, with a tmpfs of the options given; called again it takes other options."""
    folder = standing.parents[1] / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        again = "remount," if os.path.ismount(folder) else ""
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        command = [*sudo, "mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"this test needs to mount a small tmpfs, as root or by sudo -n: {done.stderr}"
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a worker may still have arrays of it mapped
    folder.rmdir()


def test_a_read_only_disk_is_read_and_not_built_on(
    disk: Callable[[str], Path], standing: Path, images: Path, tmp_path: Path
) -> None:
    root = disk("size=16m") / "a"
    shutil.copytree(standing, root)
    before = files_of(root)
    disk("ro,size=16m")
    clear_refusal(rebuild(images, root), "cannot be written in; choose another with --cache")
    new = hostile.plain(tmp_path / "new", 1, first=900) / "000.png"
    for verb, *rest in (*VERBS, ["query", new], ["patterns", "-o", tmp_path / "p.png"]):
        success(run(verb, root, *rest))
    disk("rw,size=16m")
    (root / "layout-0123456789abcdef").mkdir()
    shutil.copy(next(root.glob("layout-*/record.json")), root / "layout-0123456789abcdef" / "record.json")
    os.utime(root / "layout-0123456789abcdef" / "record.json", (0, 0))
    disk("ro,size=16m")
    clear_refusal(run("gc", root, "--remove"), "cannot write in", "Read-only file system")
    assert {name: body for name, body in files_of(root).items() if name in before} == before


def test_a_folder_that_may_not_be_written_in_is_refused_before_the_work(images: Path, copied: Path) -> None:
    folders = [copied, *(path for path in copied.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    answer = bound("build", "tests.tiny:network", images, "--cache", copied, "--layout=pca", "--layer=pool")
    for folder in folders:
        folder.chmod(0o755)
    clear_refusal(answer, "cannot be written in; choose another with --cache")


# -- full ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["size", "nr_inodes"])
def test_a_disk_that_is_full_at_any_moment_is_one_line_and_keeps_what_is_finished(
    disk: Callable[[str], Path], images: Path, standing: Path, what: str
) -> None:
    steps = range(8, 600, 20) if what == "size" else range(3, 400, 9)
    unit = "k" if what == "size" else ",size=16m"
    kept: dict[str, bytes] = {}
    refused = 0
    for step in steps:
        root = disk(f"{what}={step}{unit}") / "a"
        answer = rebuild(images, root)
        found = {name: body for name, body in files_of(root).items() if name.endswith((".npy", "record.json"))}
        assert kept.items() <= found.items(), "what was finished is lost"
        kept = found
        if answer.code == 0:
            break
        clear_refusal(answer, "fr")  # "free some space", or how much is free
        refused += 1
    assert refused > 5 and arrays(root) == arrays(standing), answer.err


# -- another format, or edited by hand -----------------------------------------------------------------------------------


def stages(root: Path) -> list[str]:
    """Return one artifact of each stage, those of the parts included."""
    of: dict[str, str] = {}
    for name in Store(root).artifacts():
        of.setdefault(name.rpartition("/")[2].rpartition("-")[0], name)
    return list(of.values())


def check_every_verb(root: Path, images: Path, *, thorough: bool = True) -> int:
    """Hold that each verb answers or refuses in one line, and so do the page's answers; return how many refused."""
    refused = sum(ends_clearly(run(verb, root, *rest)) for verb, *rest in VERBS[: 4 if thorough else 2])
    assert not thorough or not ends_clearly(run("list", root.parent)), "a list says which atlases are damaged"
    return refused + check_the_page(root)


def check_the_page(root: Path) -> int:
    """Hold that a page opens or says why not, and that its answers come or are missing; return 1 when it does not open."""
    try:
        view = Shelf().open(root)
    except AtlasError as reason:
        assert "\n" not in str(reason)
        return 1
    ways = [
        *(lambda space=space: view.xy(space.layouts[0]) for space in view.spaces),  # type: ignore[misc]
        *(lambda space=space: view.nearest(space.neighbours or "", 3) for space in view.spaces),  # type: ignore[misc]
        *(lambda space=space: view.top(space.predictions or "", 3) for space in view.spaces),  # type: ignore[misc]
        *(lambda space=space: view.colours(space) for space in view.spaces),  # type: ignore[misc]
        *(lambda space=space: view.patterns(space.statistics or "", 3) for space in view.spaces),  # type: ignore[misc]
        lambda: view.detail(3), lambda: view.start({}), lambda: answers.as_json(view.detail(0)),
    ]  # fmt: skip
    for way in ways:
        with suppress(*EXPECTED, AtlasError):  # the routes answer with "not found", and the page with a sentence
            way()
    return 0


@pytest.mark.parametrize("text", ['{"format": 2, "shown": []}', "", "[]", "null", "{", "[" * 100_000, '{"format": 1}',
    '{"format": 1, "shown": 3}', '{"format": 1, "shown": ["../../etc"]}', '{"format": 1, "shown": [null]}', '"\\ud800"',
    '{"format": 1, "shown": [], "title": {"a": 1}}', '{"format": NaN, "shown": []}', '{"format": 1, "shown": ["layout-0"]}',
    '{"format": 1, "shown": [], "title": "\\ud800 \\u001b[31m"}', '{"format": 1, "shown": ["%s"]}' % ("a" * 400),
])  # fmt: skip
def test_an_atlas_json_that_is_not_right_is_one_line_for_every_verb(copied: Path, images: Path, text: str) -> None:
    (copied / "atlas.json").write_text(text)
    assert check_every_verb(copied, images) > 0
    before = arrays(copied)
    if ends_clearly(rebuild(images, copied)):
        (copied / "atlas.json").unlink()
        answer = success(rebuild(images, copied))
        assert "nothing was built" in answer.err, "what is finished is found, not made anew"
    assert arrays(copied) == before
    success(run("show", copied))


def test_a_record_of_another_format_is_refused_and_built_again_once_it_is_removed(copied: Path, images: Path) -> None:
    whole = arrays(copied)
    for name in stages(copied):
        path = copied / name / "record.json"
        text = path.read_text()
        path.write_text(text.replace('"format": 1', '"format": 7'))
        refused = check_every_verb(copied, images)
        assert refused or name.startswith("parts/"), name
        answer = rebuild(images, copied)
        if ends_clearly(answer):
            said = clear_refusal(answer, "is of format 7 and this program reads 1: remove", "build again")
            assert str(copied / name) in said
            shutil.rmtree(copied / name)
            success(rebuild(images, copied))
        else:
            path.write_text(text)
    assert arrays(copied) == whole


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def as_text(path: Path) -> None:
    array = np.load(path)
    np.save(path, np.full(array.shape, "x"))


def as_complex(path: Path) -> None:
    np.save(path, np.load(path).astype(np.complex64))


def longer(path: Path) -> None:
    array = np.load(path)
    np.save(path, np.concatenate([array, array]))


def flat(path: Path) -> None:
    np.save(path, np.load(path).ravel()[:5])


def far_out(path: Path) -> None:
    array = np.load(path)
    whole = 120 if array.dtype.itemsize == 1 else 10**6
    np.save(path, np.full_like(array, whole if array.dtype.kind in "iu" else np.finfo(array.dtype).max))


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {f.__name__: f for f in (Path.unlink, halved, emptied, as_text, as_complex, longer, flat, far_out, as_folder)}


def check_damaged_arrays(standing: Path, copied: Path, images: Path, damages: list[str]) -> None:
    """Damage one array after the other, each by the next of `damages`, and hold that every verb is clear about it."""
    paths = [path for name in stages(copied) for path in sorted((copied / name).glob("*.npy"))]
    assert len(paths) > 30
    for number, path in enumerate(paths):
        DAMAGES[damages[number % len(damages)]](path)
        check_every_verb(copied, images, thorough=len(damages) == 1)
        if path.is_dir():
            path.rmdir()
        shutil.copy(standing / path.relative_to(copied), path)


def test_arrays_that_were_edited_are_refused_by_name_or_do_no_harm(standing: Path, copied: Path, images: Path) -> None:
    check_damaged_arrays(standing, copied, images, list(DAMAGES))


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
def test_any_edit_of_any_array_is_refused_by_name_or_does_no_harm(
    standing: Path, copied: Path, images: Path, damage: str
) -> None:
    check_damaged_arrays(standing, copied, images, [damage])


@pytest.mark.parametrize("damage", ["unlink", "halved", "emptied", "as_folder", "other_columns", "no_rows", "other_types"])
def test_tables_that_were_edited_are_refused_by_name_or_do_no_harm(
    standing: Path, copied: Path, images: Path, damage: str
) -> None:
    def change(path: Path) -> None:
        table = pd.read_parquet(path)
        changed = {
            "other_columns": table.iloc[:, :2],
            "no_rows": table.iloc[:0],
            "other_types": table.assign(path=3, name=4),
        }
        changed[damage].to_parquet(path, index=False)

    for name in stages(copied):
        for path in sorted((copied / name).glob("*.parquet")):
            DAMAGES.get(damage, change)(path)
            refused = check_every_verb(copied, images)
            assert refused or damage in ("no_rows", "other_types"), path
            ends_clearly(rebuild(images, copied))
            if path.is_dir():
                path.rmdir()
            shutil.copy(standing / path.relative_to(copied), path)


def test_a_damaged_artifact_is_named_and_built_again_once_it_is_removed(copied: Path, images: Path) -> None:
    whole = arrays(copied)
    for name in stages(copied):
        for path in sorted((copied / name).glob("*.npy")):
            halved(path)
        answer = rebuild(images, copied)
        if answer.code:
            clear_refusal(answer, "is damaged", "remove it and build again", str(copied / name))
        shutil.rmtree(copied / name)
        success(rebuild(images, copied))
        assert arrays(copied) == whole, name


FIELDS: tuple[object, ...] = (None, 3, -1, "x", "../../etc", [], {}, [None], {"a": {"b": []}}, True, 1e300)


def check_edited_fields(copied: Path, images: Path, values: tuple[object, ...], *, every: int = 1) -> None:
    """Give one field after the other (`every` 4: each fourth) a value, and hold that every verb is clear about it."""
    parts = ("fields", "inputs", "files", "parameters")
    turn = 0
    for name in stages(copied):
        path = copied / name / "record.json"
        text = path.read_text()
        header = json.loads(text)
        inside = [(part, field) for part in parts for field in header[part]]
        for where, field in [*inside, *(("", key) for key in header)]:
            turn += 1
            if turn % every:
                continue
            value = values[turn % len(values)]
            inner = {where: {**header[where], field: value}} if where else {field: value}
            path.write_text(json.dumps({**header, **inner}))
            check_every_verb(copied, images, thorough=len(values) == 1)
        path.write_text(text)
    assert turn > 100


@pytest.mark.timeout(240)  # every verb after every edit, and other tests share the cores
def test_fields_that_were_edited_are_refused_by_name_or_do_no_harm(copied: Path, images: Path) -> None:
    check_edited_fields(copied, images, FIELDS, every=4)


@pytest.mark.long
@pytest.mark.parametrize("value", FIELDS, ids=repr)
def test_any_edit_of_any_field_is_refused_by_name_or_does_no_harm(copied: Path, images: Path, value: object) -> None:
    check_edited_fields(copied, images, (value,))


@pytest.mark.parametrize("name", [".building", "parts", "state", "hashes.parquet", "atlas.json", "images", "layout"])
def test_what_stands_in_the_place_of_a_file_or_folder_is_one_line(copied: Path, images: Path, name: str) -> None:
    for path in list(copied.glob(f"{name}*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_text("in the way") if "." not in name or name == BUILDING else path.mkdir()
    check_every_verb(copied, images)
    answer = rebuild(images, copied)
    if answer.code:
        clear_refusal(answer)


def test_a_kept_batch_size_that_was_edited_is_one_line(copied: Path, images: Path) -> None:
    shutil.rmtree(copied / "parts")
    ends_clearly(build(images, copied, "--layer=act"))  # its size is fixed; without it, it is kept in the state
    arguments = ["build", "tests.tiny:network", images, "--cache", copied, "--layout=pca", "--layer=pool"]
    success(run(*arguments))
    (kept,) = (copied / "state").glob("batch-*.json")
    for text in ("", "{}", '{"batch_size": 0}', '{"batch_size": true}', "[" * 10_000):
        kept.write_text(text)
        shutil.rmtree(copied / "parts", ignore_errors=True)
        clear_refusal(run(*arguments), "holds no batch size: remove it and build again")


# -- going ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", range(0, 14))
def test_an_atlas_that_is_removed_while_it_is_built_is_one_line_and_can_be_built_again(
    images: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    root = images.parent / "going" / "a"
    calls, before = iter(range(10_000)), Store.build

    def build_and_lose(self: Store, *arguments: object, **options: object) -> object:
        if next(calls) == moment:
            shutil.rmtree(self.root, ignore_errors=True)
        return before(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "build", build_and_lose)
    ends_clearly(rebuild(images, root))
    monkeypatch.undo()
    if moment % 4 == 0:
        success(rebuild(images, root))
        success(run("show", root))
    shutil.rmtree(root.parent)


@pytest.mark.parametrize("moment", range(0, 8))
def test_an_atlas_that_is_removed_while_it_is_asked_answers_or_says_so(
    copied: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    calls, before = iter(range(10_000)), Store.path

    def path_and_lose(self: Store, name: str) -> Path:
        if next(calls) == moment:
            shutil.rmtree(self.root, ignore_errors=True)
        return before(self, name)

    monkeypatch.setattr(Store, "path", path_and_lose)
    for verb, *rest in VERBS:
        ends_clearly(run(verb, copied, *rest))
    monkeypatch.undo()
    for verb, *rest in VERBS:
        clear_refusal(run(verb, copied, *rest), "no atlas in")


def test_an_atlas_that_is_removed_while_it_is_served_is_missing_and_said_so(copied: Path) -> None:
    answers.SHELF.open(copied)
    view = answers.SHELF.opened[copied.resolve()][1]
    key = view.images_name
    shutil.rmtree(copied)
    for answer in (lambda: answers.sheet(key, "0"), lambda: answers.column(key, "label"), lambda: answers.detail(key, "3")):
        with suppress(*routes.MISSING):  # which the page is told as "not found"
            answer()
    with pytest.raises(AtlasError, match="no atlas in"):
        answers.SHELF.open(copied)
    answers.SHELF.opened.pop(copied.resolve(), None)
    answers.SHELF.known.discard(copied.resolve())
    clear_refusal(run("serve", copied), "no atlas in")


@pytest.mark.parametrize("port", [-1, 0, 70_000])
def test_a_port_that_cannot_be_is_one_line_or_the_next(port: int) -> None:
    from atlas.serving import free_port

    try:
        assert 0 < free_port(port) < 65_536
    except AtlasError as reason:
        assert "name another with --port" in str(reason)


def test_an_open_atlas_whose_folder_goes_says_so(copied: Path) -> None:
    opened = atlas.open(copied)
    opened.images()
    shutil.rmtree(copied)
    with pytest.raises(AtlasError):
        opened.vectors("act")
