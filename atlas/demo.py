"""`make demo`: a real atlas of our conv6 network on all 70 000 images of Fashion-MNIST."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.atlas import Atlas
from atlas.progress import Progress

MODEL = "atlas:conv6@fashion-mnist"
IMAGES = "fashion-mnist"
LAYERS = ("pool4", "relu_fc1", "logits")
DESCRIPTOR = "relu_fc1"
LAYOUTS = ("tsne:relu_fc1", "umap", "umap:joint", "pca:relu_fc1")


def demo(
    *,
    cache: str | os.PathLike[str] = "cache",
    progress: Progress | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Atlas:
    """Build the demo's atlas in ``cache/fashion-mnist`` unless it stands; tell what to do next."""
    progress = progress or Progress()
    folder, started = Path(cache) / IMAGES, time.monotonic()
    atlas = draw(demo_atlas(cache, progress), progress)
    for line in closing_words(atlas, folder, progress, time.monotonic() - started):
        say(line)
    say(f"the same in one file:     {demo_report(atlas)}")
    return atlas


def demo_atlas(cache: str | os.PathLike[str], progress: Progress) -> Atlas:
    """Return the demo's atlas, built unless it stands; nothing is synthesised for it here."""
    from atlas.pipeline import build

    folder = Path(cache) / IMAGES
    build(MODEL, IMAGES, cache=folder, layers=LAYERS, layouts=LAYOUTS, title="Fashion-MNIST", progress=progress)
    return Atlas(folder)


def draw(atlas: Atlas, progress: Progress) -> Atlas:
    """Draw what is synthesised: preferred inputs of every layer's units, icons of the descriptor's map."""
    from atlas.iconing import icons

    for layer in LAYERS:
        atlas.preferred(layer, progress=progress)
    return icons(atlas, DESCRIPTOR, progress=progress)


def demo_report(atlas: Atlas) -> Path:
    """Write the demo's report beside its atlas unless it is younger than all that the atlas shows; return its path."""
    store = atlas.store
    path = store.root.with_name(f"{store.root.name}.html")
    newest = max((store.path(name) / "record.json").stat().st_mtime for name in store.shown())  # atlas.json is written anew
    if not path.is_file() or path.stat().st_mtime < newest:  # whenever the order changes, which is at each run
        atlas.report(path)
    return path


def closing_words(atlas: Atlas, folder: Path, progress: Progress, seconds: float) -> list[str]:
    """Return what the demo says when the atlas stands: the time of each stage, what to try, how to bring one's own."""
    command = Path(".venv") / "bin" / "atlas"
    test_image = int((atlas.image_record.table["split"] == "held-out").to_numpy().argmax())
    stages = {**progress.seconds, "in all": seconds}
    width = max(map(len, stages))
    return [
        "",
        *(f"  {name:<{width}} {taken:6.1f} s" for name, taken in stages.items()),
        "",
        f"an image's neighbours:   {command} query {folder} {test_image} -k 5 --sheet neighbours.png",
        f"what the classes are:    {command} preferred {folder} --layer logits -o preferred.png",
        f"the classes' patterns:   {command} patterns {folder} --stat mean -o patterns.png",
        f"layers side by side:     {command} depth {folder} --make",
        f"your own:                {command} build torchvision:resnet50 PHOTOS/ --cache cache/mine",
        f"                         {command} serve cache/mine",
        "",
    ]
