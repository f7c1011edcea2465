"""How several methods fare on each group of images, such as each person's: one column per group, one mark per method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from atlas.pages.figures_style import BLUE, FAINT, GREEN, INK, LINE, ORANGE, VERMILION, heading, place, shortened, styled

COLOURS, MARKS = (BLUE, VERMILION, GREEN, ORANGE), ("o", "s", "^", "D")
COLUMN, TALL = 0.34, 2.6  # inches of a group's column, and of the axes


@styled
def groups_figure(
    methods: Mapping[str, Mapping[int, float]], classes: Mapping[int, str], *, title: str, note: str = ""
) -> Figure:
    """Draw the share that each method has right of each group, groups of one class side by side, the hardest first.

    `methods` has per method the share of each group; `classes` the class of each group.
    """
    groups = [group for group in classes if any(group in shares for shares in methods.values())]
    mean = {group: np.mean([shares[group] for shares in methods.values() if group in shares]) for group in groups}
    groups.sort(key=lambda group: (classes[group], mean[group], group))
    figure = Figure(figsize=(max(7.0, 0.85 + COLUMN * len(groups) + 0.2), TALL + 1.65))
    heading(figure, shortened(title, 100), shortened(note, 160))
    axes = place(figure, 0.7, 1.05, figure.get_size_inches()[0] - 0.9, TALL)
    apart = np.linspace(-0.22, 0.22, len(methods)) if len(methods) > 1 else np.zeros(1)
    for number, (name, shares) in enumerate(methods.items()):
        at = [k for k, group in enumerate(groups) if group in shares]
        axes.plot(np.array(at) + apart[number], [shares[groups[k]] for k in at], MARKS[number % 4], label=name,
                  color=COLOURS[number % 4], markersize=5, alpha=0.9, clip_on=False, zorder=3)  # fmt: skip
    for k in range(len(groups)):
        axes.axvline(k, color=LINE, linewidth=0.5, zorder=0)
    names = [classes[group] for group in groups]
    for k in range(1, len(names)):
        if names[k] != names[k - 1]:
            axes.axvline(k - 0.5, color=INK, linewidth=0.9)
    for name in dict.fromkeys(names):
        own = [k for k, other in enumerate(names) if other == name]
        axes.text(
            float(np.mean(own)),
            -0.12,
            f"{name}: {len(own)}",
            ha="center",
            va="top",
            color=INK,
            transform=axes.get_xaxis_transform(),
        )
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylim=(-0.02, 1.02))
    axes.set_xticks(range(len(groups)), [str(group) for group in groups], fontsize=7)
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:.0%}")
    axes.set_ylabel("photographs right", color=FAINT)
    figure.legend(loc="upper left", ncols=len(methods), bbox_to_anchor=(0.04, 1 - 0.58 / figure.get_size_inches()[1]),
                  handletextpad=0.2, columnspacing=1.2)  # fmt: skip
    return figure
