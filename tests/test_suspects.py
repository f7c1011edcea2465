"""Label suspects: flipped labels are found, the score is its definition, and nobody votes for himself."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import atlas
from atlas import cli
from atlas.activations.records import Predictions
from atlas.errors import AtlasError
from atlas.maps.neighbours import build_neighbours
from atlas.patterns.suspects import Suspects, label_suspects, suspects_table
from atlas.verbs import suspects
from tests import worlds

LABELS = ["a", "b", "c", "d"]


def world(count: int = 800, noise: float = 0.06) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors around four centres, their labels, and the same with a share `noise` of them wrong."""
    chance = np.random.default_rng(0)
    true = chance.integers(4, size=count)
    vectors = (2.2 * np.eye(8)[true] + chance.normal(size=(count, 8))).astype(np.float32)
    wrong = chance.random(count) < noise
    return vectors, true, np.where(wrong, (true + chance.integers(1, 4, count)) % 4, true)


def said(top: np.ndarray, share: np.ndarray, outputs: list[int] | None = None) -> Predictions:
    """Predictions with the best outputs [image, rank] and their probabilities."""
    outputs = [0, 1, 2, 3] if outputs is None else outputs
    of = {"names": ["?"] * len(outputs), "outputs": outputs, "labels": LABELS, "how": "order", "sentence": ""}
    right = np.full(len(top), -1, np.int8)
    return Predictions(top[:, 0].astype(np.int32), share[:, 0], top.astype(np.int32), share, right, of, {}, [])


def judge(vectors: np.ndarray, codes: np.ndarray, predictions: Predictions | None = None, k: int = 30) -> Suspects:
    lists = build_neighbours(vectors, layers=["fc"], metric="L2", k=30)
    return label_suspects(lists, np.arange(len(codes)), codes, LABELS, predictions=predictions, k=k)


def test_flipped_labels_come_first() -> None:
    vectors, true, codes = world()
    flipped, score = codes != true, judge(vectors, codes).score
    assert roc_auc_score(flipped, score) > 0.93
    first = np.argsort(-score, kind="stable")[: flipped.sum() // 2]
    assert flipped[first].mean() > 0.8


def test_a_network_that_learned_the_wrong_labels_by_heart_does_not_hide_them() -> None:
    vectors, true, codes = world()
    top, share = np.stack([codes, (codes + 1) % 4], axis=1), np.tile(np.array([0.95, 0.04], np.float32), (len(codes), 1))
    alone, both = judge(vectors, codes).score, judge(vectors, codes, said(top, share)).score
    assert roc_auc_score(codes != true, both) == pytest.approx(roc_auc_score(codes != true, alone), abs=1e-3)


def test_the_agreement_is_the_share_of_votes_weighted_by_the_voters_own_agreement() -> None:
    vectors, _, codes = world(200)
    codes[::9] = -1
    near = build_neighbours(vectors, layers=["fc"], metric="L2", k=30).indices[:, :10]
    found = judge(vectors, codes, k=10)
    for image in range(200):
        voters = [v for v in near[image] if codes[v] >= 0]
        own = {v: np.mean([codes[w] == codes[v] for w in near[v] if codes[w] >= 0]) + 1e-3 for v in voters}
        votes = [sum(w for v, w in own.items() if codes[v] == label) / sum(own.values()) for label in range(4)]
        if codes[image] < 0:
            assert np.isnan(found.score[image]) and found.usual[image] == -1
        else:
            assert found.agreement[image] == pytest.approx(votes[codes[image]], abs=1e-5)
            assert found.score[image] == pytest.approx(1 - votes[codes[image]], abs=1e-5)
            assert votes[found.usual[image]] == pytest.approx(max(votes))
    assert found.judged == (codes >= 0).sum() and not found.predicted and found.k == 10


def test_the_networks_probability_of_the_label_is_half_of_the_score() -> None:
    vectors, _, codes = world(200)
    top = np.stack([codes, (codes + 1) % 4], axis=1)
    top[:5] = [[3, 2]] * 5
    codes[:5] = [3, 2, 1, 0, -1]
    share = np.tile(np.array([0.7, 0.2], np.float32), (200, 1))
    found = judge(vectors, codes, said(top, share))
    np.testing.assert_allclose(found.probability[:4], [0.7, 0.2, 0, 0], atol=1e-6)
    assert found.predicted and np.isnan(found.score[4]) and np.isnan(found.probability[4])
    judged = codes >= 0
    np.testing.assert_allclose(found.score[judged], 1 - (found.agreement + found.probability)[judged] / 2, atol=1e-6)


def test_a_network_whose_outputs_are_not_all_labels_is_not_asked() -> None:
    vectors, _, codes = world(100)
    top, share = np.zeros((100, 1), int), np.ones((100, 1), np.float32)
    found = judge(vectors, codes, said(top, share, outputs=[0, 1, 2, -1]))
    assert not found.predicted and np.isnan(found.probability).all()
    np.testing.assert_array_equal(found.score, judge(vectors, codes).score)


def test_several_points_of_an_image_are_averaged_and_none_votes_for_its_own() -> None:
    chance = np.random.default_rng(2)
    centre, codes = chance.normal(size=(60, 5)), chance.integers(4, size=60)
    single = build_neighbours(centre.astype(np.float32), layers=["conv"], metric="L2", k=5)
    alone = label_suspects(single, np.arange(60), codes, LABELS)
    tripled = np.repeat(centre, 3, axis=0) + 1e-4 * chance.normal(size=(180, 5))  # three positions of nearly one vector
    lists = build_neighbours(tripled.astype(np.float32), layers=["conv"], metric="L2", k=17)
    found = label_suspects(lists, np.repeat(np.arange(60), 3), codes, LABELS, k=15)
    np.testing.assert_allclose(found.agreement, alone.agreement, atol=1e-5)
    assert found.judged == 60 and (found.usual == alone.usual).mean() > 0.9  # ties may fall either way


def test_the_table_is_ranked_and_names_what_the_neighbours_and_the_network_say() -> None:
    vectors, _, codes = world(100)
    codes[3] = -1
    found = judge(vectors, codes)
    labels = pd.Series([LABELS[c] if c >= 0 else None for c in codes], dtype="object")
    images = pd.DataFrame({"image_id": [f"{i:016x}" for i in range(100)], "path": "x", "label": labels, "split": "train"})
    table = suspects_table(found, images)
    assert len(table) == 99 and 3 not in set(table["image"]) and table["score"].is_monotonic_decreasing
    for row in table.itertuples():
        assert row.label == LABELS[codes[row.image]] and row.neighbours_say == LABELS[found.usual[row.image]]
        assert row.image_id == f"{row.image:016x}" and row.score == found.score[row.image]


def test_one_image_alone_is_not_judged() -> None:
    found = label_suspects(
        build_neighbours(np.ones((1, 3), np.float32), layers=["fc"]), np.zeros(1, int), np.zeros(1), LABELS
    )
    assert found.judged == found.doubted == 0 and np.isnan(found.score).all() and found.usual.tolist() == [-1]


def test_without_labels_nobody_is_suspect() -> None:
    vectors, _, _ = world(20)
    with pytest.raises(AtlasError, match="the images carry no labels, so none is suspect: label them by folder or by table"):
        judge(vectors, np.full(20, -1))


# -- in an atlas -----------------------------------------------------------------------------------------------------------


def test_an_atlas_lists_its_suspects_by_any_number_of_neighbours(tiny_atlas: atlas.Atlas) -> None:
    table = tiny_atlas.suspects("act")
    assert len(table) == len(tiny_atlas.image_record) and table.attrs["k"] == 30
    assert table.attrs["score"] == "1 − (agreement + probability) / 2" and {"prediction", "confidence"} <= set(table)
    fewer = tiny_atlas.suspects("act", k=5)
    lists = tiny_atlas.seeing.space("act").neighbours
    codes = tiny_atlas.image_record.codes
    expected = label_suspects(
        lists, np.arange(len(codes)), codes, tiny_atlas.image_record.labels, predictions=tiny_atlas.predictions, k=5
    )
    np.testing.assert_array_equal(fewer.set_index("image")["score"].sort_index(), expected.score)
    with pytest.raises(AtlasError, match=r"asked for 500 neighbours of each image and \d+ are kept: ask for no more"):
        tiny_atlas.suspects("act", k=500)


def test_the_spread_and_the_mixing_of_an_atlas_are_tables(tiny_atlas: atlas.Atlas) -> None:
    spread, mixing = tiny_atlas.spread("act"), tiny_atlas.mixing("act", split="held-out")
    assert list(spread["class"]) == tiny_atlas.image_record.labels and spread["points"].sum() == len(tiny_atlas.image_record)
    assert (spread["purity"] > 0.5).all() and spread.attrs["layer"] == "act"
    np.testing.assert_allclose(mixing.sum(axis=1), 1, atol=1e-6)
    row = spread.iloc[0]
    others = tiny_atlas.mixing("act").loc[row["class"]].drop(row["class"])
    assert (row["mixes_with"], row["share"]) == (others.idxmax(), others.max()) or (others == 0).all()


def test_the_verb_lists_writes_and_prints_the_doubted_ones(tiny_atlas: atlas.Atlas, tmp_path: Path) -> None:
    answer = suspects(tiny_atlas, layer="act", out=tmp_path / "suspects.csv")
    table = tiny_atlas.suspects("act")
    doubted = table[table["neighbours_say"] != table["label"]]
    assert [row["image"] for row in answer["rows"]] == doubted["image"].tolist()
    assert answer["title"].startswith(
        f"{len(doubted)} of {len(table)} labelled images have mostly neighbours of another label"
    )
    read = pd.read_csv(tmp_path / "suspects.csv")
    assert read["image_id"].tolist() == doubted["image_id"].tolist()
    suspects(tiny_atlas, layer="act", out=tmp_path / "suspects.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "suspects.parquet"), doubted.reset_index(drop=True), check_dtype=False
    )
    with pytest.raises(AtlasError, match=r"suspects.txt would be a .txt: .csv, .parquet would do"):
        suspects(tiny_atlas, out=tmp_path / "suspects.txt")


def test_no_cell_of_the_written_table_is_run_by_a_spreadsheet(tmp_path: Path) -> None:
    labels = [f"{'=@+'[k % 3]}SUM(A{k})" for k in range(40)]  # of two images each: most neighbours are of other classes
    rows = suspects(worlds.tiny_atlas(tmp_path / "world", 80, labels=labels).root, out=tmp_path / "suspects.csv")["rows"]
    written = (tmp_path / "suspects.csv").read_bytes()
    assert len(rows) > 20 and {row["label"] for row in rows} <= set(labels)
    cells = [cell for line in csv.reader(io.StringIO(written.decode())) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "\t"))]
    assert {f"'{row['label']}" for row in rows} <= set(cells)


def test_the_command_prints_json_and_text(tiny_atlas: atlas.Atlas, capfd: pytest.CaptureFixture[str]) -> None:
    folder = str(tiny_atlas.store.root)
    assert CliRunner().invoke(cli.app, ["suspects", folder, "-l", "act", "--json"]).exit_code == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["layer"] == "act" and isinstance(answer["rows"], list)
    assert CliRunner().invoke(cli.app, ["suspects", folder, "-l", "act"]).exit_code == 0
    assert answer["title"] in capfd.readouterr().out
