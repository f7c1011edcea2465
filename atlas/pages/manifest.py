"""What a page is told once, as plain JSON: names, keys, counts and sentences. The numbers themselves come by route."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.activations.records import Activations, Predictions
from atlas.data.records import SPLITS
from atlas.maps.records import METHOD_NAMES, Layout, Neighbours
from atlas.models.records import NetworkRecord
from atlas.pages import colourings, colours, graphs, newcomers, unit_answers
from atlas.pages.cell_answers import cells_part
from atlas.pages.colour_answers import digest
from atlas.pages.doubts import faithful, spread_part
from atlas.pages.feature_answers import volumes_part
from atlas.pages.layers import layers_part
from atlas.pages.posting import read_only_server
from atlas.pages.preferred_answers import preferred_part
from atlas.pages.provenance import provenance
from atlas.pages.view import Space, Start, View

CHOSEN = ("n_neighbors", "min_dist", "perplexity", "metric")  # the parameters a reader of the map chooses by


def manifest(view: View, start: Start, *, several: bool) -> dict[str, Any]:
    """Return all that the page's script needs to begin; `several` tells whether there are other atlases to go to."""
    predictions = sorted({space.predictions for space in view.spaces if space.predictions})
    return {
        "atlas": view.name,
        "path": view.name if read_only_server() else str(view.store.root.resolve()),  # as a command takes it
        "readOnly": read_only_server(),  # what would write is hidden
        "title": view.title,
        "several": several,
        "about": provenance(view),
        "date": view.date,
        "images": images_part(view),
        "spaces": [space_part(view, space) for space in view.spaces],
        "layers": layers_part(view),
        "networks": networks_part(view),
        "predictions": {name: predictions_part(view, name) for name in predictions},
        "statistics": unit_answers.layers_part(view),
        "across": unit_answers.across_part(view),
        "preferred": preferred_part(view),
        "volumes": volumes_part(view),
        "cells": cells_part(view),
        "graphs": graphs.graphs_part(view),
        "start": {
            "space": start.space,
            "layout": start.layout,
            "split": start.split,
            "colour": start.colour,
            "image": start.image,
            "unit": start.unit,
            "beside": start.beside,
        },
        "notices": start.notices,
        "largest": newcomers.limit(),  # bytes of a new image; None where this server takes none
        "colours": {
            "classes": class_palette(view),
            "none": colours.NONE,
            "right": colours.RIGHT,
            "wrong": colours.WRONG,
            "split": list(colours.SPLIT),
            "amount": list(colours.AMOUNT),
            "names": list(colours.CLASSES),  # of a column of the user's
        },
    }


def class_palette(view: View) -> list[str]:
    """Return a colour for every code of a label or of a prediction that is no label, in the order of the codes."""
    named = [
        len(view.predicted(name)[0])
        for name in view.of_stage("predictions")
        if any(name == s.predictions for s in view.spaces)
    ]
    codes = view.images.codes
    return colours.class_colours(max([len(view.images.labels), *named]), np.unique(codes[codes >= 0]).tolist())


def images_part(view: View) -> dict[str, Any]:
    """Return what the page needs of the images record."""
    images = view.images
    return {
        "key": view.images_name,
        "title": images.title,
        "count": len(images),
        "available": available(view),
        "undecodable": int(len(images) - len(images.decoded)),
        "labels": list(images.labels),
        "splits": dict(zip(SPLITS, np.bincount(view.splits, minlength=3)[:3].tolist(), strict=True)),
        "told": bool((view.splits != SPLITS.index("unknown")).any()),  # whether a split is known of any image
        "switch": view.opening_split == "held-out",
        "edge": images.thumbnail_edge,
        "columns": images.sheet_columns,
        "own": [colourings.own_part(own) for own in colourings.own_columns(view)],
        "digest": digest(view, len(images)),
    }


def available(view: View) -> int | None:
    """Return how many images there were to choose from, where `--limit` left some out; None where all are there."""
    found = view.images.counts.get("available")
    return int(found) if found is not None and int(found) > len(view.images) else None


def space_part(view: View, space: Space) -> dict[str, Any]:
    """Return what the page needs of one layer, or of several jointly."""
    first: Activations = view.read(space.activations[0], Activations)
    points = view.point_image(space.activations[0])
    identity = len(points) == len(view.images) and bool((points == np.arange(len(points))).all())
    return {
        "id": space.id,
        "title": space_title(view, space),
        "layers": space.layers,
        "network": space.network,
        "activations": space.activations[0],
        "identity": identity,  # point n is image n: no column to fetch
        "spatial": first.spatial,
        "points": len(points),
        "predictions": space.predictions,
        "statistics": space.statistics,
        "patterns": pattern_sources(view, space),
        "colours": view.colours(space),
        "suspects": space.doubts.get("suspects"),
        "leaks": space.doubts.get("leaks"),
        "spread": spread_part(view, space.doubts["spread"]) if "spread" in space.doubts else None,
        "classes": space.doubts.get("spread"),  # the record that the classes panel asks for more of
        "layouts": [layout_part(view, name) for name in space.layouts]
        + ([graphs.layout_part(view, space.graph)] if space.graph else []),
        "neighbours": neighbours_part(view, space.neighbours) if space.neighbours else None,
    }


def space_title(view: View, space: Space) -> str:
    """Return the words of a layer in the switch: its name, units and functional, or the layers that are joined."""
    if len(space.layers) > 1:
        return f"{len(space.layers)} layers jointly: {', '.join(space.layers)}"
    record: Activations = view.read(space.activations[0], Activations)
    return f"{record.layer} · {record.unit_count} units · {record.functional}"


def networks_part(view: View) -> list[dict[str, str]]:
    """Return the key and title of every network that has a layout, in the order of the layers."""
    names = list(dict.fromkeys(space.network for space in view.spaces if space.network in view.headers))
    titles = {name: network_title(view, name) for name in names}
    alike = len(set(titles.values())) < len(titles)  # two trainings of one network: a piece of the key tells them apart
    return [{"key": name, "title": f"{title} ({name[-6:]})" if alike else title} for name, title in titles.items()]


def network_title(view: View, name: str) -> str:
    """Return the title of a network."""
    record: NetworkRecord = view.read(name, NetworkRecord)
    return record.title


def pattern_sources(view: View, space: Space) -> list[dict[str, str]]:
    """Return the statistics whose patterns this space can show: its own, or those of each layer that is joined."""
    found = [name for source in space.activations for name in view.statistics_of(source)]
    titles = {name: str(view.headers[name]["fields"]["layer"]) for name in found}
    repeated = len(set(titles.values())) < len(titles)
    words = {name: f"{layer} · {view.headers[name]['fields']['functional']}" for name, layer in titles.items()}
    return [{"key": name, "layer": words[name] if repeated else layer} for name, layer in titles.items()]


def layout_part(view: View, name: str) -> dict[str, Any]:
    """Return a layout's key, its method with the parameters in words, and how faithful it is."""
    record: Layout = view.read(name, Layout)
    method = METHOD_NAMES.get(record.method, record.method)
    words = ", ".join(parameter(key, record.parameters[key]) for key in CHOSEN if key in record.parameters)
    return {"key": name, "method": method, "words": words, "quality": quality_part(record.quality),
            "measured": faithful(view, name)}  # fmt: skip


def parameter(name: str, value: Any) -> str:
    """Return a parameter in words: ``min dist 0.1``."""
    return f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"


def quality_part(quality: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of faithfulness that were computed, and what they were computed on."""
    wanted = ("trustworthiness", "continuity", "recall", "k", "sample", "points")
    return {name: quality[name] for name in wanted if quality.get(name) is not None}


def neighbours_part(view: View, name: str) -> dict[str, Any]:
    """Return the key of the neighbour lists, how many are kept, and by which metric."""
    record: Neighbours = view.read(name, Neighbours)
    return {"key": name, "kept": int(record.indices.shape[1]), "metric": record.metric, "exact": record.exact,
            "recall": record.recall}  # fmt: skip


def predictions_part(view: View, name: str) -> dict[str, Any]:
    """Return the names of what is predicted, the class map's sentence, and the accuracy per split."""
    record: Predictions = view.read(name, Predictions)
    network = next(iter(view.inputs(name, "network")), None)
    known = network in view.headers
    return {
        "key": name,
        "names": view.predicted(name)[0],
        "judged": bool((np.asarray(record.right) >= 0).any()),
        "sentence": record.map.sentence,
        "accuracy": record.accuracy,
        "warnings": record.warnings,
        "network": network_title(view, network) if known and network else None,
        "parameters": view.read(network, NetworkRecord).parameters if known and network else None,
    }
