"""Images of an atlas through their network as volumes: which layers, the class activation map, one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atlas.activations.attribution import place_attributions
from atlas.activations.spatial import activation_maps
from atlas.errors import AtlasError, one_line
from atlas.looking import check_layers, edges, lies_over, spatial_layers, worth_a_look
from atlas.maps.volume import CHANNELS, Volume, Volumes, grid_of, make_volume, pack
from atlas.models.layers import named_layer
from atlas.progress import Progress
from atlas.store import Recipe, writing

if TYPE_CHECKING:
    from atlas.atlas import Atlas

NO_CAM = "none"  # what `cam` says where no class activation map is wanted
LARGEST = 1024  # of a grid: a level of it takes 4 MB


@dataclass(frozen=True)
class Plan:
    """What the volumes of some images are made of; made, and its mistakes told, before the network runs."""

    rows: list[int]
    layers: list[str]  # in order of execution
    channels: int  # of each layer, at most
    edge: int | None  # of the grid's longer side; None: as `grid_of` chooses
    cam: str | None  # the layer of the class activation map; None: there is none
    device: str


@dataclass(frozen=True)
class Seen:
    """One image as its network saw it."""

    row: int
    volume: Volume
    size: tuple[int, int]  # y, x of the network's input, in pixels


def plan(
    atlas: Atlas,
    rows: Sequence[int],
    layers: Sequence[str] = (),
    *,
    channels: int = CHANNELS,
    size: int | None = None,
    cam: str | None = None,
    device: str = "cpu",
) -> Plan:
    """Return what the volumes of some rows are made of.

    `layers` are by default the recorded ones with places and the last of each size; `size` is the longer side of the grid;
    `cam` the layer of the class activation map, by default the last with places, ``none`` for no such map. Images that do
    not decode, unknown layers and layers without places raise AtlasError.
    """
    if channels < 1:
        raise AtlasError(f"{channels} channels of each layer were asked for: at least 1 would do")
    if size is not None and not 2 <= size <= LARGEST:
        raise AtlasError(f"a grid of {size} was asked for: 2 to {LARGEST} would do")
    check_rows(atlas, rows)
    table, image = atlas.network_record.layers, edges(atlas.network_record.preprocess)
    chosen = chosen_layers(atlas, layers) or worth_a_look(table, atlas.layers, image)
    if not chosen:
        raise AtlasError(
            f"network {one_line(atlas.network_record.title)} has no layer with places: there is no volume of it"
        )
    fitting = [lies_over(str(shape), image) for shape in table["shape"]]
    return Plan(list(rows), chosen, channels, size, _cam_layer(atlas, cam, spatial_layers(table[fitting])), device)


def check_rows(atlas: Atlas, rows: Sequence[int]) -> None:
    """Refuse images that do not decode."""
    error = atlas.image_record.table["error"]
    gone = [row for row in rows if error.notna().iloc[row]]
    if gone:
        raise AtlasError(f"image {gone[0]} does not decode ({one_line(error.iloc[gone[0]], 120)}): leave it out")


def chosen_layers(atlas: Atlas, asked: Sequence[str]) -> list[str]:
    """Return the layers asked for, by name or number, in order of execution; all must have places."""
    table = atlas.network_record.layers
    names = {str(named_layer(table, atlas.layer_name(layer))["name"]) for layer in asked}
    check_layers(sorted(names), table)
    return [name for name in table["name"] if name in names]


def _cam_layer(atlas: Atlas, asked: str | None, spatial: Sequence[str]) -> str | None:
    if asked == NO_CAM or (asked is None and atlas.predictions is None):
        return None
    if atlas.predictions is None:
        raise AtlasError("this network yields features only: there is no class to map the activation of; leave --cam out")
    return chosen_layers(atlas, [asked])[0] if asked else (spatial[-1] if spatial else None)


def see(atlas: Atlas, wanted: Plan, row: int) -> Seen:
    """Run the network on one image and return its volume. Needs torch."""
    network, picture = atlas.network(), atlas.seeing.picture(row)
    maps = activation_maps(network, picture, wanted.layers, device=wanted.device)
    ordered = {layer: maps[layer] for layer in wanted.layers}
    cam = None if wanted.cam is None else (wanted.cam, class_activation(atlas, row, wanted.cam, device=wanted.device))
    size = grid_of(ordered, wanted.edge)
    pixels = network.preprocess.array(picture).shape
    return Seen(row, make_volume(ordered, channels=wanted.channels, size=size, cam=cam), (pixels[1], pixels[2]))


def keep(atlas: Atlas, wanted: Plan, *, progress: Progress | None = None) -> str:
    """Keep the volumes of a plan in the atlas, for the explorer and the report to show slices of; return the record's name.

    The volumes of one record are of one size: images that lead to another raise AtlasError. Needs torch.
    """
    ids = atlas.image_record.table["image_id"].iloc[wanted.rows].tolist()
    parameters = {
        "images": ids, "layers": wanted.layers, "channels": wanted.channels, "edge": wanted.edge, "cam": wanted.cam,
    }  # fmt: skip
    inputs = {"images": atlas.names("images")[-1:], "network": atlas.names("network")[-1:]}
    recipe = Recipe("volumes", 1, parameters, inputs, ("torch",))

    def make() -> Volumes:
        with (progress or Progress()).stage("volumes", len(wanted.rows)) as advance:
            found = []
            for row in wanted.rows:
                found.append(see(atlas, wanted, row))
                advance(1)
        if len({one.volume.values.shape for one in found}) > 1:
            raise AtlasError("the images lead to volumes of different sizes: give one size for all with size=")
        return pack(wanted.rows, [one.volume for one in found], found[0].size)

    with writing(atlas.store.root):
        atlas.store.build(recipe, Volumes, make)
        atlas.show_beside([recipe.name])
    return recipe.name


def class_activation(atlas: Atlas, row: int, layer: str, *, device: str = "cpu") -> np.ndarray:
    """Return what each place of a layer argues for the predicted class: float32 [y, x]. Needs torch.

    Activation times gradient, summed over channels (HiResCAM, Draelos and Carin 2020, arXiv 2011.08891): with a mean over
    the places and one linear layer behind it, this is the class activation map (Zhou et al., CVPR 2016) over the places.
    """
    network, said = atlas.network(), atlas.predictions
    assert said is not None  # `plan` makes no class activation map without
    predicted = int(said.prediction[row])
    if network.outputs > 1:
        return place_attributions(network, atlas.seeing.picture(row), [layer], outputs=[predicted], device=device)[layer][0]
    only = place_attributions(network, atlas.seeing.picture(row), [layer], outputs=[0], device=device)[layer][0]
    return only if predicted == 1 else -only  # what argues against a single logit argues for its first output
