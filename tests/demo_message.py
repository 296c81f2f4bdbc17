"""Whether the page of `make demo` has the message that the README promises; CI asks it each time.

    python tests/demo_message.py studies/demo/report

Drawings are no evidence about people: what is checked is that the drawn faces have the problem for
which the project exists, and that masks of many styles close the gap.
"""

import csv
import sys
from pathlib import Path


def problems(report: Path) -> list[str]:
    """Return what the report of the demo does not show, each a line."""
    def rows(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader((report / name).read_text().splitlines()))

    wrong: list[str] = []
    uar = {(row["backbone"], row["train_on"], row["test_on"]): row for row in rows("summary.csv")}
    gap = {(row["backbone"], row["train_on"]): float(row["low"])
           for row in rows("gap.csv") if row["metric"] == "uar"}
    for backbone in sorted({backbone for backbone, _ in gap}):
        unmasked, masked = (uar[backbone, name, f"{name}/eval"] for name in ("lfw", "mlfw"))
        if not float(unmasked["uar_low"]) > float(masked["uar_high"]):
            wrong.append(f"{backbone}: a synthetic mask is not harder than none")
        if not gap[backbone, "mlfw"] > 0:
            wrong.append(f"{backbone}: real masks are not harder than the synthetic one")
    (gain,) = (row for row in rows("comparisons.csv") if row["planned"] == "yes"
               and (row["test_on"], row["left"], row["right"]) == ("real/test", "many", "mlfw"))
    if not float(gain["difference"]) > 0:  # its limit is three points above 0: other processors
        wrong.append("masks of many styles do not help on real masks")
    if not float(gain["gap_high_simultaneous"]) < 0:
        wrong.append("masks of many styles do not close the gap")
    return wrong


if __name__ == "__main__":
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) or "the page of the demo has its message")
    sys.exit(1 if found else 0)
