"""Promises about the whole project: what imports what, what is documented, what is never done."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from atlas import cli

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "atlas"

# The rooms in their order: a module imports only from its own room and from rooms before it.
ORDER = (
    ("errors",), ("files",), ("machine",), ("progress",), ("recipe",), ("fields",), ("record",), ("store",), ("notes",),
    ("data",), ("models",), ("activations",), ("maps",), ("patterns",), ("preferred",), ("pages",),
    ("tables", "tables_inside", "tables_features", "planning"), ("stages", "showing"),
    ("looking", "seeing", "preferring", "truth", "holdings", "serving", "argued", "graphing", "across", "linking"),
    ("propagating", "breaking", "responding", "removing", "pasting", "sweeping", "tuning"),
    ("propagated", "breaking_points"),
    ("unit_sheet", "volumes"), ("films", "export", "levelling"), ("atlas",), ("worker",),
    ("pool",), ("recording", "arguing"), ("pipeline",), ("iconing",),
    ("estimate", "growing"), ("verbs",), ("strip", "classing", "inside", "graph_sheet", "response_sheet", "neighbour_sheet"),
    ("asking", "one_image", "feature_verbs"), ("reusing",), ("demo",),
    ("experiments",), ("cli",), ("__main__",),
)  # fmt: skip
HEAVY = ("torch", "torchvision", "timm", "umap", "openTSNE", "numba", "bokeh", "faiss", "sklearn", "matplotlib")
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, in functions too, annotations left out."""
    found = set()
    for node in ast.walk(without_type_checking(ast.parse(path.read_text("utf-8")))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "atlas"}


def without_type_checking(tree: ast.Module) -> ast.Module:
    tree.body = [
        n for n in tree.body if not (isinstance(n, ast.If) and isinstance(n.test, ast.Name) and n.test.id == "TYPE_CHECKING")
    ]
    return tree


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_from_rooms_before_its_own(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    wrong = [m for m in imported(path) if (room := room_of(m)) in RANK and RANK[room] > RANK[own]]
    assert not wrong, f"{own} comes before {wrong}"


def test_every_room_has_its_place_in_the_order():
    rooms = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in MODULES} - {"__init__"}
    assert rooms == set(RANK)


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return {name.split(".")[0] for name in json.loads(answer.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("import atlas, atlas.store, atlas.errors", set(HEAVY)),
        ("import atlas.cli", set(HEAVY)),
        ("import atlas.data.sources, atlas.data.reading, atlas.data.named", set(HEAVY)),
        ("import atlas.maps.neighbours, atlas.maps.layout, atlas.patterns.classes", {"torch", "umap", "numba"}),
        ("import atlas.pages.view, atlas.pages.explorer, atlas.pages.routes", {"torch", "umap", "numba", "openTSNE"}),
        ("import atlas.pages.figures", {"torch", "umap", "numba"}),
        ("import atlas.films", {"torch", "umap", "numba", "bokeh"}),
        ("import atlas.asking, atlas.worker.client, atlas.tables", {*HEAVY, "pandas", "numpy"}),
        ("import atlas.atlas, atlas.verbs", {"torch", "umap", "numba", "bokeh"}),
        ("import atlas.export, atlas.maps.volume", {"torch", "umap", "numba", "bokeh", "xarray", "h5py"}),
    ],
)
def test_what_is_light_stays_light(code, never):
    assert not loaded_by(code) & never


def calls(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names.add(ast.unparse(node.func))
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_nothing_prints_or_unpickles_or_leaves_a_stub(path):
    text = path.read_text("utf-8")
    called = calls(ast.parse(text))
    assert not called & {"print", "pickle.load", "pickle.loads", "np.load_pickle", "eval", "exec"}
    assert not re.search(r"allow_pickle\s*=\s*True|weights_only\s*=\s*False|\bTODO\b|\bFIXME\b|NotImplementedError", text)


def test_html_and_javascript_live_in_their_own_files():
    for path in (PACKAGE / "pages").glob("*.py"):
        strings = [n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant)]
        script = [s for s in strings if isinstance(s, str) and re.search(r"<script|document\.querySelector|=>\s*\{", s)]
        assert not script, path.name


VERBS = sorted(get_command(cli.app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_in_the_readme_and_has_help(verb):
    assert f"atlas {verb}" in (ROOT / "README.md").read_text("utf-8")
    command = get_command(cli.app).commands[verb]  # type: ignore[attr-defined]
    assert command.help
    assert all(getattr(p, "help", None) for p in command.params if p.name != "help"), verb


def test_every_record_is_in_the_format_document():
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    for path in PACKAGE.rglob("records.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name not in ("Vectors", "ClassMap", "PartLayer", "PartLogits"):
                fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
                missing = [field for field in fields if f"`{field}" not in text and f"{field}.npy" not in text]
                assert not missing, f"{node.name}: {missing}"


def test_nothing_downloaded_is_tracked():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout.split()
    assert not [name for name in tracked if name.startswith("cache/") and name != "cache/README.md"]
    weights = sum((ROOT / name).stat().st_size for name in tracked if name.endswith(".safetensors"))
    assert weights < 15e6
