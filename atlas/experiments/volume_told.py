"""What the experiment `volume` measured, as tables for a page."""

from __future__ import annotations

from typing import Any

from atlas.experiments import markdown_tables


def markdown(told: dict[str, Any]) -> str:
    """Return everything measured as Markdown tables, in the order of the page."""
    return markdown_tables(
        *(levels(rows, title) for title, rows in told["levels"].items()),
        relations(told["relations"]),
        sweeps(told["sweeps"]),
        units(told["selectivity"]),
        probes(told["probes"]),
    )


def levels(rows: list[dict[str, Any]], title: str) -> list[list[str]]:
    """Return what each level shows and separates."""
    table = [[title, "brightness", "another's", "edges", "another's", "silhouette", "neighbours", "F-ratio"]]
    names = ("brightness", "brightness_other", "edges", "edges_other", "silhouette", "neighbours", "f_ratio")
    return table + [[row["layer"], *(number(row[name]) for name in names)] for row in rows]


def relations(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rank correlations of properties with confidence and being right."""
    table = [["property", "with confidence", "within the classes", "with being right", "within the classes", "chance"]]
    names = ("confidence", "confidence_within", "right", "right_within")
    return table + [
        [row["property"].replace("_", " "), *(number(row.get(name)) for name in names), f"± {number(row['p95'])}"]
        for row in rows
    ]


def sweeps(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return what became of accuracy, predictions and confidence at each strength."""
    table = [["property", "strength", "accuracy", "prediction kept", "confidence", "edge density"]]
    return table + [
        [row["kind"], f"{row['strength']:g}", share(row["accuracy"]), share(row["kept"]), share(row["confidence"]),
         number(row["edge_density"])] for row in rows
    ]  # fmt: skip


def units(told: dict[str, Any]) -> list[list[str]]:
    """Return which share of the units of each layer is tuned, beside the untrained network's."""
    table = [["layer", "units", "orientation", "untrained", "hue", "untrained", "faces ≥ 0.9", "untrained",
              "non-faces ≥ 0.9", "untrained", "best unit for faces"]]  # fmt: skip
    for one, other in zip(told["trained"], told["untrained"], strict=True):
        pairs = [share(row[name]) for name in ("orientation", "hue", "faces", "others") for row in (one, other)]
        table.append([one["layer"], str(one["units"]), *pairs, f"{one['best_unit']}: {one['best_auc']:.3f}"])
    return table


def probes(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the accuracies of the probes."""
    table = [["cut", "numbers an image", "file", "accuracy", "95 % interval", "on its training images"]]
    for row in rows:
        size = f"{row['bytes'] / 1e6:.1f} MB" if "bytes" in row else "—"
        table.append([row["name"], str(row["dimensions"]), size, share(row["accuracy"]),
                      f"{share(row['low'])} to {share(row['high'])}", share(row["train_accuracy"])])  # fmt: skip
    return table


def number(value: float | None) -> str:
    """Return a number with two decimals, a dash where it is missing."""
    return "—" if value is None or value != value else f"{value:.2f}"


def share(value: float | None) -> str:
    """Return a share in percent, a dash where it is missing."""
    return "—" if value is None or value != value else f"{value:.1%}"
