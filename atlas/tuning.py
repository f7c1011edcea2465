"""What the units of an atlas's layer answer to: stimuli and groups of real images run, the answers kept in the atlas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.data import stimuli
from atlas.errors import AtlasError, one_line
from atlas.looking import edges
from atlas.models.layers import named_layer
from atlas.patterns.selectivity import Selectivity, groups_apart
from atlas.planning import dataset_folder
from atlas.progress import Progress
from atlas.store import Recipe, digest, writing

if TYPE_CHECKING:
    import pandas as pd

    from atlas.atlas import Atlas
    from atlas.data.gathered import Gathered
    from atlas.models.network import Network
    from atlas.preferred.records import Preferred

BATCH = 16  # stimuli at once: they are few
FEWEST = 5  # images of a group
SMALLEST, USUAL = 8, 224  # pixels of a stimulus where the network takes any size


def selectivity(
    atlas: Atlas,
    layer: str | int | None = None,
    *,
    groups: Mapping[str, Any] | None = None,
    grey: bool = False,
    limit: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Selectivity:
    """Ask the units of a layer for gratings, hues and two groups of images; keep, show and return the record. Needs torch.

    `groups` has two names, each with images as `atlas.build` takes them (a folder, a table, a dataset's name), at most
    `limit` of each; `grey` shows them without colour, so that colour does not tell them apart. What stands is not run
    again. The layer need not be recorded. An unknown layer, or a group of too few images, raises AtlasError before the work.
    """
    choices: dict[str, Any] = {"grey": grey, "limit": limit, "seed": seed, "device": device, "progress": progress}
    return next(iter(selectivities(atlas, [atlas.layer_name(layer)], groups=groups, **choices).values()))


def selectivities(
    atlas: Atlas,
    layers: Sequence[str | int],
    *,
    groups: Mapping[str, Any] | None = None,
    grey: bool = False,
    limit: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Selectivity]:
    """Return the same of several layers by name, those that are missing asked together: one pass through the network."""
    progress, table = progress or Progress(), atlas.network_record.layers
    rows = [named_layer(table, atlas.layer_name(layer)) for layer in layers]
    wanted = {str(row["name"]): (int(row["number"]), _functional(atlas, str(row["name"]))) for row in rows}
    gathered = gather_groups(atlas, groups or {}, limit=limit, seed=seed, progress=progress)
    inputs = {"images": atlas.names("images")[-1:], "network": atlas.names("network")[-1:]}
    same = {
        "orientations": list(stimuli.ORIENTATIONS), "hues": list(stimuli.HUES), "grey": grey,
        "groups": {word: digest(list(one.table["image_id"])) for word, one in gathered.items()},
    }  # fmt: skip
    recipes = {
        name: Recipe("selectivity", 1, {"layer": name, "functional": functional, **same}, inputs, ("torch",))
        for name, (_, functional) in wanted.items()
    }
    missing = {name: wanted[name] for name, recipe in recipes.items() if not atlas.store.has(recipe.name)}
    made = asked(atlas.network(), missing, gathered, grey=grey, device=device, progress=progress) if missing else {}
    with writing(atlas.store.root):
        found = {
            name: atlas.store.build(recipe, Selectivity, partial(made.__getitem__, name)) for name, recipe in recipes.items()
        }
        atlas.show_beside([recipe.name for recipe in recipes.values()])
    return found


def asked(
    network: Network,
    layers: Mapping[str, tuple[int, str]],
    groups: Mapping[str, Gathered],
    *,
    grey: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Selectivity]:
    """Return what layers of any network answer, kept nowhere: of an untrained one, say, as a control. Needs torch.

    `layers` has each one's number and functional by its name.
    """
    return _Asking(network, layers, device).records(groups, grey, progress or Progress())


def _functional(atlas: Atlas, layer: str) -> str:
    """Return the functional by which a layer was recorded, mean where it was not or where positions were sampled."""
    for stage in ("activations", "statistics"):
        for name in reversed(atlas.names(stage, layer=layer)):
            found = str(atlas.field(name, "functional"))
            if not found.startswith("positions"):
                return found
    return "mean"


def gather_groups(
    atlas: Atlas,
    groups: Mapping[str, Any],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Gathered]:
    """Return the images of two groups, hashed; AtlasError for another number of groups, or one of too few images."""
    from atlas.data.sources import choose_images

    if groups and len(groups) != 2:
        raise AtlasError(f"{len(groups)} groups of images were given: two are held against each other")
    root = atlas.store.root
    chosen = {
        str(word): choose_images(source, limit=limit, seed=seed, datasets=dataset_folder(root), atlas_root=root,
                                 progress=progress) for word, source in groups.items()
    }  # fmt: skip
    for word, one in chosen.items():
        if one.count < FEWEST:
            raise AtlasError(f"group {one_line(word, 60)} has {one.count} images: {FEWEST} or more would do")
    return {word: one.gather() for word, one in chosen.items()}


Answers = dict[str, np.ndarray]  # by layer: float64 [picture, unit]


class _Asking:
    """Some layers of a network, asked for their units' answers to pictures."""

    def __init__(self, network: Network, layers: Mapping[str, tuple[int, str]], device: str):
        self.network, self.layers, self.device = network, layers, device
        tall, wide = edges({"height": network.preprocess.height, "width": network.preprocess.width})
        self.size = (network.preprocess.channels, *((tall, wide) if min(tall, wide) >= SMALLEST else (USUAL, USUAL)))

    def records(self, groups: Mapping[str, Gathered], grey: bool, progress: Progress) -> dict[str, Selectivity]:
        """Run everything once and return a record for each layer."""
        cycles, hues = stimuli.frequencies(min(self.size[1:])), stimuli.HUES if self.size[0] == 3 else ()
        count = len(stimuli.ORIENTATIONS) * len(cycles) * len(stimuli.PHASES) + 2 * len(hues) + 1
        with progress.stage("stimuli and groups", count + sum(one.count for one in groups.values())) as advance:
            plain = self.answers(stimuli.plain(self.size), advance)
            waves = self.answers(stimuli.gratings(self.size, stimuli.ORIENTATIONS, cycles), advance)
            fields = self.answers(stimuli.hues(self.size, hues), advance) if hues else {}
            found = [self._of_images(one, grey, advance) for one in groups.values()]
        return {
            name: self._record(name, list(groups), grey, cycles, hues, plain[name][0], waves[name], fields.get(name),
                               [one[name] for one in found]) for name in self.layers
        }  # fmt: skip

    def _record(
        self, name: str, groups: list[str], grey: bool, cycles: Sequence[int], hues: Sequence[float], plain: np.ndarray,
        waves: np.ndarray, fields: np.ndarray | None, found: list[np.ndarray],
    ) -> Selectivity:  # fmt: skip
        grating = waves.reshape(len(stimuli.ORIENTATIONS), len(cycles), len(stimuli.PHASES), -1).mean(2)
        hue = np.zeros((0, len(plain))) if fields is None else fields.reshape(len(hues), 2, -1).mean(1)
        auc, effect = groups_apart(*found) if found else (np.full(len(plain), np.nan),) * 2
        number, functional = self.layers[name]
        return Selectivity(
            layer=name, number=number, functional=functional, size=list(self.size[1:]), groups=groups,
            group_images=[len(one) for one in found], grey_groups=grey, orientations=np.array(stimuli.ORIENTATIONS),
            cycles=np.array(cycles, np.float64), hues=np.array(hues, np.float64), grating=grating.astype(np.float32),
            hue=hue.astype(np.float32), plain=plain.astype(np.float32), auc=auc.astype(np.float32),
            effect=effect.astype(np.float32),
        )  # fmt: skip

    def answers(self, pixels: np.ndarray, advance: Callable[[int], Any]) -> Answers:
        """Return what every unit makes of pictures of the network's size, uint8 [picture, rgb, y, x]."""
        from atlas.activations.engine import find_device
        from atlas.activations.few import outputs
        from atlas.activations.functionals import Functional

        wanted = {name: Functional.parse(functional) for name, (_, functional) in self.layers.items()}
        found: list[Answers] = []
        for start in range(0, len(pixels), BATCH):
            batch = pixels[start : start + BATCH]
            found.append(outputs(self.network, batch, wanted, image_ids=[""] * len(batch), seed=0,
                                 device=find_device(self.device), precision="float32"))  # fmt: skip
            advance(len(batch))
        return joined(found, self.layers)

    def _of_images(self, gathered: Gathered, grey: bool, advance: Callable[[int], Any]) -> Answers:
        """Return the answers to the images of a group that decode."""
        found: list[Answers] = []
        for start in range(0, gathered.count, BATCH):
            rows = range(start, min(start + BATCH, gathered.count))
            seen = [gathered.reader.look(row).image for row in rows]
            pixels = [self.network.preprocess.array(one.convert("L") if grey else one) for one in seen if one is not None]
            batches = [np.stack([one]) for one in pixels] if _mixed(pixels) else [np.stack(pixels)] if pixels else []
            found += [self.answers(batch, lambda _: None) for batch in batches]
            advance(len(rows))
        answers = joined(found, self.layers)
        if len(next(iter(answers.values()))) < FEWEST:
            raise AtlasError(f"of a group of {gathered.count} images fewer than {FEWEST} decode: give other images")
        return answers


def joined(found: Sequence[Answers], layers: Iterable[str]) -> Answers:
    """Return the answers of several batches as one, in float64."""
    return {
        name: np.concatenate([np.asarray(one[name], np.float64) for one in found] or [np.zeros((0, 1))]) for name in layers
    }


def _mixed(pixels: Sequence[np.ndarray]) -> bool:
    return len({one.shape for one in pixels}) > 1


def against_preferred(record: Selectivity, drawn: Preferred) -> pd.DataFrame:
    """Return what each unit of a layer answers to beside what its preferred input shows, a row per unit that was drawn.

    Columns: unit; orientation, orientation_index, hue, hue_index of the stimuli; ``drawn_orientation``, ``drawn_coherence``,
    ``drawn_hue``, ``drawn_saturation`` of the preferred input; ``grating`` and ``colour``, the unit's greatest answers to
    stimuli, ``drawn`` to its preferred input and ``real`` to a real image; converged. AtlasError for records of two layers.
    """
    import pandas as pd

    from atlas.patterns.selectivity import picture_features

    if drawn.layer != record.layer:
        raise AtlasError(f"units of {record.layer} and preferred inputs of {drawn.layer}: take records of one layer")
    first = np.flatnonzero(np.asarray(drawn.variant) == 0)
    units = np.asarray(drawn.units)[first]
    features = picture_features(np.asarray(drawn.images)[first]).add_prefix("drawn_")
    table = record.table().iloc[units].reset_index(drop=True)
    kept = table[["unit", "orientation", "orientation_index", "hue", "hue_index"]]
    coloured = np.asarray(record.hue).max(0)[units] if len(record.hues) else np.full(len(units), np.nan)
    return pd.concat([kept, features], axis=1).assign(
        grating=np.asarray(record.grating).max((0, 1))[units], colour=coloured, drawn=np.asarray(drawn.activation)[first],
        real=np.asarray(drawn.best_real)[first], converged=np.asarray(drawn.converged)[first],
    )  # fmt: skip
