"""Which unit answers to which feature: orientation, spatial frequency, hue, and one group of real images against another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.fields import axes, of_stage

TUNED = 0.3  # of an index of 0 to 1, from which a unit is called tuned: a third, as in the face patches (Tsao et al. 2006)
CHANCE = 0.95  # of units of no preference: the share whose index of groups lies below what is called selective


@of_stage("selectivity")
@axes(
    orientations="float [orientation]", cycles="float [frequency]", hues="float [hue]",
    grating="float32 [orientation, frequency, unit]", hue="float32 [hue, unit]", plain="float32 [unit]",
    auc="float32 [unit]", effect="float32 [unit]",
)  # fmt: skip
@dataclass(frozen=True)
class Selectivity:
    """What each unit of a layer answers to stimuli and to two groups of real images.

    ``grating`` is the mean over the phases, ``hue`` over a field and patches, ``plain`` the answer to mid-grey. ``auc`` is
    the probability that an image of the first group excites the unit more than one of the second, NaN without groups;
    ``effect`` the difference of the groups' means in pooled standard deviations.
    """

    layer: str
    number: int
    functional: str
    size: list[int]  # y, x of the stimuli in pixels
    groups: list[str]  # the names of the two groups; none without
    group_images: list[int]
    grey_groups: bool  # whether the groups' images were shown without colour
    orientations: np.ndarray  # degrees of the stripes, counter-clockwise from horizontal
    cycles: np.ndarray  # over the shorter edge
    hues: np.ndarray  # degrees
    grating: np.ndarray
    hue: np.ndarray
    plain: np.ndarray
    auc: np.ndarray
    effect: np.ndarray

    def table(self) -> pd.DataFrame:
        """Return a row per unit: unit, orientation, orientation_index, cycles, hue, hue_index, and auc, effect, group.

        An orientation or a hue is missing where no stimulus excites the unit more than grey does; ``group`` is the one
        that excites it more.
        """
        return tuning(self)


def tuning(record: Selectivity) -> pd.DataFrame:
    """Return the preferences that follow from the answers of a record, a row per unit."""
    above = np.maximum(np.asarray(record.grating, np.float64) - record.plain, 0)
    best = above.max(0).argmax(0) if above.size else np.zeros(len(record.plain), int)
    at_best = np.take_along_axis(above, best[None, None], 1)[:, 0]
    orientation, orientation_index = preferred_angle(at_best, np.asarray(record.orientations), 180)
    answered = above.max((0, 1)) > 0
    hue, hue_index = preferred_angle(np.maximum(np.asarray(record.hue, np.float64) - record.plain, 0),
                                     np.asarray(record.hues), 360)  # fmt: skip
    found = pd.DataFrame({
        "unit": np.arange(len(record.plain)), "orientation": orientation, "orientation_index": orientation_index,
        "cycles": np.where(answered, np.asarray(record.cycles, np.float64)[best], np.nan),
        "hue": hue, "hue_index": hue_index,
    })  # fmt: skip
    if record.groups:
        auc = np.asarray(record.auc, np.float64)
        names = np.array([*record.groups, None], object)
        which = np.where(np.isnan(auc) | (auc == 0.5), 2, np.where(auc > 0.5, 0, 1))
        found = found.assign(auc=auc, effect=np.asarray(record.effect, np.float64), group=names[which])
    return found


def preferred_angle(answers: np.ndarray, angles: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the angle that each unit prefers, in degrees of `period`, and how much, 0 to 1.

    answers [angle, unit], none below 0. The resultant |Σ r e^{iφ}| / Σ r with φ the angle over a whole period: 1 less the
    circular variance (Ringach, Shapley and Hawken 2002), 1 for one angle only, 0 for none preferred. NaN without answers.
    """
    total = answers.sum(0)
    turned = np.exp(2j * np.pi * np.asarray(angles) / period) @ answers if len(answers) else np.zeros(answers.shape[1])
    index = np.divide(np.abs(turned), total, out=np.full(len(total), np.nan), where=total > 0)
    angle = np.where(total > 0, np.degrees(np.angle(turned)) / 360 * period % period, np.nan)
    return angle, index


def apart(one: np.ndarray, other: np.ndarray, period: float) -> np.ndarray:
    """Return how far two angles lie apart, in degrees, 0 to half a period."""
    gap = np.abs(np.asarray(one) - other) % period
    return np.minimum(gap, period - gap)


def groups_apart(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each unit the area under the ROC curve of two groups of images, and the effect: float64 [unit] each.

    first [image, unit], second [image, unit]. The area is the share of pairs in which the first group's image is the
    greater, ties half (Mann and Whitney 1947); the effect the difference of means in pooled standard deviations.
    """
    from scipy import stats  # type: ignore[import-untyped]

    ranks = stats.rankdata(np.concatenate([first, second]), axis=0)
    a, b = len(first), len(second)
    auc = (ranks[:a].sum(0) - a * (a + 1) / 2) / (a * b)
    pooled = np.sqrt((a * first.var(0) + b * second.var(0)) / max(a + b - 2, 1))
    gap = first.mean(0) - second.mean(0)
    return auc, np.divide(gap, pooled, out=np.full(len(gap), np.nan), where=pooled > 0)


def chance_auc(first: int, second: int, level: float = CHANCE) -> float:
    """Return how far above ½ an area of two groups of so many images lies by chance, at `level` of both sides."""
    from scipy import stats

    spread = np.sqrt((first + second + 1) / (12 * first * second))  # of Mann and Whitney's, without ties
    return float(stats.norm.ppf(0.5 + level / 2) * spread)


def picture_features(images: np.ndarray) -> pd.DataFrame:
    """Return what pictures show: orientation of their stripes in degrees, coherence, hue, saturation; a row per picture.

    images uint8 [picture, y, x, rgb]. The orientation is that of the structure tensor over the whole picture, with its
    coherence, 0 to 1 (Bigün and Granlund 1987).
    """
    from scipy import ndimage

    from atlas.data.properties import luma, measure

    found = []
    for image in images:
        grey = luma(image / 255.0) if image.shape[-1] == 3 else image[..., 0] / 255.0
        down, right = (ndimage.gaussian_filter(grey, 1.0, order=order) for order in ((1, 0), (0, 1)))
        xx, yy, xy = (right**2).mean(), (down**2).mean(), (right * down).mean()
        size = np.hypot(xx - yy, 2 * xy)
        steepest = 0.5 * np.degrees(np.arctan2(2 * xy, xx - yy))  # clockwise, for y points downwards
        seen = measure(image if image.shape[-1] == 3 else image[..., 0])
        found.append({"orientation": (90 - steepest) % 180, "coherence": size / max(xx + yy, 1e-12),
                      "hue": seen["hue"], "saturation": seen["saturation"]})  # fmt: skip
    return pd.DataFrame(found)
