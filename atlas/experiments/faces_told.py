"""What the experiment on faces measured, as tables for its page."""

from __future__ import annotations

from typing import Any

from atlas.experiments import markdown_tables


def markdown(told: dict[str, Any]) -> str:
    """Return what was measured as tables for a page."""
    judged = judged_rows(told), beside(told), folds(told)
    return markdown_tables(
        *judged, trainings(told), pictures(told), units(told), yaw(told), same_person(told), shown(told), graph_rows(told)
    )


def judged_rows(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of what each method has right."""
    rows = [["method", "pixels", "right", "95 % by subject", "female", "male", "mean of both", "subjects all right"]]
    for one in told["judged"]:
        right, (low, high) = f"{one['accuracy']:.1%} of {one['images']}", one["interval"]
        rows.append([one["method"], f"{one['size']}", right, f"{low:.1%} to {high:.1%}",
                     *(f"{value:.1%}" for value in one["per_class"]), f"{one['balanced']:.1%}",
                     f"{one['subjects_all_right']} of {one['subjects']}"])  # fmt: skip
    return rows


def beside(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of the networks against the linear probe."""
    rows = [["network", "pixels", "right more often than the linear probe", "95 % by subject"]]
    for one in told["compared"]:
        span = " to ".join(f"{100 * value:+.1f}" for value in one["interval"])
        rows.append([one["method"], f"{one['size']}", f"{100 * one['difference']:+.1f} points", span])
    return rows


def folds(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of each fold's confusion: women said female, male; men said female, male."""
    rows = [["method", "pixels", *(f"fold {k + 1}" for k in range(len(told["judged"][0]["folds"])))]]
    for one in told["judged"]:
        each = zip(one["folds"], one["confusion"], strict=True)
        cells = [f"{share:.0%} ({first[0]} {first[1]} / {second[0]} {second[1]})" for share, (first, second) in each]
        rows.append([one["method"], f"{one['size']}", *cells])
    return rows


def yaw(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of how the estimate of yaw agrees with the eye."""
    one = told["orl"]["yaw"]
    rows = [["photographs looked at", "rank correlation", "turned: sign right", "pairs of a subject: order right"]]
    signs, pairs = f"{one['signs']:.0%} of {one['turned']}", f"{one['ordered']:.0%} of {one['pairs']}"
    return [*rows, [f"{one['photographs']}", f"{one['spearman']:.2f}", signs, pairs]]


def same_person(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of how often near ORL faces are the same person."""
    rows = [["space", "the nearest", "of the nine nearest", "95 % by subject", "frontal third", "most turned third"]]
    for one in told["orl"]["shares"]:
        span = "—" if one["interval"] is None else " to ".join(f"{value:.1%}" for value in one["interval"])
        first, last = ([f"{one[name]:.1%}" for name in names] for names in (("nearest", "nine"), ("frontal", "turned")))
        rows.append([one["space"], *first, span, *last])
    return rows


def trainings(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of the two networks that are looked into."""
    rows = [
        ["network", "parameters", "training images", "validation", "test", "epoch kept", "training", "validation", "test"]
    ]
    for net, one in told["networks"].items():
        counts = [f"{one['images'][split]}" for split in ("train", "validation", "test")]
        right = [f"{one['accuracy'][split]:.1%}" for split in ("train", "validation", "test")]
        rows.append([net, f"{one['parameters']:,}", *counts, f"{one['best_epoch']} of {one['training']['epochs']}", *right])
    return rows


def pictures(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of the reconstructions of the output neurons."""
    rows = [["network", "neuron", "reconstruction", "reached", "above real images", "converged"]]
    for net, drawn in told["preferred"].items():
        for one in drawn:
            label = told["responses"][net]["classes"] and list(told["responses"][net]["classes"])[int(one["unit"])]
            rows.append([net, label, f"{int(one['variant']) + 1}", f"{one['activation']:.2f}", f"{one['percentile']:.4g} %",
                         "yes" if one["converged"] else "no"])  # fmt: skip
    return rows


def units(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of the units that tell the classes best, layer by layer."""
    classes = list(next(iter(told["responses"].values()))["classes"])
    rows = [
        [
            "network",
            "layer",
            "units",
            "silent",
            *(f"{name}: best on training images (Cohen's d on held-out ones)" for name in classes),
        ]
    ]
    for net, one in told["responses"].items():
        for layer in one["layers"]:
            best = [
                ", ".join(f"{u['unit']} ({u['effect']:.2f})" for u in layer["most"][name][:3]) or "—" for name in classes
            ]
            rows.append([net, layer["layer"], f"{layer['units']}", f"{layer['silent']}", *best])
    return rows


def shown(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of the subjects whose neighbours are drawn."""
    rows = [["subject", "network", "same person among the nine nearest", "photograph by photograph, left to right"]]
    for one in told["orl"]["shown"]:
        rows.append([one["subject"], one["network"], f"{one['alike']:.1%}", " ".join(map(str, one["each"]))])
    return rows


def graph_rows(told: dict[str, Any]) -> list[list[str]]:
    """Return the table of the graphs."""
    rows = [["graph", "images", "edges", "within a label", "by chance", "communities", "their purity", "by chance",
             "skewness of lists", "most lists", "in no list"]]  # fmt: skip
    for name, one in told["graphs"].items():
        same, pure, hubs = one["homophily"]["label"], one["purity"]["label"], one["hubness"]
        rows.append([name, f"{one['nodes']}", f"{one['edges']}", f"{same['share']:.1%}", f"{same['control']:.1%}",
                     f"{len(one['communities'])}", f"{pure['share']:.1%}", f"{pure['control']:.1%}",
                     f"{hubs['skewness']:.2f}", f"{hubs['most']}", f"{hubs['orphans']}"])  # fmt: skip
    apart = told["graphs"]["faces"]["apart"]
    rows.append(["faces, edges between two people", "", f"{apart['edges']}", f"{apart['share']:.1%}",
                 f"{apart['control']:.1%}", *[""] * 6])  # fmt: skip
    return rows
