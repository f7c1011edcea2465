"""How much a layer still shows of the image, and how far it tells classes apart: asked of level after level."""

from __future__ import annotations

import numpy as np

from atlas.errors import AtlasError

NEIGHBOURS = 5  # whose labels are asked: fewer than a class of the smallest sets


def correlations(values: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of every level with every picture over the same grid: float64 [level, picture].

    values [level, y, x], pictures [picture, y, x]. Places where a level is not finite are left out of its correlations; a
    level or a picture that does not vary has none, NaN.
    """
    if values.shape[1:] != pictures.shape[1:]:
        raise AtlasError(f"levels of {values.shape[1:]} and pictures of {pictures.shape[1:]}: both must lie on one grid")
    found = np.full((len(values), len(pictures)), np.nan)
    flat = pictures.reshape(len(pictures), -1).astype(np.float64)
    for number, level in enumerate(values.reshape(len(values), -1).astype(np.float64)):
        there = np.isfinite(level)
        if there.sum() > 1:
            found[number] = _pearson(level[there], flat[:, there])
    return found


def _pearson(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    one, many = one - one.mean(), many - many.mean(1, keepdims=True)
    norms = np.linalg.norm(one) * np.linalg.norm(many, axis=1)
    alike = np.divide(many @ one, norms, out=np.full(len(many), np.nan), where=norms > 1e-12 * max(one.size, 1))
    return np.clip(alike, -1.0, 1.0)


def separability(vectors: np.ndarray, codes: np.ndarray, *, k: int = NEIGHBOURS) -> dict[str, float]:
    """Return how far the classes of some images lie apart in a layer; vectors [image, unit], codes [image].

    ``silhouette``: mean over the images of (b − a) / max(a, b), a the mean distance to its own class, b to the nearest
    other one (Rousseeuw 1987), by cosine. ``neighbours``: share of images whose `k` nearest others vote for their class,
    of equals the nearest. ``f_ratio``: variance between the classes' means over that within, all units together.
    Fewer than two classes of two images each raise AtlasError.
    """
    counts = np.bincount(codes)
    if (counts >= 2).sum() < 2 or (counts == 1).any():
        raise AtlasError("how far classes lie apart needs two classes or more, each of two images or more")
    from sklearn.metrics import silhouette_score
    from sklearn.metrics.pairwise import cosine_distances

    distances = cosine_distances(np.nan_to_num(np.asarray(vectors, np.float64), posinf=0.0, neginf=0.0))
    return {
        "silhouette": float(silhouette_score(distances, codes, metric="precomputed")),
        "neighbours": float((_votes(distances, codes, k) == codes).mean()),
        "f_ratio": _f_ratio(np.asarray(vectors, np.float64), codes),
    }


def _votes(distances: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Return the class that the k nearest others of each image vote for, of equals that of the nearest."""
    apart = distances + np.diag(np.full(len(distances), np.inf))
    nearest = np.argsort(apart, axis=1, kind="stable")[:, : min(k, len(codes) - 1)]
    voted = codes[nearest]
    counts = np.stack([np.bincount(row, minlength=codes.max() + 1) for row in voted])
    tied = np.take_along_axis(counts, voted, 1) == counts.max(1, keepdims=True)
    return voted[np.arange(len(voted)), tied.argmax(1)]


def _f_ratio(vectors: np.ndarray, codes: np.ndarray) -> float:
    present = np.unique(codes)
    means = np.stack([vectors[codes == code].mean(0) for code in present])
    within = sum(float(vectors[codes == code].var(0).sum()) for code in present) / len(present)
    return float(means.var(0).sum() / within) if within > 0 else float("nan")
