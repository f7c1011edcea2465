"""Which network output is which dataset label: matched by name, ImageNet id, number, file or order. Imports no torch."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import AtlasError, choose, one_line
from atlas.files import parse_json
from atlas.models.records import ClassMap

REMEDY = "give --class-map FILE (columns output,label), or --class-map order where the orders agree"
FILE_FORM = "give a CSV with the columns output,label, or JSON {output: label}"
WNID = re.compile(r"(n\d{8})(?!\d)")  # the WordNet id of an ImageNet class, alone or before its name


@dataclass(frozen=True)
class Attempt:
    """One way to match: label index → outputs, how it is called in the record and in words, and what stood in the way."""

    found: dict[int, list[int]]
    how: str
    words: str
    names: list[str]
    remarks: tuple[str, ...] = ()


def match_classes(
    categories: Sequence[str] | None,
    outputs: int,
    labels: Sequence[str],
    *,
    file: str | Path | None = None,
    by_order: bool = False,
) -> ClassMap:
    """Return which of the network's `outputs` is which of `labels`.

    `categories` are the outputs' own names, where the weights have them. With `file` (CSV with the columns output and
    label, or JSON {output: label}; an output is a number from 0 or a name) only that is used, and several outputs may be
    one label. Else by name, by ImageNet id or name, or by labels that are output numbers: the first way that matches every
    label wins, else the one that matches most. `by_order`: output i is label i, where the counts agree. A network with a
    single output has two classes by its sigmoid, so two outputs here. Raises AtlasError for a file or an order that
    cannot be.
    """
    count = 2 if outputs == 1 else outputs
    names = _output_names(categories, count)
    if not labels:
        return ClassMap(names, [-1] * count, [], "none", "the images carry no labels: predictions only")
    if count == 0:
        return ClassMap([], [], list(labels), "none", "the network has no logits: labels, but no predictions")
    if file is not None:
        return _result(_from_file(Path(file), names, labels), count, labels)
    if by_order:
        return _result(_by_order(names, labels), count, labels)
    return _result(_best(categories, names, labels), count, labels)


def extend(known: ClassMap, labels: Sequence[str]) -> ClassMap:
    """Return the class map for more labels: those of `known`, which come first in `labels`, keep their outputs.

    A new label gets the output of its name, where none stands for another label yet.
    """
    free = {plain(name): output for output, name in enumerate(known.names) if known.outputs[output] < 0}
    outputs = list(known.outputs)
    added = labels[len(known.labels) :]
    found = {number: free[plain(label)] for number, label in enumerate(added, len(known.labels)) if plain(label) in free}
    for number, output in found.items():
        outputs[output] = number
    missing = [label for number, label in enumerate(added, len(known.labels)) if number not in found]
    words = [f"{len(found)} of {len(added)} labels added later matched by name"] if added else []
    words += [f"not matched: {_some(missing)}: no right and wrong; {REMEDY}"] if missing else []
    return ClassMap(known.names, outputs, list(labels), known.how, "; ".join([known.sentence, *words]))


def _output_names(categories: Sequence[str] | None, count: int) -> list[str]:
    if categories and len(categories) == count:
        return [str(name) for name in categories]
    return [f"output {index}" for index in range(count)]


def _best(categories: Sequence[str] | None, names: list[str], labels: Sequence[str]) -> Attempt:
    attempts: list[Attempt] = []
    ways: list[Callable[[], Attempt]] = [
        *([lambda: _by_name(names, labels, "categories", "by name")] if categories else []),
        lambda: _by_imagenet(names, labels, named=bool(categories)),
        lambda: _by_number(names, labels),
    ]
    for way in ways:
        attempts.append(way())
        if len(attempts[-1].found) == len(labels):
            break
    best = max(attempts, key=lambda attempt: len(attempt.found))  # of equals the first
    if best.found:
        return best
    return dataclasses.replace(best, remarks=tuple(remark for attempt in attempts for remark in attempt.remarks))


# ---------------------------------------------------------------------------------------------------------------------
# The ways


def plain(name: str) -> str:
    """Return `name` as it is compared: case, spaces, underscores and hyphens do not count."""
    return re.sub(r"[\s_\-]+", "", name.casefold())


def _by_name(names: list[str], labels: Sequence[str], how: str, words: str) -> Attempt:
    whole = _index((plain(name), output) for output, name in enumerate(names))
    part = _index((plain(word), output) for output, name in enumerate(names) for word in name.split(",") if "," in name)
    found: dict[int, list[int]] = {}
    remarks: list[str] = []
    for number, label in enumerate(labels):
        candidates = whole.get(plain(label)) or part.get(plain(label)) or []
        if len(candidates) == 1:
            found[number] = candidates
        elif candidates:
            remarks.append(f"“{one_line(label, 40)}” is the name of outputs {_listed(candidates)}")
    found, remarks = _without_rivals(found, labels, remarks)
    return Attempt(found, how, words, names, tuple(remarks))


def _by_imagenet(names: list[str], labels: Sequence[str], *, named: bool) -> Attempt:
    ids = [WNID.match(label) for label in labels]
    if len(names) != 1000:  # ImageNet's ILSVRC-2012 classes, whose order all its networks share
        return Attempt({}, "none", "", names)
    table = _imagenet()
    if table is None:
        missing = ("the labels are ImageNet ids, and the list of these is in the extra `timm`, which is not installed",)
        return Attempt({}, "none", "", names, missing if any(ids) else ())
    own = names if named else [words for _, words in table]
    if not any(ids):
        return _by_name(own, labels, "imagenet", "by ImageNet's names") if not named else Attempt({}, "none", "", names)
    of = {wnid: output for output, (wnid, _) in enumerate(table)}
    found = {number: [of[match[1]]] for number, match in enumerate(ids) if match and match[1] in of}
    found, remarks = _without_rivals(found, labels, [])
    return Attempt(found, "imagenet", "by ImageNet id", own, tuple(remarks))


def _imagenet() -> list[tuple[str, str]] | None:
    """Return id and names of the 1 000 ImageNet classes in their order, from timm's data files; None without timm."""
    package = importlib.util.find_spec("timm")
    folder = Path(package.origin or "").parent / "data" / "_info" if package else Path()
    files = folder / "imagenet_synsets.txt", folder / "imagenet_synset_to_lemma.txt"
    if package is None or not all(path.is_file() for path in files):
        return None
    words = dict(line.split("\t", 1) for line in files[1].read_text("utf-8").splitlines() if "\t" in line)
    return [(wnid, words.get(wnid, wnid)) for wnid in files[0].read_text("utf-8").split()]


def _by_number(names: list[str], labels: Sequence[str]) -> Attempt:
    numbers = [int(label) if re.fullmatch(r"[0-9]{1,6}", label) else -1 for label in labels]
    if not all(0 <= number < len(names) for number in numbers):
        return Attempt({}, "none", "", names)
    found, remarks = _without_rivals({label: [number] for label, number in enumerate(numbers)}, labels, [])
    example = f" ({one_line(labels[0], 20)} is “{one_line(names[numbers[0]], 40)}”)"
    return Attempt(found, "order", f"by the outputs' numbers, from 0{example}", names, tuple(remarks))


def _by_order(names: list[str], labels: Sequence[str]) -> Attempt:
    if len(names) != len(labels):
        raise AtlasError(
            f"a class map by order was asked for, but there are {len(labels)} labels and {len(names)} outputs: "
            "give --class-map FILE with the columns output,label"
        )
    by_name = _by_name(names, labels, "", "").found
    differing = sum(found != [number] for number, found in by_name.items())
    remarks = (f"{differing} of them are named otherwise by the network",) if differing else ()
    return Attempt({number: [number] for number in range(len(labels))}, "order", "by order, as asked", names, remarks)


def _from_file(path: Path, names: list[str], labels: Sequence[str]) -> Attempt:
    found: dict[int, list[int]] = {}
    taken: dict[int, str] = {}
    strangers: set[str] = set()
    for output_text, label in _pairs(path):
        output = _output_of(output_text, names, path)
        if taken.setdefault(output, label) != label:
            both = f"both {one_line(taken[output])} and {one_line(label)}"
            raise AtlasError(f"{path} gives output {output} to {both}: keep one of the lines")
        if label in labels:
            outputs = found.setdefault(list(labels).index(label), [])
            outputs += [] if output in outputs else [output]
        else:
            strangers.add(label)
    strange = f"{len(strangers)} labels in the file are none of the images' ({_some(sorted(strangers))})"
    return Attempt(found, "file", f"by {path.name}", names, (strange,) if strangers else ())


def _pairs(path: Path) -> list[tuple[str, str]]:
    """Return the pairs (output, label) in a class map's file."""
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".json":
            return [(str(output), str(label)) for output, label in parse_json(text).items()]
        rows = csv.DictReader(text.splitlines(), restval="")
        if not {"output", "label"} <= set(rows.fieldnames or []):
            raise AtlasError(f"{path} has the columns {one_line(rows.fieldnames)}: a class map's file has output,label")
        return [(row["output"].strip(), row["label"].strip()) for row in rows]
    except FileNotFoundError:
        raise AtlasError(f"no class map at {path}: {FILE_FORM}") from None
    except (OSError, UnicodeDecodeError, ValueError, AttributeError, csv.Error) as reason:
        raise AtlasError(f"{path} is no class map ({one_line(reason)}): {FILE_FORM}") from None


def _output_of(text: str, names: list[str], path: Path) -> int:
    if text in names:
        return names.index(text)
    if re.fullmatch(r"[0-9]{1,6}", text):
        if int(text) < len(names):
            return int(text)
        raise AtlasError(f"{path} names output {text}: the network has outputs 0 to {len(names) - 1}")
    raise choose(f"output in {path.name}:", text, names)


# ---------------------------------------------------------------------------------------------------------------------
# What came of it


def _index(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    for key, output in pairs:
        if output not in table.setdefault(key, []):
            table[key].append(output)
    return table


def _without_rivals(
    found: dict[int, list[int]], labels: Sequence[str], remarks: list[str]
) -> tuple[dict[int, list[int]], list[str]]:
    """Leave out the labels that claim one and the same output: none of them is more right than the others."""
    claims = Counter(outputs[0] for outputs in found.values())
    for output in (output for output, count in claims.items() if count > 1):
        rivals = [labels[number] for number, outputs in found.items() if outputs == [output]]
        remarks = [*remarks, f"{_some(rivals)} all name output {output}, so none of them is matched"]
    return {number: outputs for number, outputs in found.items() if claims[outputs[0]] == 1}, remarks


def _result(attempt: Attempt, count: int, labels: Sequence[str]) -> ClassMap:
    table = [-1] * count
    for number, outputs in attempt.found.items():
        for output in outputs:
            table[output] = number
    how = attempt.how if attempt.found else "none"
    return ClassMap(attempt.names, table, list(labels), how, _sentence(attempt, table, labels))


def _sentence(attempt: Attempt, table: list[int], labels: Sequence[str]) -> str:
    missing = [label for number, label in enumerate(labels) if number not in attempt.found]
    if not attempt.found:
        head = f"none of {len(labels)} labels is one of the network's {len(table)} outputs ({_some(labels)})"
    else:
        head = f"{len(labels) - len(missing)} of {len(labels)} labels matched to outputs {attempt.words}"
        mapped = sum(number >= 0 for number in table)
        head += f" ({mapped} outputs)" if mapped > len(labels) - len(missing) else ""
    unmatched = f"not matched: {_some(missing)}" if missing and attempt.found else ""
    body = "; ".join(part for part in (head, unmatched, *attempt.remarks) if part)
    return f"{body}: no right and wrong; {REMEDY}" if missing else body


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(one_line(name, 40) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers[:3]))
