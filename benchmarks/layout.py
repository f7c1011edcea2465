"""Layouts: UMAP and t-SNE, ours beside umap-learn, openTSNE and scikit-learn.

The points are the demo's descriptors (Fashion-MNIST through conv6, layer relu_fc1). All sides use the Euclidean metric, 15
neighbours (UMAP) or perplexity 30 (t-SNE), min_dist 0.1 and the peer's own default number of epochs.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import measure

LAYER = "relu_fc1"
QUICK = 2000  # points of a quick run: few enough for umap-learn to compile no search
WARM = 5000  # points of the run that compiles: umap-learn searches all pairs below 4 096
STEPS = {  # umap-learn's functions by the step they are
    "nearest_neighbors": "graph",
    "fuzzy_simplicial_set": "graph",
    "spectral_layout": "initialisation",
    "optimize_layout_euclidean": "optimisation",
}
COLUMNS = ("layout", "graph s", "initialisation s", "optimisation s", "end to end s", "speed", "trust@15", "recall@15")


@dataclass
class Run:
    """One layout: its places and the seconds of its steps."""

    xy: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """One row: a name, what makes a layout of vectors from a seed, the row its speed is relative to."""

    name: str
    make: Callable[[np.ndarray, int], Run]
    beside: str
    seeds: int | None = None  # fewer than the others


# ---------------------------------------------------------------------------------------------------------------------
# The peers


@contextmanager
def clocked(seconds: dict[str, float]) -> Iterator[None]:
    """Add the seconds of umap-learn's steps to `seconds` for as long as the block lasts."""
    import umap.umap_ as umap

    before = {name: getattr(umap, name) for name in STEPS}
    for name, function in before.items():
        setattr(umap, name, _adding(function, STEPS[name], seconds))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(umap, name, function)


def _adding(function: Callable[..., Any], step: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        taken, result = measure.timed(lambda: function(*arguments, **named))
        seconds[step] = seconds.get(step, 0.0) + taken
        return result

    return wrapped


def umap_learn(vectors: np.ndarray, seed: int | None, **named: Any) -> Run:
    """Return umap-learn's map, everything at its default."""
    import umap

    seconds: dict[str, float] = {}
    with clocked(seconds), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        taken, xy = measure.timed(lambda: umap.UMAP(random_state=seed, **named).fit_transform(vectors))
    return Run(xy, {**seconds, "whole": taken})


def opentsne(vectors: np.ndarray, seed: int, *, threads: int) -> Run:
    """Return openTSNE's map, its three steps called one by one at their defaults."""
    from openTSNE import TSNE, affinity, initialization

    started = time.perf_counter()
    graph, near = measure.timed(
        lambda: affinity.PerplexityBasedNN(vectors, perplexity=30, n_jobs=threads, random_state=seed)
    )
    begin, start = measure.timed(lambda: initialization.pca(vectors, random_state=seed))
    method = TSNE(n_jobs=threads, random_state=seed)
    descent, xy = measure.timed(lambda: np.asarray(method.fit(affinities=near, initialization=start)))
    whole = time.perf_counter() - started
    return Run(xy, {"graph": graph, "initialisation": begin, "optimisation": descent, "whole": whole})


def scikit_learn(vectors: np.ndarray, seed: int) -> Run:
    """Return scikit-learn's t-SNE, everything at its default."""
    from sklearn.manifold import TSNE

    taken, xy = measure.timed(lambda: TSNE(random_state=seed).fit_transform(vectors))
    return Run(xy, {"whole": taken})


# ---------------------------------------------------------------------------------------------------------------------
# Ours


def neighbours_of(vectors: np.ndarray, k: int) -> Any:
    """Return our neighbours in the Euclidean metric, as a build finds them."""
    from atlas.maps.neighbours import build_neighbours

    return build_neighbours(vectors, layers=[LAYER], metric="L2", k=k)


def ours(make: Callable[..., Any], k: int) -> Callable[[np.ndarray, int], Run]:
    """Return what makes a layout with its graph: `k` neighbours as a build with this method keeps them."""

    def run(vectors: np.ndarray, seed: int) -> Run:
        graph, neighbours = measure.timed(lambda: neighbours_of(vectors, k))
        made = on_graph(make, lambda _: neighbours)(vectors, seed)
        seconds = {**made.seconds, "graph": made.seconds["graph"] + graph, "whole": made.seconds["whole"] + graph}
        return Run(made.xy, seconds)

    return run


def on_graph(make: Callable[..., Any], graph: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray, int], Run]:
    """Return what makes a layout on neighbours that stand already; the seconds of its quality are left out."""

    def run(vectors: np.ndarray, seed: int) -> Run:
        made = make(vectors, graph(vectors), seed=seed)
        parts = made.seconds
        graph_seconds = parts.get("weights", 0.0) + parts.get("affinities", 0.0)
        steps = {"graph": graph_seconds, "initialisation": parts["initialisation"], "optimisation": parts["optimisation"]}
        return Run(made.xy, {**steps, "whole": sum(steps.values())})

    return run


def sides(kept: Any, *, sklearn: bool) -> list[Side]:
    """Return the rows in order; `kept` are the neighbours that stand already."""
    from functools import partial

    from atlas.machine import threads_given
    from atlas.maps.layout import tsne_layout, umap_layout

    threads = threads_given()
    seeded, free, open_tsne = "UMAP: umap-learn, seeded", "UMAP: umap-learn, unseeded", f"t-SNE: openTSNE, n_jobs={threads}"
    slow = "t-SNE: scikit-learn"
    rows = [
        Side(seeded, umap_learn, seeded),
        Side(free, lambda vectors, seed: umap_learn(vectors, None), free),
        Side("UMAP: ours", ours(umap_layout, 30), seeded),
        Side("UMAP: ours, on a graph that stands", on_graph(umap_layout, lambda _: kept), seeded),
        Side(open_tsne, partial(opentsne, threads=threads), open_tsne),
        Side("t-SNE: ours", ours(tsne_layout, 90), open_tsne),
        Side("t-SNE: ours, on a graph that stands", on_graph(tsne_layout, lambda _: kept), open_tsne),
    ]
    return [*rows, Side(slow, scikit_learn, open_tsne, seeds=1)] if sklearn else rows


# ---------------------------------------------------------------------------------------------------------------------
# The table


def warm(vectors: np.ndarray) -> None:
    """Compile what either side compiles, on a few points and epochs."""
    from atlas.maps.layout import umap_layout

    few = vectors[:WARM]
    for seed in (0, None):
        umap_learn(few, seed, n_epochs=11)
    umap_layout(few, neighbours_of(few, 30), epochs=11)


def measured(side: Side, vectors: np.ndarray, judge: Any, seeds: int) -> dict[str, Any]:
    """Return a side's median seconds by step, and its trustworthiness and recall of each seed."""
    from atlas.maps.quality import quality

    runs, scores = [], []
    for seed in range(min(seeds, side.seeds or seeds)):
        measure.tell(f"{side.name}: {len(vectors)} points, seed {seed}")
        runs.append(side.make(vectors, seed))
        scores.append(quality(vectors, runs[-1].xy, judge, k=15))
        measure.tell(f"  {runs[-1].seconds['whole']:.1f} s, trustworthiness {scores[-1]['trustworthiness']:.4f}")
    steps = {step: float(np.median([run.seconds[step] for run in runs])) for step in runs[0].seconds}
    return {**steps, **{name: np.array([score[name] for score in scores]) for name in ("trustworthiness", "recall")}}


def row(side: Side, found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the cells of a side."""
    own = found[side.name]
    times = [f"{own[step]:.1f}" if step in own else "" for step in ("graph", "initialisation", "optimisation", "whole")]
    scores = [f"{own[name].mean():.4f} ± {own[name].std():.4f}" for name in ("trustworthiness", "recall")]
    return [side.name, *times, f"× {found[side.beside]['whole'] / own['whole']:.2f}", *scores]


def verdicts(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return one line per aim: what was asked, what was found, whether it is met."""
    seeded, free = found["UMAP: umap-learn, seeded"], found["UMAP: umap-learn, unseeded"]
    mine, again = found["UMAP: ours"], found["UMAP: ours, on a graph that stands"]
    lines = [
        aim("UMAP seeded, end to end", seeded["whole"] / mine["whole"], 1.5),
        aim("UMAP, umap-learn unseeded and ours seeded, end to end", free["whole"] / mine["whole"], 2.5),
        aim("a second UMAP on the graph that stands, beside umap-learn seeded", seeded["whole"] / again["whole"], 3.0),
    ]
    if "t-SNE: scikit-learn" in found:
        lines.append(aim("t-SNE, end to end", found["t-SNE: scikit-learn"]["whole"] / found["t-SNE: ours"]["whole"], 5.0))
    for name, most in (("trustworthiness", 0.003), ("recall", 0.015)):
        less = float(seeded[name].mean() - mine[name].mean())
        met = "met" if less <= most else "MISSED"
        lines.append(f"UMAP's {name}: {less:+.4f} lost to umap-learn seeded, aim at most {most}: {met}.")
    return lines


def aim(what: str, ratio: float, least: float) -> str:
    """Return the line of an aim for a speed."""
    return f"{what}: {ratio:.2f} times as fast, aim {least}: {'met' if ratio >= least else 'MISSED'}."


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = measure.arguments(__doc__)
    parser.add_argument("--points", type=int, default=70_000, help="points, drawn from a seed (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each side (%(default)s)")
    parser.add_argument("--no-sklearn", dest="sklearn", action="store_false", help="leave scikit-learn's t-SNE out")
    parser.add_argument("--no-tsne", dest="tsne", action="store_false", help="UMAP alone")
    options = parser.parse_args(argv)
    points, seeds = (min(QUICK, options.points), 1) if options.quick else (options.points, options.seeds)

    from atlas.maps.blocks import sample_rows
    from atlas.maps.neighbours import build_neighbours

    vectors = np.asarray(measure.demo_atlas(options.cache).vectors(LAYER)[:], np.float32)
    vectors = vectors[sample_rows(len(vectors), points, 0)]
    measure.tell("true neighbours, by which each side is judged")
    judge = build_neighbours(vectors, layers=[LAYER], metric="L2", k=15, exact_up_to=len(vectors))
    kept = neighbours_of(vectors, 90 if options.tsne else 30)
    warm(vectors)
    rows = [side for side in sides(kept, sklearn=options.sklearn) if options.tsne or side.name.startswith("UMAP")]
    found = {side.name: measured(side, vectors, judge, seeds) for side in rows}
    notes = [
        *verdicts(found),
        "Seconds are medians of the runs, compiled functions ready on both sides, reading and quality left out. Speed is "
        "beside umap-learn with the same seed, or openTSNE. Trustworthiness in 5 000 points drawn from a seed, recall over "
        "all points against the true neighbours. Ours comes out with the same bytes from one seed however many threads "
        "share it; umap-learn with a seed takes one thread for the descent, and without one all of them.",
    ]
    measure.show(
        f"{len(vectors)} points of {vectors.shape[1]} units, Euclidean metric on all sides, {seeds} seeds (mean ± standard "
        "deviation).",
        COLUMNS,
        [row(side, found) for side in rows],
        notes=notes,
    )


if __name__ == "__main__":
    main()
