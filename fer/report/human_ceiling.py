"""The human ceiling: how far annotators agree on a test set, and how they and models do alike.

Each annotator is compared with the majority of the others; every model is compared with the same
references, so both stand on one scale. Annotators come from the column `annotations` of the set's
`pictures.csv` (`launch/annotate.py export` writes it).
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer.data.metadata import ANNOTATIONS, read_annotations
from fer.evaluate.agreement import Agreement, Matrix, fleiss_kappa, krippendorff_alpha, majority
from fer.evaluate.intervals import Interval
from fer.evaluate.metrics import confusion, scores
from fer.evaluate.person_tables import Tables, tabulate
from fer.evaluate.predictions import NOBODY, Predictions
from fer.evaluate.study_scores import StudyScores
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.formatting import count
from fer.report.subgroups import Facts
from fer.report.table_model import Column, Field, Listing, listing, number, scored, text

SURE = 8.0  # the logit of an annotator's label: any number above 0 gives the same recalls


@dataclass(frozen=True)
class Annotator:
    """One annotator against the majority of the others; `n` pictures have such a majority."""

    name: str
    n: int
    uar: Interval


@dataclass(frozen=True)
class Model:
    """One configuration on the same references.

    Attributes:
        uar: mean over annotators' references and seeds.
        n: pictures that any reference has.
    """

    config: Config
    uar: float
    n: int


@dataclass(frozen=True)
class HumanCeiling:
    """The annotators and the models of one test set.

    Attributes:
        alpha, kappa: agreement of all annotators, by people.
    """

    split: str
    alpha: Agreement
    kappa: Agreement
    annotators: tuple[Annotator, ...]
    models: tuple[Model, ...]


def human_ceilings(analysis: Analysis, facts: Facts) -> list[HumanCeiling]:
    """Return the human ceiling of each test set that two annotators or more have labelled."""
    found = []
    for split in analysis.measured_splits():
        by_config = {config.config_id: cell.tables for config in analysis.configs
                     if (cell := analysis.cells.get((config.config_id, split))) and cell.tables}
        if not by_config:
            continue
        first = next(iter(by_config.values()))
        names, votes = _votes(first, facts)
        if len(names) > 1 and (one := _ceiling(split, analysis, by_config, names, votes)):
            found.append(one)
    return found


def _votes(tables: Tables, facts: Facts) -> tuple[list[str], Matrix]:
    """Return the annotators, sorted, and their votes, int64, N x A; -1 without one."""
    said: list[dict[str, str]] = []
    for picture in tables.pictures:
        said.append({})
        with suppress(ValueError):  # a cell that somebody damaged by hand says nothing
            said[-1] = read_annotations(facts(picture).get(ANNOTATIONS, ""))
    index = {name: at for at, name in enumerate(tables.classes)}
    names = sorted({name for one in said for name, label in one.items() if label in index})
    return names, np.array([[index.get(one.get(name, ""), -1) for name in names] for one in said],
                           np.int64).reshape(len(said), len(names))


def _ceiling(split: str, analysis: Analysis, by_config: dict[str, Tables],
             names: Sequence[str], votes: Matrix) -> HumanCeiling | None:
    first = next(iter(by_config.values()))
    width, people = len(first.classes), [first.people[row] for row in first.rows]
    references = [majority(np.delete(votes, at, axis=1), width) for at in range(len(names))]
    keeps = [(votes[:, at] >= 0) & (reference >= 0) for at, reference in enumerate(references)]
    annotators = []
    for at, name in enumerate(names):
        if keeps[at].any():
            annotators.append(Annotator(name, int(keeps[at].sum()), _uar(
                first, keeps[at], references[at], votes[:, at])))
    if not annotators:
        return None
    judged = [(keep, reference) for keep, reference in zip(keeps, references, strict=True)
              if keep.any()]
    models = [Model(config, _model_uar(by_config[config.config_id], judged),
                    int(np.logical_or.reduce([keep for keep, _ in judged]).sum()))
              for config in analysis.configs if config.config_id in by_config
              and by_config[config.config_id].pictures == first.pictures]
    return HumanCeiling(split, krippendorff_alpha(votes, width, people),
                        fleiss_kappa(votes, width, people), tuple(annotators), tuple(models))


def _uar(tables: Tables, keep: np.ndarray, reference: np.ndarray, own: np.ndarray) -> Interval:
    """Return the UAR of labels against a reference, with the limits of a model's."""
    pictures = [name for name, kept in zip(tables.pictures, keep, strict=True) if kept]
    people = [tables.people[row] for row in tables.rows[keep]]
    rows = tabulate({0: Predictions(
        pictures, ["" if one.startswith(NOBODY) else one for one in people],
        reference[keep], (SURE * np.eye(len(tables.classes))[own[keep]]).astype(np.float32),
        tables.classes)})
    found = StudyScores({("annotator", "set"): rows}).contrast({"annotator": 1}, [(1, "set")])
    assert found is not None, "there are pictures"
    return replace(found, seeds=1)


def _model_uar(tables: Tables, judged: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    width = len(tables.classes)
    return float(np.mean([scores(confusion(reference[keep], row[keep], width))["uar"]
                          for keep, reference in judged for row in tables.predicted]))


def human_listing(found: Sequence[HumanCeiling]) -> Listing:
    """Return the table of annotators and models, best first on each set."""
    rows: list[list[Field]] = []
    notes = []
    for one in found:
        lines = [(float(human.uar.value or 0.0), [
            text(one.split), Field(human.name, look="strong"), text("annotator"), scored(human.uar),
            number(human.n)]) for human in one.annotators]
        lines += [(model.uar, [text(one.split), text(model.config.label), text("model"),
                               number(model.uar), number(model.n)]) for model in one.models]
        rows += [row for _, row in sorted(lines, key=lambda line: -line[0])]
        notes.append(f"{one.split}: {count(len(one.annotators), 'annotator')}; Krippendorff's "
                     f"alpha {_agreement(one.alpha)}, Fleiss' kappa {_agreement(one.kappa)}.")
    return listing(
        "Annotators and models against the same references: an annotator against the majority of "
        "the other annotators, with 95 % limits; a model against these majorities, mean over them "
        "and over seeds. Labels on which people disagree bound what any score can show", [
            Column("test set"), Column("who"), Column("kind"),
            Column("UAR", "against the other annotators", True), Column("n", number=True)],
        rows, notes)


def _agreement(one: Agreement) -> str:
    if one.value is None:
        return "undefined"
    limits = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    return f"{one.value:.2f}{limits} (n = {one.n:,})"


def human_rows(study: str, found: Sequence[HumanCeiling]) -> Iterable[Sequence[Any]]:
    """Yield the rows of humans.csv: agreement, annotators and models of each test set."""
    yield ("study", "test_on", "kind", "name", "config_id", "metric", "value", "low", "high", "n")
    for one in found:
        for metric, agreement in (("alpha", one.alpha), ("fleiss_kappa", one.kappa)):
            yield (study, one.split, "agreement", "", "", metric, agreement.value, agreement.low,
                   agreement.high, agreement.n)
        for human in one.annotators:
            yield (study, one.split, "annotator", human.name, "", "uar", human.uar.value,
                   human.uar.low, human.uar.high, human.n)
        for model in one.models:
            yield (study, one.split, "model", model.config.label, model.config.config_id, "uar",
                   model.uar, None, None, model.n)
