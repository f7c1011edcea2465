"""The report's page: the explorer's own, its scripts, styles and pictures written into it; it asks nothing of a network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.resources import Resources

from atlas.pages.answers import BUNDLE, STATIC, static_version
from atlas.pages.bundle import modules, squeezed
from atlas.pages.explorer import explorer_page
from atlas.pages.held import Held
from atlas.pages.part import Part

CANVAS_UP_TO = 70_000  # points that a canvas draws as fast as WebGL does without a GPU; beyond, WebGL
# Bokeh compiles its callbacks (unsafe-eval), and the page's modules are blobs. Nothing may be fetched from anywhere.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)
BOKEH = re.compile(r"<(?:script)>(.*?)</script>", re.DOTALL)  # its own code, before ours is written into the page
TAG = re.compile(r'<(link|script|img)\b[^>]*?"atlas/page/[0-9a-f]{12}/(\w+)\.(css|js|svg)"[^>]*>(?:</script>)?')


@dataclass(frozen=True)
class Page:
    """A page whose data and whose Bokeh are not in it yet."""

    html: str
    bokeh: str  # its code, and what it draws with it: a third of the size when deflated


def page_html(view: Part, told: Mapping[str, Any], *, images: Mapping[str, Any]) -> Page:
    """Return the page without its data, Bokeh beside it: `told` goes into the manifest, `images` into its images."""
    doc = Document()
    most = max(len(view.point_image(space.activations[0])) for space in view.spaces)
    explorer_page(doc, view, {"backend": "canvas" if most <= CANVAS_UP_TO else "webgl"}, several=False, notices=[])
    points = doc.get_model_by_name("points")
    points.data = {name: values[:0] for name, values in points.data.items()}  # type: ignore[union-attr]  # drawn from what is held
    variables = doc.template_variables
    variables["manifest"] |= {"static": True, "largest": None, "path": None, **told}
    variables["manifest"]["images"] |= images
    html = file_html(doc, Resources("inline"), title=doc.title, template=doc.template, template_variables=variables)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    page = re.sub(r"<head>", lambda head: f"{head[0]}\n{policy}", inlined(BOKEH.sub("", html)), count=1)
    return Page(page, "\n".join(BOKEH.findall(html)))


def inlined(html: str) -> str:
    """Return a page with what it takes from ``atlas/page/`` written into it: names in its data cannot look like a tag."""
    return TAG.sub(lambda tag: _inline(tag[0], tag[1], tag[2], tag[3]), html)


def _inline(tag: str, kind: str, name: str, suffix: str) -> str:
    if f"{name}.{suffix}" == BUNDLE:
        return as_data("modules", modules(STATIC)) + script(squeezed((STATIC / "unpack.js").read_text("utf-8")))
    body = (STATIC / f"{name}.{suffix}").read_text("utf-8")
    if kind == "script":
        return script(body)
    if suffix == "css":
        return f"<style>\n{body}</style>"
    address = f"data:image/svg+xml;base64,{base64.b64encode(body.encode()).decode()}"
    return tag.replace(f"atlas/page/{static_version()}/{name}.{suffix}", address)


def script(body: str) -> str:
    """Return a script element; a text that would end it is refused."""
    if "</script" in body.lower() or "<!--" in body:
        raise ValueError("a script of the page holds what would end its element")
    return element("script", "", body)


def element(kind: str, attributes: str, body: str) -> str:
    """Return an element with a body that is written as it is."""
    return f"<{kind}{attributes}>{body}</{kind}>"


def as_data(name: str, value: Any) -> str:
    """Return a value as JSON in an element that the page's scripts read; nothing in it can end the element."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return element("script", f' type="application/json" id="{name}"', body)


def with_data(html: str, held: Held) -> bytes:
    """Return the file: the page, and behind what it shows first all that it holds."""
    data = as_data("held-index", held.index()) + element("script", ' type="text/plain" id="held"', held.text())
    before, end, after = html.rpartition("</body>")
    return f"{before}{data}{end}{after}".encode("utf-8", "replace")
