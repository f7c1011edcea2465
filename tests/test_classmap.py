"""The class map: which output is which label, by every way there is, and what is said when there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.models.classmap import match_classes

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
REMEDY = ": no right and wrong; give --class-map FILE (columns output,label), or --class-map order where the orders agree"


def test_folders_in_another_order_than_the_networks_are_matched_by_name() -> None:
    network = ["truck", "Ship", "frog", "CAT"]
    found = match_classes(network, 4, ["cat", "frog", "ship", "truck"])
    assert found.outputs == [3, 2, 1, 0] and found.complete and found.how == "categories"
    assert found.sentence == "4 of 4 labels matched to outputs by name"
    assert found.labels_of(np.array([0, 3, -1])).tolist() == [3, 0, -1]


def test_case_spaces_underscores_and_hyphens_do_not_count() -> None:
    found = match_classes(["T-shirt/top", "Ankle boot"], 2, ["ankle_boot", "t shirt/TOP"])
    assert found.outputs == [1, 0] and found.names == ["T-shirt/top", "Ankle boot"]


def test_synonyms_after_commas_match_too_and_a_whole_name_goes_first() -> None:
    found = match_classes(["tench, Tinca tinca", "goldfish, tench-like", "tench-like"], 3, ["Tinca_tinca", "tench-like"])
    assert found.outputs == [0, -1, 1] and found.complete


def test_unlabelled_images_have_predictions_only() -> None:
    found = match_classes(CIFAR, 10, [])
    assert (found.how, found.complete) == ("none", False)
    assert found.sentence == "the images carry no labels: predictions only"
    assert found.outputs == [-1] * 10 and found.names == CIFAR


def test_a_network_without_logits_has_no_map() -> None:
    found = match_classes(None, 0, ["a"])
    assert found.how == "none" and found.outputs == []
    assert found.sentence == "the network has no logits: labels, but no predictions"


def test_labels_that_are_no_outputs_say_what_would_do() -> None:
    found = match_classes(CIFAR, 10, ["rose", "tulip"])
    assert (found.how, found.complete) == ("none", False)
    assert found.sentence == f"none of 2 labels is one of the network's 10 outputs (rose, tulip){REMEDY}"


def test_a_partial_match_is_kept_and_says_what_is_missing() -> None:
    found = match_classes(CIFAR, 10, ["cat", "dog", "rose"])
    assert found.outputs[3] == 0 and found.outputs[5] == 1 and not found.complete
    assert found.sentence == f"2 of 3 labels matched to outputs by name; not matched: rose{REMEDY}"


def test_two_labels_of_one_output_are_both_left_unmatched() -> None:
    found = match_classes(CIFAR, 10, ["Cat", "cat", "dog"])
    assert found.outputs[3] == -1 and found.outputs[5] == 2 and not found.complete
    assert "Cat, cat all name output 3, so none of them is matched" in found.sentence


def test_a_label_that_is_the_name_of_two_outputs_is_left_unmatched() -> None:
    found = match_classes(["crane", "crane", "cat"], 3, ["crane", "cat"])
    assert found.outputs == [-1, -1, 1]
    assert "“crane” is the name of outputs 0 and 1" in found.sentence


def test_labels_that_are_numbers_are_output_numbers() -> None:
    found = match_classes([f"class {n}" for n in range(1000)], 1000, ["000", "243", "7"])
    assert found.complete and found.outputs[0] == 0 and found.outputs[243] == 1 and found.outputs[7] == 2
    assert found.sentence == "3 of 3 labels matched to outputs by the outputs' numbers, from 0 (000 is “class 0”)"
    assert not match_classes(None, 3, ["1", "2", "3"]).complete  # counted from 1: no output 3


def test_a_name_goes_before_a_number() -> None:
    assert match_classes(["2", "1", "0"], 3, ["0", "1", "2"]).outputs == [2, 1, 0]


def test_order_is_taken_only_when_asked_for() -> None:
    assert match_classes(None, 2, ["cat", "dog"]).how == "none"
    found = match_classes(None, 2, ["cat", "dog"], by_order=True)
    assert found.outputs == [0, 1] and found.how == "order"
    assert found.sentence == "2 of 2 labels matched to outputs by order, as asked"


def test_an_order_that_the_names_contradict_says_so() -> None:
    found = match_classes(["dog", "cat"], 2, ["cat", "dog"], by_order=True)
    assert found.outputs == [0, 1]
    assert found.sentence.endswith("by order, as asked; 2 of them are named otherwise by the network")


def test_an_order_of_unequal_counts_is_refused() -> None:
    with pytest.raises(AtlasError) as refused:
        match_classes(None, 1000, ["cat", "dog"], by_order=True)
    assert str(refused.value) == (
        "a class map by order was asked for, but there are 2 labels and 1000 outputs: "
        "give --class-map FILE with the columns output,label"
    )


def test_a_single_logit_has_two_classes() -> None:
    found = match_classes(["no", "yes"], 1, ["yes", "no"])
    assert found.outputs == [1, 0] and found.complete
    assert match_classes(None, 1, ["cat", "dog"], by_order=True).outputs == [0, 1]


def test_a_file_maps_several_outputs_onto_one_label(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("output,label\n0,vehicle\nautomobile,vehicle\n3,animal\n5,animal\n8,boat\n")
    found = match_classes(CIFAR, 10, ["animal", "vehicle"], file=path)
    assert found.outputs == [1, 1, -1, 0, -1, 0, -1, -1, -1, -1] and found.how == "file"
    assert found.sentence == (
        "2 of 2 labels matched to outputs by map.csv (4 outputs); 1 labels in the file are none of the images' (boat)"
    )


def test_a_file_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"1": "cat", "0": "dog"}')
    assert match_classes(None, 2, ["cat", "dog"], file=path).outputs == [1, 0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.csv", "output,label\n0,cat\n0,dog\n", "gives output 0 to both cat and dog: keep one of the lines"),
        ("map.csv", "output,label\n10,cat\n", "names output 10: the network has outputs 0 to 9"),
        ("map.csv", "output,label\ntruk,cat\n", "no output in map.csv: 'truk': did you mean truck?"),
        ("map.csv", "index,name\n0,cat\n", "has the columns ['index', 'name']: a class map's file has output,label"),
        ("map.json", "[1, 2]", "give a CSV with the columns output,label, or JSON {output: label}"),
        ("map.json", "{", "give a CSV with the columns output,label, or JSON {output: label}"),
        ("map.csv", None, "no class map at"),
    ],
)
def test_a_file_that_cannot_be_a_map_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(AtlasError, match=r"^[^\n]*$") as refused:
        match_classes(CIFAR, 10, ["cat", "dog"], file=path)
    assert message in str(refused.value)


def test_imagenet_ids_are_matched_with_timms_list() -> None:
    found = match_classes(None, 1000, ["n01440764", "n01443537_goldfish", "n15075141"])
    assert found.complete and found.how == "imagenet"
    assert [found.outputs[o] for o in (0, 1, 999)] == [0, 1, 2]
    assert found.names[0] == "tench, Tinca tinca"
    assert found.sentence == "3 of 3 labels matched to outputs by ImageNet id"


def test_imagenet_names_are_matched_where_the_weights_have_none() -> None:
    found = match_classes(None, 1000, ["tench", "golden_retriever"])
    assert found.complete and found.outputs[0] == 0 and found.outputs[207] == 1 and found.how == "imagenet"


def test_without_timm_imagenet_ids_say_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = match_classes(None, 1000, ["n01440764"])
    assert not found.complete
    assert "the list of these is in the extra `timm`, which is not installed" in found.sentence
