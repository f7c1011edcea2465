"""The figures: every function returns a matplotlib figure that `save` writes as PNG, SVG or PDF."""

from __future__ import annotations

from atlas.pages.figures_across import blocks_heatmap
from atlas.pages.figures_architecture import architecture
from atlas.pages.figures_courses import breaking_figure, first_figure, pattern_figure
from atlas.pages.figures_curves import training_curves, training_curves_html
from atlas.pages.figures_depth import depth_figure, matrices_figure, scalings_figure
from atlas.pages.figures_features import (
    effects_figure,
    levels_figure,
    probes_figure,
    shares_figure,
    sweeps_figure,
    tuned_figure,
)
from atlas.pages.figures_graph import image_graph
from atlas.pages.figures_groups import groups_figure
from atlas.pages.figures_maps import maps_sheet
from atlas.pages.figures_neighbours import neighbour_rows
from atlas.pages.figures_patterns import patterns_heatmap
from atlas.pages.figures_preferred import preferred_sheet
from atlas.pages.figures_propagation import propagation_strip
from atlas.pages.figures_responses import responses_sheet
from atlas.pages.figures_scatter import Map, against_figure, maps_figure, removal_figure
from atlas.pages.figures_sheet import contact_sheet
from atlas.pages.figures_style import SUFFIXES, save
from atlas.pages.figures_transition import Stop, path_figure
from atlas.pages.figures_volume import volume_figure

__all__ = [
    "SUFFIXES",
    "Map",
    "Stop",
    "against_figure",
    "architecture",
    "blocks_heatmap",
    "breaking_figure",
    "contact_sheet",
    "depth_figure",
    "effects_figure",
    "first_figure",
    "groups_figure",
    "image_graph",
    "levels_figure",
    "maps_figure",
    "maps_sheet",
    "matrices_figure",
    "neighbour_rows",
    "path_figure",
    "pattern_figure",
    "patterns_heatmap",
    "preferred_sheet",
    "probes_figure",
    "propagation_strip",
    "removal_figure",
    "responses_sheet",
    "save",
    "scalings_figure",
    "shares_figure",
    "sweeps_figure",
    "training_curves",
    "training_curves_html",
    "tuned_figure",
    "volume_figure",
]
