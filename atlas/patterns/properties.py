"""How what an image is like goes along with what the network makes of it: observed over an atlas's images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

BINS = 5  # of equally many images: with a thousand the standard error of an accuracy is 3 points
FEWEST = 10  # images that a relation needs
Z95 = 1.96  # of a normal distribution: 95 of 100 lie within


def binned(values: np.ndarray, confidence: np.ndarray, right: np.ndarray | None, *, bins: int = BINS) -> pd.DataFrame:
    """Return a row per bin of equally many images by one property: low, high, images, confidence, accuracy, its interval.

    values and confidence float [image]; right 1, 0 or −1 (undefined) [image], or None. Images with a missing value are
    left out. The interval is Wilson's (1927), of 95 %.
    """
    there = np.isfinite(values) & np.isfinite(confidence)
    rows = np.flatnonzero(there)[np.argsort(values[there], kind="stable")]
    found = []
    for part in np.array_split(rows, min(bins, max(1, len(rows)))) if len(rows) else ():
        row = {"low": values[part[0]], "high": values[part[-1]], "images": len(part), "confidence": confidence[part].mean()}
        found.append(row | ({} if right is None else _accuracy(right[part])))
    return pd.DataFrame(found)


def _accuracy(right: np.ndarray) -> dict[str, float]:
    judged = right[right >= 0]
    low, high = wilson(int((judged == 1).sum()), len(judged))
    return {"accuracy": float((judged == 1).mean()) if len(judged) else np.nan, "accuracy_low": low, "accuracy_high": high}


def wilson(hits: int, of: int, z: float = Z95) -> tuple[float, float]:
    """Return the interval in which a share lies that was found `hits` times `of`: Wilson 1927; NaN of nothing."""
    if of == 0:
        return float("nan"), float("nan")
    share = hits / of
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z * np.sqrt(share * (1 - share) / of + z**2 / (4 * of**2)) / (1 + z**2 / of)
    return float(middle - half), float(middle + half)


def relations(
    properties: Mapping[str, np.ndarray], confidence: np.ndarray, right: np.ndarray | None, codes: np.ndarray
) -> pd.DataFrame:
    """Return a row per property: images, its rank correlation with the confidence and with being right, and both again
    within the classes.

    Spearman's, −1 to 1. Within the classes the ranks are taken class by class, so that what sets one class apart from the
    next (ships are blue) is no relation; codes int [image], −1 for none. NaN where there are fewer than FEWEST images or
    nothing varies. The interval ``p95`` is what chance alone stays below 95 times of 100.
    """
    found = []
    for name, values in properties.items():
        row: dict[str, float | str] = {
            "property": name,
            "images": int((np.isfinite(values) & np.isfinite(confidence)).sum()),
        }
        for what, said in (("confidence", confidence), ("right", right)):
            if said is not None:
                known = np.where(said >= 0, said, np.nan).astype(np.float64)
                row[what] = rank_correlation(values, known)
                row[f"{what}_within"] = rank_correlation(values, known, codes)
        count = int(row["images"])
        found.append(row | {"p95": Z95 / np.sqrt(count - 1) if count >= FEWEST else np.nan})
    return pd.DataFrame(found)


def rank_correlation(one: np.ndarray, other: np.ndarray, codes: np.ndarray | None = None) -> float:
    """Return Spearman's rank correlation of two values of the same images; with `codes` of the ranks within each class."""
    there = np.isfinite(one) & np.isfinite(other) & (True if codes is None else np.asarray(codes) >= 0)
    if there.sum() < FEWEST:
        return float("nan")
    groups = np.zeros(int(there.sum()), int) if codes is None else np.asarray(codes)[there]
    first, second = _ranks(one[there], groups), _ranks(other[there], groups)
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norm) if norm > 0 else float("nan")


def _ranks(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the ranks of values within their groups, centred, from −½ to ½ whatever the size of a group."""
    found = np.zeros(len(values))
    for group in np.unique(groups):
        mine = groups == group
        ranks = pd.Series(values[mine]).rank().to_numpy()
        found[mine] = (ranks - ranks.mean()) / max(len(ranks), 1)
    return found
