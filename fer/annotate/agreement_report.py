"""The agreement of a project's annotators as lines for the terminal."""

from collections import Counter
from itertools import combinations

from fer.annotate.votes import Votes, could_not_tell
from fer.errors import plural
from fer.evaluate.agreement import (
    Agreement,
    cohen_kappa,
    confusion_between,
    fleiss_kappa,
    krippendorff_alpha,
)


def agreement_lines(votes: Votes) -> list[str]:
    """Return how far annotators agree, with each other and with themselves."""
    unsure = could_not_tell(votes)
    lines = [f"{plural(len(votes.pictures), 'picture')} labelled by "
             f"{plural(len(votes.annotators), 'annotator')}"]
    for name in votes.annotators:
        counts = Counter(one.label for one in votes.records[name].values())
        said = ", ".join(f"{counts[label]} {label}" for label in votes.categories)
        lines.append(f"  {name}: {said}, {unsure[name]} can't tell{_with_self(votes, name)}")
    matrix, width = votes.matrix, len(votes.categories)
    if len(votes.annotators) > 1:
        lines += ["agreement (95 % limits: jackknife over pictures):",
                  f"  Krippendorff's alpha  {_text(krippendorff_alpha(matrix, width))}",
                  f"  Fleiss' kappa         {_text(fleiss_kappa(matrix, width))}"]
    for one, two in combinations(range(len(votes.annotators)), 2):
        pair = f"{votes.annotators[one]}, {votes.annotators[two]}"
        kappa = cohen_kappa(matrix[:, one], matrix[:, two], width)
        lines.append(f"  Cohen's kappa of {pair}: {_text(kappa)}")
        table = confusion_between(matrix[:, one], matrix[:, two], width)
        head = max(len(name) for name in votes.categories)
        lines.append(f"    {'':{head}}  " + "  ".join(votes.categories)
                     + f"   (columns: {votes.annotators[two]})")
        lines += [f"    {name:{head}}  " + "  ".join(
            f"{count:>{len(column)}}" for count, column in
            zip(row, votes.categories, strict=True))
            for name, row in zip(votes.categories, table.tolist(), strict=True)]
    return lines


def _with_self(votes: Votes, name: str) -> str:
    pairs = votes.repeated[name]
    if not pairs:
        return ""
    same = sum(one == two for one, two in pairs)
    return f"; agrees with itself on {same} of {len(pairs)} shown twice"


def _text(one: Agreement) -> str:
    if one.value is None:
        return f"undefined (n = {one.n})"
    limits = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    return f"{one.value:.2f}{limits} (n = {one.n})"
