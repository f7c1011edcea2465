"""Where what a page shows comes from: network, images, layers, parameters, programs, quality; in words, for reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from atlas.maps.records import METHOD_NAMES
from atlas.models.records import NetworkRecord
from atlas.pages.view import Space, View

QUALITY = ("trustworthiness", "continuity", "recall", "k", "sample")
Lines = list[list[str]]  # name and value of each line
SHOWN = ("torch", "torchvision", "timm", "faiss-cpu", "umap-learn", "openTSNE", "scikit-learn", "numpy", "bokeh", "atlas")


def provenance(view: View) -> list[dict[str, Any]]:
    """Return the sections of what is known of an atlas: title and lines, each a name and a value in words."""
    sections = {
        "Images": images_lines(view),
        **{f"Network {title}": lines for title, lines in networks(view)},
        "Layers": [line for space in view.spaces for line in space_lines(view, space)],
        "Programs": [*versions(view), ["made on", view.date], ["folder", view.name]],
    }
    return [{"title": title, "lines": lines} for title, lines in sections.items() if lines]


def images_lines(view: View) -> Lines:
    """Return what the images are, how many there are of each split, and what was left out."""
    images, counts = view.images, view.images.counts
    splits = images.table["split"].value_counts().to_dict()
    told = [["source", images.title], ["images", number(len(images))]]
    if counts.get("available") and int(counts["available"]) > len(images):
        told.append(["left out", f"{number(int(counts['available']) - len(images))} of {number(int(counts['available']))}"])
    told.append(["splits", ", ".join(f"{name} {number(count)}" for name, count in splits.items())])
    odd = (("undecodable", "do not decode"), ("duplicates", "duplicates"))
    told += [[word, number(int(counts[key]))] for key, word in odd if counts.get(key)]
    return [*told, ["classes", number(len(images.labels))], ["artifact", view.images_name]]


def networks(view: View) -> Iterable[tuple[str, Lines]]:
    """Yield the title and the lines of each network with a layer here."""
    for name in dict.fromkeys(space.network for space in view.spaces if space.network and space.network in view.headers):
        record: NetworkRecord = view.read(name, NetworkRecord)
        said = next((space.predictions for space in view.spaces if space.network == name and space.predictions), None)
        yield (
            record.title,
            [
                *([["named", record.spec]] if record.spec else []),
                ["identity", record.identity],
                ["parameters", number(record.parameters)],
                *settings("preprocessing", record.preprocess),
                *(accuracy(view, said) if said else []),
            ],
        )


def accuracy(view: View, predictions: str) -> Lines:
    """Return the class map's sentence and the accuracy of each split."""
    fields = view.headers[predictions]["fields"]
    told = fields.get("accuracy") or {}
    shares = [[f"right on {split}", f"{number(part['right'])} of {number(part['of'])}, {part['accuracy']:.4f}"]
              for split, part in sorted(told.items()) if part and part.get("accuracy") is not None]  # fmt: skip
    return [["class map", str(fields["class_map"]["sentence"])], *shares]


def space_lines(view: View, space: Space) -> Lines:
    """Return what one layer, or several jointly, were made with, and how faithful each of its maps is."""
    first = view.headers[space.activations[0]]["fields"]
    of = f"{first['unit_count']} units, {first['functional']}" if len(space.layers) == 1 else "joined"
    precision = view.headers[space.activations[0]].get("told", {}).get("precision")
    lines = [[space.id, ", ".join(filter(None, [of, str(precision) if precision else None]))]]
    if space.neighbours:
        lines.append([f"{space.id} neighbours", neighbours_words(view.headers[space.neighbours])])
    lines += [[f"{space.id} {method(view, name)}", layout_words(view.headers[name])] for name in space.layouts]
    return lines + ([[f"{space.id} image graph", graph_words(view.headers[space.graph])]] if space.graph else [])


def method(view: View, layout: str) -> str:
    """Return the name of a layout's method."""
    told = str(view.headers[layout]["fields"].get("method"))
    return METHOD_NAMES.get(told, told)


def neighbours_words(header: Mapping[str, Any]) -> str:
    """Return the metric, and whether the search was exact."""
    fields = header["fields"]
    exact = "exact" if fields["exact"] else f"approximate, recall {fields['recall']:.4f}"
    return f"{fields['metric']} distance, {exact}"


def graph_words(header: Mapping[str, Any]) -> str:
    """Return whose nearest are joined, and the parameters."""
    k, split, metric, seed = (header["fields"][name] for name in ("k", "split", "metric", "seed"))
    return f"mutual edges of {k} nearest, {split} images, {metric} distance; seed {seed}"


def layout_words(header: Mapping[str, Any]) -> str:
    """Return the parameters of a layout, and its figures of faithfulness."""
    fields = header["fields"]
    quality = {name: fields["quality"][name] for name in QUALITY if fields["quality"].get(name) is not None}
    parameters = {**fields["parameters"], **{k: v for k, v in header["parameters"].items() if k == "seed"}}
    return "; ".join(filter(None, [words(parameters), words(quality)]))


def settings(title: str, values: Any) -> Lines:
    """Return one line of named settings, none where there are none."""
    told = words(values) if isinstance(values, Mapping) else ""
    return [[title, told]] if told else []


def words(values: Mapping[str, Any]) -> str:
    """Return plain settings in words: ``n neighbors 15, min dist 0.1``."""
    plain = {k: v for k, v in values.items() if isinstance(v, int | float | str | list | tuple) and v not in ("", [], ())}
    return ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in plain.items())


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def versions(view: View) -> Lines:
    """Return the libraries that made what is shown, each with every version that had a part in it."""
    found: dict[str, set[str]] = {}
    for header in view.headers.values():
        for library, version in (header.get("libraries") or {}).items():
            found.setdefault(library, set()).add(str(version))
    order = [*(name for name in SHOWN if name in found), *sorted(set(found) - set(SHOWN))]
    return [[library, ", ".join(sorted(found[library]))] for library in order]


def number(value: int) -> str:
    """Return a whole number with thin spaces between its thousands."""
    return f"{value:,}".replace(",", "\u202f")
