"""The page's own JavaScript: every name that a module imports is there, and every import is used."""

from __future__ import annotations

import re

import pytest

from atlas.pages.answers import STATIC

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
