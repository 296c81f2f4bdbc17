"""The benchmarks that train on drawn faces run from drawing to their table; small here."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def rows_of(script: str, out: Path, *options: str) -> tuple[list[dict[str, str]], str]:
    """Run a benchmark; return the rows of its file and what it printed."""
    done = subprocess.run([sys.executable, f"benchmarks/{script}.py", *options,
                           "--processes", "1", "--out", str(out)], cwd=REPOSITORY,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return list(csv.DictReader(out.read_text().splitlines())), done.stdout


def test_the_search_for_defaults_has_a_row_a_run_and_a_mean_a_setting(tmp_path: Path) -> None:
    rows, said = rows_of("default_search", tmp_path / "rows.csv", "--quick")
    assert [row["start"] for row in rows] == ["head_only"] * 2 + ["scratch"] * 2
    assert all(0 < float(row[split]) < 1 for row in rows for split in ("mlfw/eval", "real/test"))
    assert "scratch       50 pictures   1 epochs, lr  0.0020" in said


def test_the_gain_of_the_recommended_recipe_has_an_interval(tmp_path: Path) -> None:
    rows, said = rows_of("recommended_gain", tmp_path / "rows.csv", "--quick", "--seeds", "2",
                         "--variant", "train.augment=none")
    assert [(row["side"], row["seed"]) for row in rows] == [
        (side, seed) for side in ("before", "recommended") for seed in "01"]
    (line,) = (line for line in said.splitlines()
               if line.startswith("real/test, recommended - before"))
    value, low, high = (float(text.strip("[],")) for text in line.split()[-3:])
    means = {side: sum(float(row["real/test"]) for row in rows if row["side"] == side) / 2
             for side in ("before", "recommended")}
    assert value == pytest.approx(means["recommended"] - means["before"], abs=1e-3)
    assert low < value < high
