"""The figures of a report: name -> title and drawing function."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fer.report.figures.forest import forest_figure, interventions
from fer.report.figures.gap_dots import gap_figure, recall_figure
from fer.report.figures.learning_curves import curves_figure
from fer.report.figures.reliability import reliability_figure
from fer.report.figures.robustness_plot import robustness_figure
from fer.report.read.run_files import Curve
from fer.report.view_model import Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[bool], "Figure"]  # argument: whether it is for a narrow screen


def planned(found: Findings, curves: Sequence[Curve]) -> dict[str, tuple[str, Draw]]:
    """Return the figures for which there are data."""
    analysis, over = found.analysis, found.across
    plans: dict[str, tuple[str, Draw]] = {}
    against = interventions(analysis, found.families) if analysis.cells else []
    if against:
        plans["forest"] = ("Every intervention against its baseline: change in real UAR and in the "
                           "gap, with simultaneous limits",
                           partial(forest_figure, analysis, against))
    if analysis.cells:
        plans["gap"] = ("Unweighted average recall (UAR) and gap of each configuration, "
                        "with intervals",
                        partial(gap_figure, analysis))
        plans["recall"] = ("Recall per class of each configuration, with intervals",
                           partial(recall_figure, analysis))
    if any(one.predictions is not None for one in found.gathered.measured.values()):
        plans["reliability"] = ("Accuracy against confidence, one line per training set",
                                partial(reliability_figure, found.gathered, analysis))
    if over and over.robustness:
        plans["robustness"] = ("Real against synthetic UAR, probit axes, line over baselines",
                               partial(robustness_figure, analysis, over))
    if curves:
        sizes = found.provenance.validation | {
            run.train_on: len(found.gathered.validation[run.run])
            for run in found.gathered.runs if run.run in found.gathered.validation}
        plans["curves"] = ("Validation UAR by epoch",
                           partial(curves_figure, curves, analysis.configs, sizes))
    return plans
