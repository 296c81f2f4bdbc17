"""The tables of `docs/closing_the_gap.md`, as Markdown, from the report of a study.

    python launch/sweep.py sweeps/close_the_gap_drawn.yaml
    python benchmarks/gap_table.py studies/close_the_gap_drawn/report   # or ideas_drawn

The first has the UAR of each configuration on both kinds of masks and the gap, with 95 % intervals;
the second what each differs from its baseline on real masks, with p after Holm.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

SYNTHETIC, REAL = "mlfw/eval", "real/test"
TRAINED_ON = {"mlfw": "flat white mask", "many": "nine styles", "lfw": "ten styles on the fly",
              "lfw+many": "unmasked and nine styles"}
ON_THE_FLY = {"train.masks.styles=['all']": "nine styles on the fly",
              "train.masks.styles=['erased']": "lower face erased on the fly"}
BALANCED = "loss.mask_type_weights=balanced"
Row = dict[str, str]


def rows_of(report: Path, name: str) -> list[Row]:
    """Return the rows of a table of a report."""
    with open(report / name, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def interval(row: Row, value: str, low: str, high: str, points: bool = False) -> str:
    """Return a value with its limits; in points of UAR with one decimal, else as a share."""
    numbers = [float(row[key]) for key in (value, low, high)]
    one, two, three = (f"{100 * x:.1f}" if points else f"{x:.2f}" for x in numbers)
    return f"{one} [{two}, {three}]".replace("-", "−")


def scores(report: Path) -> Iterator[str]:
    """Yield the lines of the table of scores: by training set, the best on real masks first."""
    summary = {(row["config_id"], row["test_on"]): row for row in rows_of(report, "summary.csv")}
    gaps = {row["config_id"]: row for row in rows_of(report, "gap.csv") if row["metric"] == "uar"}
    yield "| recipe | trained on | synthetic masks | real masks | gap, points |"
    yield "|---|---|---|---|---|"
    rows = [row for (_, split), row in summary.items() if split == REAL]
    order = list(TRAINED_ON)
    for row in sorted(rows, key=lambda row: (order.index(row["train_on"]), -float(row["uar"]))):
        more = ", types of masks weighted equally" if BALANCED in row["axes"] else ""
        cells = [interval(summary[row["config_id"], split], "uar", "uar_low", "uar_high")
                 for split in (SYNTHETIC, REAL)]
        gap = interval(gaps[row["config_id"]], "gap", "low", "high", points=True)
        masks = next((text for axis, text in ON_THE_FLY.items() if axis in row["axes"]),
                     TRAINED_ON[row["train_on"]])
        yield (f"| `{row['recipe']}`{more} | {masks} | {cells[0]} | "
               f"{cells[1]} | {gap} |")


def effects(report: Path) -> Iterator[str]:
    """Yield the lines of the table of planned comparisons on real masks."""
    yield "| | against | with | real masks, points | the gap, points | p |"
    yield "|---|---|---|---|---|---|"
    for row in rows_of(report, "comparisons.csv"):
        if row["test_on"] != REAL or row["planned"] != "yes":
            continue
        p = float(row["p_holm"])
        said = "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
        shared = row["among"].partition(" · ")[2].split(" · ")[0] or "mean over the others"
        gap = interval(row, "gap_difference", "gap_low", "gap_high", points=True) if row[
            "gap_difference"] else ""
        yield (f"| `{row['left']}` | `{row['right']}` | {TRAINED_ON.get(shared, shared)} | "
               f"{interval(row, 'difference', 'low', 'high', points=True)} | {gap} | {said} |")


if __name__ == "__main__":
    found = Path(sys.argv[1])
    print(*scores(found), "", *effects(found), sep="\n")
