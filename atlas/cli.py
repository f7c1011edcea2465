"""The `atlas` command: each verb reads its arguments and calls the public function of the same name."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from atlas.errors import AtlasError, one_line
from atlas.progress import Progress, for_stream

app = typer.Typer(
    name="atlas",
    help="What has my image classifier learned, and where does it go wrong?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

STOPPED = "stopped; what was finished is kept, and the same command goes on from there"
INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended: 128 + SIGINT
AtlasArgument = Annotated[Path, typer.Argument(metavar="ATLAS", help="The atlas's folder, such as cache/fashion-mnist.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for a script to read.")]
Weights = Annotated[Path | None, typer.Option(help="A checkpoint: safetensors, or a state dict.")]
InputSize = Annotated[int | None, typer.Option(help="Side of the network's input in pixels, where its weights do not say.")]
LayerOption = Annotated[str | None, typer.Option("--layer", "-l", help="The layer; default: the descriptor.")]
NetworkOption = Annotated[
    str | None, typer.Option("--network", help="Of several networks: number, title or spec; default: the last added.")
]


def main() -> None:
    """Run the command; a user's mistake is one line and exit code 2."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop_at_once)
    try:
        with redirect_stdout(sys.stderr):  # what a user's network prints is no part of an answer; `say` goes past it
            app(standalone_mode=False)
    except AtlasError as mistake:
        fail(str(mistake))
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except typer.Exit as wanted:
        sys.exit(wanted.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left; so do we, in silence
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own: a wrong option, a missing argument
            command = getattr(getattr(error, "ctx", None), "command_path", "atlas")
            fail(f"{error.format_message()} (`{command} --help` shows the options)")
        raise


def stop_at_once(signum: int, frame: object) -> NoReturn:
    """End on Ctrl-C without unwinding, for libraries have swallowed the exception; a build survives a kill at any moment."""
    for child in multiprocessing.active_children():
        child.kill()
    shown = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # the bars hide the cursor
    os.write(2, f"{shown}atlas: {STOPPED}\n".encode())
    os._exit(INTERRUPTED)


def say(text: object) -> None:
    """Print an answer on standard output; what its encoding lacks, such as half a character in a file's name, as escapes."""
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    typer.echo(str(text).encode(encoding, "backslashreplace").decode(encoding), file=sys.__stdout__)


def fail(line: str, code: int = 2) -> NoReturn:
    """Say one line on standard error and end with an exit code."""
    typer.echo(f"atlas: {one_line(line, 2000)}", err=True)
    sys.exit(code)


def early(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Cap the threads before a verb imports torch or numba."""

    @wraps(verb)
    def run(*arguments: Any, **options: Any) -> Any:
        from atlas.machine import cap_threads

        cap_threads()
        return verb(*arguments, **options)

    return run


def become_server(atlas: Path | None, *, port: int, **options: Any) -> NoReturn:
    """Serve in place of this process, so that whatever stops the command stops the server."""
    from atlas.verbs import server

    command, environment, url = server(atlas, port=port, **options)
    say(f"explorer: {url}   (Ctrl-C stops it)")
    os.execve(command[0], command, environment)


def tell(value: Any, *, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print a value as JSON or as text."""
    say(json.dumps(value, indent=1, ensure_ascii=False, default=_plain) if as_json else text(value))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def progress() -> Progress:
    """Bars on a terminal, lines in a log."""
    return for_stream(sys.stderr)


@app.command()
@early
def demo(
    experiment: Annotated[
        str | None, typer.Argument(help="An experiment, such as activations: it builds its atlas and writes its figures.")
    ] = None,
    serve: Annotated[bool, typer.Option(help="Serve the explorer when the atlas stands.")] = True,
    port: Annotated[int, typer.Option(help="First port to try.")] = 5006,
    cache: Annotated[Path, typer.Option(help="Where atlases and datasets are kept.")] = Path("cache"),
    quick: Annotated[bool, typer.Option("--quick", help="Of an experiment: on few images, under two minutes.")] = False,
    images: Annotated[
        str | None, typer.Option(help="Of the experiment volume: your own labelled photographs, a folder per class.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Of an experiment: the folder for its figures.")] = None,
) -> None:
    """Build the atlas of our conv6 network on Fashion-MNIST and serve the explorer; or run an experiment by its name."""
    from atlas.demo import demo as run
    from atlas.experiments import run as run_experiment

    if experiment is None and (quick or out is not None or images is not None):
        raise AtlasError("--quick, --images and --out are about an experiment: name one, such as `atlas demo activations`")
    if experiment is None:
        opened = run(cache=cache, progress=progress(), say=say)
    else:
        opened = run_experiment(experiment, cache=cache, out=out, quick=quick, images=images, progress=progress(), say=say)
    if serve:
        become_server(opened.store.root, port=port)


@app.command()
@early
def layers(
    model: Annotated[str, typer.Argument(help="torchvision:NAME, timm:NAME, module:factory, FILE.pt2 or atlas:NAME.")],
    weights: Weights = None,
    input_size: InputSize = None,
    as_json: Json = False,
) -> None:
    """List a network's layers: number in order of execution, name, kind, output shape, parameters."""
    from atlas.tables import text_table
    from atlas.verbs import layers as run

    table = run(model, weights=weights, input_size=input_size)
    tell(table.to_dict("records"), as_json=as_json, text=lambda _: text_table(table))


@app.command()
@early
def train(
    net: Annotated[str, typer.Argument(help="conv4, conv6, residual-mlp or residual-cnn.")],
    dataset: Annotated[str, typer.Argument(help="fashion-mnist, mnist, cifar10, faces or celeba.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for weights, recipe, history and curves.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of initialisation, order and augmentation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, bfloat16 or float32.")] = "auto",
    argument: Annotated[
        list[str] | None, typer.Option("--net", help="An argument of the network, NAME=VALUE: depth=512, scaling=rezero.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in half precision, which halves the file.")] = False,
    cache: Annotated[Path, typer.Option(help="Where datasets are kept.")] = Path("cache"),
) -> None:
    """Train one of our reference networks, with recipe, history, curves and the drawing of its architecture."""
    from atlas.verbs import train as run

    result = run(
        net, dataset, out=out, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, device=device,
        precision=precision, half=half, net_arguments=argument or [], cache=cache, progress=progress(),
    )  # fmt: skip
    say(f"{result.folder}: " + ", ".join(f"{split} {value:.4f}" for split, value in result.accuracy.items()))


@app.command()
@early
def build(
    model: Annotated[str, typer.Argument(help="torchvision:NAME, timm:NAME, module:factory, FILE.pt2 or atlas:NAME.")],
    images: Annotated[
        str | None, typer.Argument(help="A folder, a .csv or .parquet table, or a dataset's name; none with --into.")
    ] = None,
    cache: Annotated[Path | None, typer.Option("--cache", "-o", help="The atlas's folder; default: cache/NAME.")] = None,
    into: Annotated[Path | None, typer.Option(help="An atlas that stands: one more network over its images.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="NAME, NUMBER or NAME=FUNCTIONAL; repeat.")
    ] = None,
    layout: Annotated[
        list[str] | None, typer.Option(help="umap, tsne or pca, as METHOD[:LAYER|:all|:joint|:A+B][,name=value]; repeat.")
    ] = None,
    functional: Annotated[str, typer.Option(help="mean, max, centre, class-token or positions:K.")] = "mean",
    statistics: Annotated[list[str] | None, typer.Option(help="Further layers for statistics only, or `all`.")] = None,
    metric: Annotated[str, typer.Option(help="cosine or L2.")] = "cosine",
    limit: Annotated[int | None, typer.Option(help="At most N images, stratified by class, seeded.")] = None,
    split: Annotated[str | None, typer.Option(help="Mark all images as train, held-out or unknown.")] = None,
    weights: Weights = None,
    input_size: InputSize = None,
    class_map: Annotated[str | None, typer.Option(help="A file output,label, or `order` when the counts agree.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bfloat16 or float32.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per batch; default: by a short trial.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    workers: Annotated[int | None, typer.Option(help="Layouts computed side by side; default: one per core.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every choice made by chance.")] = 0,
    title: Annotated[str | None, typer.Option(help="The atlas's title.")] = None,
    properties: Annotated[
        bool, typer.Option("--properties", help="Measure each image: brightness, contrast, hue and more, as columns.")
    ] = False,
    verify: Annotated[bool, typer.Option(help="Hash every image file anew.")] = False,
    preferred: Annotated[bool, typer.Option("--preferred", help="Then the preferred inputs of each layer.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what it would take: points, bytes, time.")] = False,
) -> None:
    """Build an atlas: record activations, find neighbours, lay out. What stands already is not built again."""
    from atlas import pipeline

    told = progress()
    todo = pipeline.plan(
        model, images, cache=cache, into=into, layers=layer or (), layouts=layout or ("umap",), functional=functional,
        statistics=statistics or (), metric=metric, limit=limit, split=split, class_map=class_map, seed=seed, title=title,
        properties=properties, network={"weights": weights, "input_size": input_size}, verify=verify, progress=told,
        run={"precision": precision, "batch_size": batch_size, "device": device, "workers": workers},
    )  # fmt: skip
    if dry_run:
        from atlas.estimate import estimate
        from atlas.tables import text_estimate

        say(text_estimate(estimate(todo)))
        return
    atlas = pipeline.execute(todo, told)
    if preferred:
        pipeline.draw_preferred(atlas, todo.network, told)
    say(f"the atlas stands in {atlas.store.root}\nlook at it: atlas serve {atlas.store.root}")


@app.command()
@early
def add(
    atlas: AtlasArgument,
    images: Annotated[str, typer.Argument(help="A folder, a .csv or .parquet table, or a dataset's name.")],
    refit: Annotated[
        bool, typer.Option(help="Lay out anew, instead of placing the new images in the maps there are.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="At most N images, stratified by class, seeded.")] = None,
    split: Annotated[str | None, typer.Option(help="Mark the new images as train, held-out or unknown.")] = None,
    class_map: Annotated[str | None, typer.Option(help="A file output,label, where new labels need one.")] = None,
    new_labels: Annotated[bool, typer.Option(help="Add labels that are no output: right and wrong then end.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the images that --limit keeps.")] = 0,
    verify: Annotated[bool, typer.Option(help="Hash every image file anew.")] = False,
) -> None:
    """Add images to an atlas: only they go through the network, and they are placed in the maps that stand."""
    from atlas.growing import add as run

    told = progress()
    grown = run(
        atlas, images, refit=refit, limit=limit, split=split, class_map=class_map, new_labels=new_labels, seed=seed,
        verify=verify, run={"device": device}, progress=told,
    )  # fmt: skip
    say(f"{len(grown.image_record)} images in {grown.store.root}\nlook at it: atlas serve {grown.store.root}")


@app.command("list")
def list_(
    cache: Annotated[Path, typer.Argument(help="The folder of atlases.")] = Path("cache"), as_json: Json = False
) -> None:
    """List the atlases of a folder."""
    from atlas.tables import text_table
    from atlas.verbs import list_atlases

    table = list_atlases(cache)
    if table.empty and not as_json:
        raise AtlasError(f"no atlas in {cache}: `make demo` builds one, or `atlas build MODEL IMAGES --cache {cache}/NAME`")
    tell(table.to_dict("records"), as_json=as_json, text=lambda _: text_table(table))


@app.command()
def show(atlas: AtlasArgument, network: NetworkOption = None, as_json: Json = False) -> None:
    """Show what an atlas holds: images, splits, network, accuracy, layers, layouts and their faithfulness."""
    from atlas.tables import text_summary
    from atlas.verbs import damage_told
    from atlas.verbs import show as run

    with damage_told(atlas):
        tell(run(atlas, network=network), as_json=as_json, text=text_summary)


@app.command()
def query(
    atlas: AtlasArgument,
    image: Annotated[str, typer.Argument(metavar="IMAGE|ROW|ID", help="An image file, a row, or an image_id.")],
    k: Annotated[int, typer.Option("-k", help="How many neighbours.")] = 10,
    layer: LayerOption = None,
    network: NetworkOption = None,
    as_json: Json = False,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet of the answer, PNG.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that a new image may take; the first loads the network.")] = 60,
) -> None:
    """Find the nearest images of an image in a layer's own space; a new image file is also predicted and placed."""
    from atlas.asking import query as run
    from atlas.tables import text_query

    answer = run(atlas, image, k=k, layer=layer, network=network, sheet=sheet, timeout=timeout)
    tell(answer, as_json=as_json, text=text_query)


@app.command()
@early
def activations(
    model: Annotated[str, typer.Argument(metavar="MODEL|ATLAS", help="A network, as `atlas layers` takes it, or an atlas.")],
    image: Annotated[str, typer.Argument(metavar="IMAGE|ROW|ID", help="An image file; of an atlas also a row or image_id.")],
    layer: Annotated[str | None, typer.Option("--layer", "-l", help="NAME, or NUMBER in `atlas layers`.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw it: PNG, SVG or PDF.")] = None,
    arrays: Annotated[Path | None, typer.Option(help="Write the maps: .npz, or .npy of units × y × x.")] = None,
    own_size: Annotated[bool, typer.Option("--own-size", help="Run the image as large as it is, not resized.")] = False,
    maps: Annotated[bool, typer.Option("--maps", help="Of an atlas's image its maps, not its pattern.")] = False,
    disturb: Annotated[
        list[str] | None, typer.Option(help="Of an atlas: noise, blur, rotation or shift; repeat; default: all.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of an atlas: whose patterns: held-out, train, unknown or all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of an atlas: seed of the noise.")] = None,
    weights: Weights = None,
    input_size: InputSize = None,
    network: NetworkOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Show what one image does inside a network: every unit's map; of an atlas, its pattern against its class's."""
    from atlas.one_image import activations as run
    from atlas.tables_inside import text_activations

    answer = run(
        model, image, layer=layer, maps=maps, out=out, arrays=arrays, own_size=own_size, kinds=tuple(disturb or ()),
        split=split, seed=seed, weights=weights, input_size=input_size, network=network, device=device,
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_activations)


@app.command()
def patterns(
    atlas: AtlasArgument,
    layer: LayerOption = None,
    network: NetworkOption = None,
    stat: Annotated[str, typer.Option(help="mean or std.")] = "mean",
    split: Annotated[str, typer.Option(help="held-out, train, unknown or all; auto: held-out if any, else all.")] = "auto",
    across: Annotated[
        bool | None,
        typer.Option(
            "--across/--one-layer", help="Each class across all layers of one width; default: where there are many."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="PNG, SVG or PDF; default: NAME-STAT.png here.")] = None,
    as_json: Json = False,
) -> None:
    """Draw the classes' activation patterns: mean or standard deviation of every unit."""
    from atlas.verbs import patterns as run

    answer = run(atlas, layer=layer, network=network, stat=stat, split=split, across=across, out=out)
    tell(answer, as_json=as_json, text=lambda a: f"{a['title']}\n{a['file']}")


@app.command()
def suspects(
    atlas: AtlasArgument,
    layer: LayerOption = None,
    leaks: Annotated[
        bool, typer.Option("--leaks", help="List held-out images that look the same as a training image.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write them all: CSV or Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """List the images whose neighbours say another label, the most suspicious first; or leaks between the splits."""
    from atlas.tables import text_suspects
    from atlas.verbs import suspects as run

    tell(run(atlas, layer=layer, leaks=leaks, out=out), as_json=as_json, text=text_suspects)


@app.command()
@early
def preferred(
    atlas: AtlasArgument,
    layer: LayerOption = None,
    network: NetworkOption = None,
    unit: Annotated[list[int] | None, typer.Option("--unit", "-u", help="A unit by its number; repeat.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All units of the layer.")] = False,
    param: Annotated[
        str | None, typer.Option(help="pixel, fourier, maco or pca; default: what fits the network's input.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the ascent.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels of a picture's edge; default: the network's, at most 128.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Step of the optimiser; default: the parameterisation's own.")] = None,
    restarts: Annotated[
        int | None, typer.Option(help="Starts per unit, of which the best is kept; default: 4, beyond 64 units 2.")
    ] = None,
    variants: Annotated[int | None, typer.Option(help="Reconstructions of each unit, made unlike and all kept.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the starts and of the transforms.")] = 0,
    precision: Annotated[str | None, typer.Option(help="Of the ascent: auto, bfloat16 or float32.")] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Also of an untrained network, and without the dataset's prior.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A sheet with real images beside: PNG, SVG, PDF.")] = None,
    film: Annotated[Path | None, typer.Option("--film", help="A film of them as they form: WebP or MP4.")] = None,
    as_json: Json = False,
) -> None:
    """Synthesise the inputs that units prefer, by gradient ascent, and hold them against real images."""
    from atlas.tables import text_preferred
    from atlas.verbs import preferred as run

    if unit and every:
        raise AtlasError("--unit and --all exclude each other: give one of them")
    answer = run(
        atlas, layer=layer, network=network, units="all" if every else unit or None, controls=controls, out=out, film=film,
        param=param, steps=steps, size=size, rate=rate, restarts=restarts, variants=variants, seed=seed, device=device,
        precision=precision,
        progress=progress(),
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_preferred)


@app.command()
@early
def film(
    atlas: AtlasArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The film to write: WebP or MP4.")] = Path("film.webp"),
    layer: Annotated[list[str] | None, typer.Option("--layer", "-l", help="Only this layer; repeat.")] = None,
    network: NetworkOption = None,
    param: Annotated[str | None, typer.Option(help="Only what was drawn by pixel, fourier, maco or pca.")] = None,
    record: Annotated[
        list[str] | None, typer.Option(help="The record of a layer, where several stand; repeat for others.")
    ] = None,
    seconds_per_page: Annotated[float, typer.Option(help="How long a page of up to 8 × 8 units is shown.")] = 3.0,
    width: Annotated[int, typer.Option(help="Pixels of the film's width.")] = 1440,
    as_json: Json = False,
) -> None:
    """Write a film through the preferred inputs of each layer, the layer marked in the network's drawing."""
    from atlas.tables import text_film
    from atlas.verbs import film as run

    answer = run(
        atlas, out, network=network, layers=layer or (), param=param, record=record or (), width=width,
        seconds_per_page=seconds_per_page, progress=progress(),
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_film)


@app.command()
@early
def responses(
    atlas: AtlasArgument,
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[ROW|ID]...", help="Images; default: as many of each class.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", "-l", help="Only this layer; repeat.")] = None,
    most: Annotated[int | None, typer.Option(help="Images of each class; default: 100 shared by the classes.")] = None,
    label: Annotated[list[str] | None, typer.Option("--class", help="Only images of this class; repeat.")] = None,
    network: NetworkOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A sheet, images down and units across; of one image the maps of every unit."),
    ] = None,
    film: Annotated[Path | None, typer.Option("--film", help="A film of the maps, a frame per image: WebP or MP4.")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="A row per image and unit: CSV or Parquet.")] = None,
    seconds: Annotated[float, typer.Option(help="How long the film shows an image.")] = 1.0,
    width: Annotated[int, typer.Option(help="Pixels of the film's width.")] = 1200,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Show what all units of all recorded layers answer to images of each class, held-out ones first."""
    from atlas.response_sheet import responses as run
    from atlas.tables_inside import text_responses

    answer = run(
        atlas, images or (), layers=layer or (), most=most, classes=label or (), network=network, out=out, film=film,
        table=table, seconds=seconds, width=width, device=device, progress=progress(),
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_responses)


@app.command()
@early
def icons(
    atlas: AtlasArgument,
    layer: LayerOption = None,
    method: Annotated[str, typer.Option(help="Whose layout: umap, tsne or pca.")] = "umap",
    network: NetworkOption = None,
    grid: Annotated[list[int] | None, typer.Option("--grid", "-g", help="Cells a side; repeat; default: 8 and 16.")] = None,
    param: Annotated[str | None, typer.Option(help="pixel, fourier, maco or pca; default: what fits the input.")] = None,
    steps: Annotated[int, typer.Option(help="Steps for the coarsest grid; finer ones take half as many.")] = 128,
    size: Annotated[int | None, typer.Option(help="Pixels of an icon's edge.")] = None,
    whiten: Annotated[bool, typer.Option("--whiten", help="Weigh units that vary together as one.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the starts and of the transforms.")] = 0,
    precision: Annotated[str, typer.Option(help="Of the ascent: auto, bfloat16 or float32.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the finest grid as a PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Draw the activation atlas of icons: what the network sees in each cell of a layout, and what it argues for."""
    from atlas.tables import text_icons
    from atlas.verbs import icons as run

    answer = run(
        atlas, layer=layer, method=method, network=network, sizes=grid or None, param=param, steps=steps, size=size,
        whiten=whiten, seed=seed, precision=precision, device=device, out=out, progress=progress(),
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_icons)


@app.command()
@early
def propagate(
    atlas: AtlasArgument,
    image: Annotated[str, typer.Argument(metavar="IMAGE|ROW|ID", help="An image file, a row, or an image_id.")],
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="Only this layer; repeat; default: recorded, one of each size.")
    ] = None,
    grid: Annotated[int | None, typer.Option("--grid", "-g", help="Cells a side; default: each layer's finest.")] = None,
    network: NetworkOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw it as one strip: PNG, SVG or PDF.")] = None,
    as_json: Json = False,
) -> None:
    """Follow one image through the network: at each place of each layer, which cell it is like and what it argues for."""
    from atlas.strip import propagate as run
    from atlas.tables import text_propagation

    answer = run(atlas, image, layers=layer or (), size=grid, network=network, out=out, device=device)
    tell(answer, as_json=as_json, text=text_propagation)


@app.command()
def associations(
    atlas: AtlasArgument,
    layer: LayerOption = None,
    method: Annotated[str, typer.Option(help="Whose layout: umap, tsne or pca.")] = "umap",
    grid: Annotated[int | None, typer.Option("--grid", "-g", help="Cells of this grid only, by cells a side.")] = None,
    network: NetworkOption = None,
    as_json: Json = False,
) -> None:
    """List unusual associations: cells that argue for a class few members have, and units whose top images cross classes."""
    from atlas.tables import text_associations
    from atlas.verbs import associations as run

    tell(run(atlas, layer=layer, method=method, size=grid, network=network), as_json=as_json, text=text_associations)


@app.command("class-atlas")
def class_atlas(
    atlas: AtlasArgument,
    output: Annotated[str, typer.Argument(metavar="CLASS", help="A class by its name, or an output by its number.")],
    against: Annotated[str | None, typer.Option(help="Another class: the axis from the one to the other.")] = None,
    layer: LayerOption = None,
    method: Annotated[str, typer.Option(help="Whose layout: umap, tsne or pca.")] = "umap",
    grid: Annotated[int | None, typer.Option("--grid", "-g", help="Cells of this grid only, by cells a side.")] = None,
    by: Annotated[str, typer.Option(help="winner (greatest attribution), top (the strongest) or both.")] = "both",
    most: Annotated[int, typer.Option(help="How many points are the strongest.")] = 2000,
    network: NetworkOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the points: CSV or Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """List what argues for a class; with --against, the difference between two classes along an attribution axis."""
    from atlas.classing import class_atlas as run
    from atlas.tables import text_class_atlas

    answer = run(
        atlas, output, against, layer=layer, method=method, size=grid, by=by, most=most, network=network, out=out,
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_class_atlas)


@app.command()
@early
def depth(
    atlas: AtlasArgument,
    method: Annotated[str, typer.Option(help="Whose layouts: umap, tsne or pca.")] = "umap",
    grid: Annotated[
        list[int] | None, typer.Option("--grid", "-g", help="Cells a side; repeat; default: all that the layers share.")
    ] = None,
    make: Annotated[bool, typer.Option("--make", help="Attribute the layers and make their cells first.")] = False,
    network: NetworkOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> None:
    """Put the layers side by side: how pure their cells are, and how strongly they argue."""
    from atlas.classing import depth as run
    from atlas.tables import text_depth

    answer = run(
        atlas, method=method, sizes=grid or (), make=make, network=network, device=device, progress=progress()
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_depth)


@app.command()
@early
def graph(
    atlas: AtlasArgument,
    layer: LayerOption = None,
    network: NetworkOption = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Nearest images that each image lists.")] = 10,
    split: Annotated[str, typer.Option(help="held-out, train, unknown or all; auto: held-out if any, else all.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of communities, layout and controls.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw the graph: PNG, SVG or PDF.")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="Write its nodes: CSV or Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Join the images that are among each other's nearest: homophily, communities, hubs. The explorer shows it."""
    from atlas.graph_sheet import graph as run
    from atlas.tables import text_graph
    from atlas.verbs import damage_told

    answer = run(atlas, layer=layer, network=network, k=k, split=split, seed=seed, out=out, table=table, progress=progress())
    with damage_told(atlas):
        tell(answer, as_json=as_json, text=text_graph)


@app.command()
@early
def volume(
    atlas: AtlasArgument,
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="Rows, ranges and image_ids, or a kept selection's name.")],
    layer: Annotated[list[str] | None, typer.Option("--layer", "-l", help="Only this layer; repeat.")] = None,
    channels: Annotated[int | None, typer.Option(help="The most active channels of each layer; default: 8.")] = None,
    size: Annotated[int | None, typer.Option(help="Longer side of the grid; default: at most 64.")] = None,
    cam: Annotated[str | None, typer.Option(help="Layer of the class activation map, or none.")] = None,
    at: Annotated[tuple[int, int] | None, typer.Option(help="Where the slices lie: y and x of the grid.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep it: the explorer and the report show its slices.")] = False,
    network: NetworkOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Render one image's: PNG, SVG, PDF or WebP.")] = None,
    as_json: Json = False,
) -> None:
    """Show the layers as a volume: the most active channels of each as sheets, one behind the other, and slices of them."""
    from atlas.feature_verbs import volume as run
    from atlas.tables_features import text_volume

    answer = run(
        atlas, images, layers=layer or (), network=network, channels=channels, size=size, cam=cam, at=at, keep=keep, out=out,
        device=device, progress=progress(),
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_volume)


@app.command()
@early
def levels(
    atlas: AtlasArgument,
    images: Annotated[int | None, typer.Option(help="How many images to run; default: 100.")] = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", "-l", help="Only this layer; repeat.")] = None,
    channels: Annotated[int | None, typer.Option(help="The most active channels of each layer; default: 8.")] = None,
    network: NetworkOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the images drawn.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the table: CSV or Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Say level by level how much a layer still shows of its input, and how far it separates the classes."""
    from atlas.feature_verbs import levels as run
    from atlas.tables_features import text_levels

    answer = run(
        atlas, images=images, layers=layer or (), channels=channels, network=network, seed=seed, device=device, out=out,
        progress=progress(),
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_levels)


@app.command()
@early
def properties(
    atlas: AtlasArgument,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="Change it alone: brightness, contrast, saturation, hue, sharpness, size, or all; repeat."),
    ] = None,
    images: Annotated[int | None, typer.Option(help="How many images to sweep; default: 100.")] = None,
    network: NetworkOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the images drawn.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Every image of the sweeps: CSV or Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Say how brightness, contrast and more go along with confidence and accuracy; --sweep changes them one at a time."""
    from atlas.feature_verbs import properties as run
    from atlas.tables_features import text_properties

    answer = run(
        atlas, sweep=sweep or (), images=images, network=network, seed=seed, device=device, out=out, progress=progress()
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_properties)


@app.command()
@early
def selectivity(
    atlas: AtlasArgument,
    layer: LayerOption = None,
    group: Annotated[
        list[str] | None, typer.Option(help="NAME=IMAGES, a folder, table or dataset's name; two, held against each other.")
    ] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Show the groups without colour, so that it does not tell.")] = False,
    limit: Annotated[int | None, typer.Option(help="At most N images of each group.")] = None,
    network: NetworkOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the images that --limit keeps.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the table: CSV or Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Say which unit answers to which orientation, frequency, hue and group of images; the explorer sorts units by it."""
    from atlas.feature_verbs import selectivity as run
    from atlas.tables_features import text_selectivity

    wrong = [one for one in group or () if not all(one.partition("=")[::2])]
    if wrong:
        raise AtlasError(f"--group {one_line(wrong[0])}: NAME=IMAGES would do, such as faces=photos/faces")
    groups = {name: source for name, _, source in (one.partition("=") for one in group or ())}
    if group and len(groups) != 2:
        raise AtlasError(f"{len(groups)} groups by name: give --group twice, with two names")
    answer = run(
        atlas, layer=layer, groups=groups, grey=grey, limit=limit, network=network, seed=seed, device=device, out=out,
        progress=progress(),
    )  # fmt: skip
    tell(answer, as_json=as_json, text=text_selectivity)


@app.command()
@early
def extractor(
    model: Annotated[str, typer.Argument(metavar="MODEL|ATLAS", help="A network, as `atlas layers` takes it, or an atlas.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The program to write, .pt2.")] = Path("extractor.pt2"),
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", help="NAME, or NUMBER in `atlas layers`: where to cut.")
    ] = None,
    unit: Annotated[list[int] | None, typer.Option("--unit", "-u", help="Only this unit; repeat.")] = None,
    functional: Annotated[str, typer.Option(help="mean, max, centre, class-token, or maps to keep every place.")] = "mean",
    probe: Annotated[str | None, typer.Option(help="Labelled images on which a linear probe is fitted and judged.")] = None,
    train: Annotated[int, typer.Option(help="Of --probe: training images at most.")] = 2000,
    test: Annotated[int, typer.Option(help="Of --probe: test images at most.")] = 1000,
    network: NetworkOption = None,
    weights: Weights = None,
    input_size: InputSize = None,
    seed: Annotated[int, typer.Option(help="Of --probe: seed of the images drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Cut a network at a layer or some units and write it as a torch.export program; --probe says what it is worth."""
    from atlas.reusing import extractor as run
    from atlas.reusing import probe as judge
    from atlas.tables_features import text_extractor

    answer = run(
        model, out, layer=layer, units=unit or (), functional=functional, network=network, weights=weights,
        input_size=input_size,
    )  # fmt: skip
    if probe is not None:
        found = judge(out, probe, train=train, test=test, seed=seed, progress=progress())
        answer["probes"] = {f"probe on {probe}": found["probe"], "the images alone": found["control"]}
    tell(answer, as_json=as_json, text=text_extractor)


@app.command()
@early
def report(
    atlas: AtlasArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    max_size: Annotated[
        str | None,
        typer.Option(help="20MB, say: thumbnails, neighbours and at last a sample are chosen to fit; default: 18MB."),
    ] = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", "-l", help="Only this layer, NAME or A+B; repeat.")] = None,
    split: Annotated[str | None, typer.Option(help="Only train, held-out or unknown images.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample, where one is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the explorer of an atlas as one HTML file, which opens without a server and without a network."""
    from atlas.tables import text_report
    from atlas.verbs import report as run

    told = run(atlas, out, max_size=max_size, layers=layer or (), split=split, seed=seed)
    tell(told, as_json=as_json, text=text_report)


@app.command()
@early
def export(
    atlas: AtlasArgument,
    format: Annotated[str, typer.Option("--format", "-f", help="netcdf, parquet, csv, embedding-atlas or tensorboard.")],
    images: Annotated[
        str | None,
        typer.Option(
            help="Rows, ranges and image_ids: 0,5,10-19; a kept selection's name; or all, the default but of netcdf."
        ),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="The layer; for netcdf repeat; default: the descriptor.")
    ] = None,
    network: NetworkOption = None,
    method: Annotated[str | None, typer.Option(help="embedding-atlas: whose layout: umap, tsne or pca.")] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="parquet, embedding-atlas: also the layer's vectors.")] = False,
    channels: Annotated[int | None, typer.Option(help="netcdf: the most active channels of each layer; default: 8.")] = None,
    size: Annotated[int | None, typer.Option(help="netcdf: longer side of the grid; default: at most 64.")] = None,
    cam: Annotated[
        str | None, typer.Option(help="netcdf: layer of the class activation map, or none; default: the last with places.")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="netcdf: every channel as the network has it.")] = False,
    each: Annotated[bool, typer.Option("--each", help="netcdf: also a file for each image, which ParaView reads.")] = False,
    device: Annotated[str | None, typer.Option(help="netcdf: auto, cpu or cuda.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file, or folder for tensorboard, to write.")] = None,
    as_json: Json = False,
) -> None:
    """Write an atlas for other programs: tables, netCDF volumes of activations, TensorBoard's projector, embedding-atlas."""
    from atlas.tables import text_export
    from atlas.verbs import export as run

    told = run(
        atlas, out, format=format, images=images, layers=layer or (), network=network, method=method, vectors=vectors,
        channels=channels, size=size, cam=cam, lossless=lossless, each=each, device=device, progress=progress(),
    )  # fmt: skip
    tell(told, as_json=as_json, text=text_export)


@app.command()
def serve(
    atlas: Annotated[
        Path | None, typer.Argument(metavar="[ATLAS]", help="An atlas, or a folder of atlases; default: cache/ here.")
    ] = None,
    port: Annotated[int, typer.Option(help="First port to try; the next free one is taken.")] = 5006,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "localhost",
    origin: Annotated[
        list[str] | None, typer.Option(help="A further host that browsers reach it under, a proxy's; may be repeated.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Write nothing into the atlases.")] = False,
) -> None:
    """Serve the explorer."""
    become_server(atlas, port=port, address=address, origins=origin or [], read_only=read_only)


@app.command()
def gc(
    atlas: AtlasArgument,
    remove: Annotated[bool, typer.Option(help="Remove them, not only list.")] = False,
) -> None:
    """List the artifacts that nothing shown was made from, and remove them with --remove."""
    from atlas.verbs import gc as run

    for line in run(atlas, remove=remove):
        say(line)
