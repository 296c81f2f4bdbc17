"""All benchmarks against comparable libraries: the script behind `make bench`.

    python benchmarks/run.py [--quick] [--json FILE]

Exit code 0 when every target is met, 1 when one is missed.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

import checkpoint
import cluster_side
import data_import
import evaluation
import gpu
import idle_queue
import input_pipeline
import packs
import precision
import prediction
import probes
import report_side
import search_side
import start_up
import step_overhead
import torch
from rich.console import Console
from rich.table import Table
from timing import Comparison  # first: it pins the threads

RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"


def pipeline(quick: bool) -> list[Comparison]:
    """Return the results of the input pipeline as comparisons of rates."""
    return [Comparison(f"input, {name}, 224 px, one core, against ImageFolder", r.ours_per_s,
                       r.theirs_per_s, "images/s", r.ratio_median, r.low, r.high, r.target, "above")
            for name, r in input_pipeline.main(quick, None).items()]


def machine() -> dict[str, str]:
    """Return a description of the machine."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().split("\n")
                if line.startswith("model name")), platform.processor())
    return {"cpu": cpu, "python": platform.python_version(), "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d")}


def print_table(comparisons: list[Comparison], about: dict[str, str]) -> None:
    """Print one row per comparison."""
    table = Table(caption=", ".join(about.values()), box=None, title_justify="left")
    for column in ("measured", "ours", "theirs", "", "ratio [lowest, highest]", "target", ""):
        table.add_column(column, justify="left" if column in ("measured", "") else "right")
    for one in comparisons:
        sign = "≤" if one.better == "below" else "≥"
        target = f"{sign} {one.target:g}" if one.target is not None else "reported"
        verdict = "" if one.target is None else "met" if one.met else "[red]MISSED[/]"
        digits = 4 if one.ratio < 0.1 else 2
        table.add_row(one.name, _number(one.ours), _number(one.theirs), one.unit,
                      f"{one.ratio:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"
                      .replace("[", "\\["),
                      target, verdict)
    Console().print(table)


def _number(value: float | None) -> str:
    """Return a number without decimals, or with two significant digits if it is below 10."""
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def main() -> int:
    """Run all benchmarks, print and write the results; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller models")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    comparisons = [*step_overhead.measure(options.quick), *pipeline(options.quick),
                   *packs.measure(options.quick), *data_import.measure(options.quick),
                   *probes.measure(options.quick),
                   *start_up.measure(options.quick), *precision.measure(options.quick),
                   *evaluation.measure(options.quick), *prediction.measure(options.quick),
                   *report_side.measure_report(options.quick),
                   *checkpoint.measure(options.quick), *cluster_side.measure(options.quick),
                   *idle_queue.measure(options.quick),
                   *search_side.measure(options.quick), *gpu.measure(options.quick)]
    about = machine()
    print_table(comparisons, about)
    if not torch.cuda.is_available():
        print("no GPU: full-size training (images/s, memory, share of the peak) was not measured")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(
        {"machine": about, "results": [{**asdict(one), "met": one.met} for one in comparisons]},
        indent=1) + "\n")
    return 0 if all(one.met for one in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
