"""The page's own JavaScript: what a module imports is there, every import is used, and all of it comes at once."""

from __future__ import annotations

import json
import re

import pytest

from atlas.pages.answers import BUNDLE, STATIC, answer, static_version
from atlas.pages.bundle import BEFORE, modules, squeezed

MODULES = {path.name: path.read_text("utf-8") for path in STATIC.glob("*.js")}
IMPORT = re.compile(r'import \{([^}]*)\} from "\./([a-z]+\.js)";')


def exported(text: str) -> set[str]:
    """The names a module exports, declared with the word or listed in braces."""
    declared = re.findall(r"export (?:async )?(?:function\*?|class) ([A-Za-z_$][\w$]*)", text)
    for line in re.findall(r"^export (?:const|let) (.+)$", text, re.MULTILINE):
        declared += re.findall(r"(?:^|, )([A-Za-z_$][\w$]*) = ", line)
    for names in re.findall(r"export \{([^}]*)\}", text):
        declared += [name.split(" as ")[-1].strip() for name in names.split(",")]
    return set(declared)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_what_a_module_imports_is_exported_and_used(module: str) -> None:
    text = MODULES[module]
    rest = IMPORT.sub("", text)
    for names, other in IMPORT.findall(text):
        assert other in MODULES, f"{module} imports from {other}, which is not there"
        for name in filter(None, (part.strip() for part in names.split(","))):
            asked, *renamed = name.split(" as ")
            assert asked in exported(MODULES[other]), f"{module} imports {asked}, which {other} does not export"
            assert re.search(rf"\b{re.escape((renamed or [asked])[0])}\b", rest), f"{module} does not use {name}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_squeezing_takes_away_indentation_and_comments_and_nothing_else(module: str) -> None:
    kept = squeezed(MODULES[module])
    code = [line.partition(" // ")[0] for line in MODULES[module].split("\n") if not re.match(r"\s*//", line)]
    assert re.sub(r"\s", "", kept) == re.sub(r"\s", "", "".join(code)) and squeezed(kept) == kept
    for line in MODULES[module].split("\n"):  # a text over several lines would lose its indentation
        assert line.count("`") % 2 == 0 and not line.endswith("\\"), line
        before, told, comment = line.partition(" // ")
        assert not told or line.lstrip().startswith("//") or all(before.count(mark) % 2 == 0 for mark in '"`'), line
        assert " // " not in comment, line


def test_one_file_holds_all_modules_as_they_are() -> None:
    kind, body = answer(f"/page/{static_version()}/{BUNDLE}")
    told, _, rest = body.decode().partition(";\n")
    assert kind.startswith("text/javascript") and json.loads(told.removeprefix("window.atlasModules = ")) == modules(STATIC)
    assert {f"{name}.js" for name in (*modules(STATIC), *BEFORE)} == set(MODULES)
    assert rest == squeezed(MODULES["unpack.js"])
