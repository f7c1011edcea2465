"""The benchmarks: each can be run, says what it is, prints one table, and has its section in docs/benchmarks.md."""

from __future__ import annotations

import mmap
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as run_all
from benchmarks import measure
from benchmarks._memory import Memory
from benchmarks.extract import cosines
from benchmarks.scale import exponent

ROOT = Path(__file__).parents[1]
SCRIPTS = run_all.scripts()


def test_the_benchmarks_of_this_page_are_found():
    assert {"extract", "scale"} <= set(SCRIPTS)
    assert SCRIPTS[-1] == "scale"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_measures_and_loads_nothing_heavy_for_it(name):
    started = time.monotonic()
    code = (
        f"import sys, benchmarks.{name} as script\n"
        "assert callable(script.main)\n"
        "heavy = {'torch', 'umap', 'openTSNE', 'sklearn', 'faiss'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "script.main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout and "--cache" in done.stdout
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_its_section_with_a_table_in_the_document(name):
    found = run_all.sections(run_all.DOCUMENT.read_text("utf-8"))
    assert name in found, f"no section {name}: run `python -m benchmarks {name}`"
    assert "|--" in found[name] and f"benchmarks.{name}" in found[name]


def test_the_document_has_no_section_of_a_script_that_is_gone():
    assert set(run_all.sections(run_all.DOCUMENT.read_text("utf-8"))) <= set(SCRIPTS)


def test_a_new_section_replaces_its_own_and_leaves_the_others(tmp_path):
    document = tmp_path / "benchmarks.md"
    run_all.write(document, {"extract": "## extract\n\nold\n", "scale": "## scale\n\nstays\n"})
    run_all.write(document, {"extract": "## extract\n\nnew\n"})
    found = run_all.sections(document.read_text("utf-8"))
    assert list(found) == ["extract", "scale"]
    assert "new" in found["extract"] and "stays" in found["scale"]
    assert document.read_text("utf-8").startswith("# Benchmarks")


def test_a_benchmark_that_is_not_there_is_told_by_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        run_all.main(["extrakt"])
    assert stopped.value.code == 2 and "no benchmark extrakt: there are" in capsys.readouterr().err


def test_a_table_has_equal_columns_and_numbers_to_the_right():
    lines = measure.table(["how", "images/s"], [["plain", "12"], ["a | b", "1200"]])
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith("-:|") and lines[2].endswith("  12 |") and r"a \| b" in lines[3]


def test_memory_is_that_of_the_stage_and_of_children_too():
    holding = [sys.executable, "-c", "held = bytearray(120_000_000); print('held', flush=True); input()"]

    def looked_at():  # twice: the first look may have begun before what is looked for
        memory.wait()
        memory.wait()

    def own():  # from the system itself: an array may come out of what the process has and does not use
        with mmap.mmap(-1, 80_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
            for page in range(0, len(held), mmap.PAGESIZE):
                held[page] = 1
            looked_at()

    def child():
        with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            looked_at()
            process.communicate(b"\n")

    with Memory() as memory:
        _, before, _ = memory.during(looked_at)
        _, of_own, _ = memory.during(own)
        _, of_child, _ = memory.during(child)
        _, after, _ = memory.during(looked_at)
    assert 60e6 < of_own - before < 130e6  # 80 MB
    assert of_child - before > 110e6
    assert after - before < 40e6  # unlike the greatest of the process's life, a peak ends with its stage


def test_the_cosine_of_equal_descriptors_is_one_and_of_opposite_ones_the_least():
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    other = values.copy()
    other[2] *= -1
    assert cosines(values, 2 * values) == pytest.approx((1, 1))
    assert cosines(values, other) == pytest.approx((0.6, -1))


@pytest.mark.parametrize(("power", "sizes"), [(1.0, (10, 70)), (2.0, (70, 300)), (0.5, (1_000, 4_000))])
def test_the_exponent_is_that_of_the_growth(power, sizes):
    seconds = [3 * (size / sizes[0]) ** power for size in sizes]
    assert float(exponent(sizes, seconds)) == pytest.approx(power, abs=0.01)


def test_no_exponent_is_given_of_stages_too_short_to_time():
    assert exponent((10, 70), (0.01, 0.2)) == ""
