"""Which pictures of a study are drawings of the project, by the names of the people in them.

Drawn people have generated names (`fer.data.synthetic.sampling`), which stay in the names of the
files wherever these are copied to; a configuration says nothing about the pictures that were used.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import islice

from fer.data.synthetic.sampling import is_generated
from fer.report.formatting import listed
from fer.report.read.load_results import LoadedResults

DRAWINGS = ("The images are computer-generated drawings, not people: no number on this page is "
            "evidence about people.")
SOME = ("The images of {splits} are computer-generated drawings, not people: no number on them is "
        "evidence about people.")
TRAINED = "{splits}: models were trained on computer-generated drawings, not on people"
PERSON = re.compile(r"([A-Za-z]+_[A-Za-z]+)_\d{4}")  # of the name of a drawn picture
LOOKED_AT = 50  # pictures of a split
MOST = 0.9  # of them; the rest may have been renamed


def are_drawings(sample_ids: Iterable[str]) -> bool:
    """Return whether pictures are drawings: nearly all have the name of a generated person."""
    names = [name.rpartition("/")[2] for name in islice(sample_ids, LOOKED_AT)]
    found = [match for name in names if (match := PERSON.match(name))]
    return bool(names) and sum(is_generated(one[1]) for one in found) >= MOST * len(names)


def drawings_of(gathered: LoadedResults) -> tuple[str, tuple[str, ...]]:
    """Return what a report says of drawings: a banner, empty without any, and warnings.

    Only pictures with predictions are looked at: those that the numbers are of.
    """
    tested: dict[str, Iterable[str]] = {}
    for (_, split), one in gathered.measured.items():
        if one.predictions is not None:
            tested.setdefault(split, one.predictions.sample_ids)
    trained = {run.train_on: gathered.validation[run.run].sample_ids
               for run in gathered.runs if run.run in gathered.validation}
    drawn, sources = _drawn(tested), _drawn(trained)
    if drawn and len(drawn) == len(tested):
        return DRAWINGS, ()
    banner = SOME.format(splits=listed(drawn)) if drawn else ""
    return banner, (TRAINED.format(splits=", ".join(sources)),) if sources else ()


def _drawn(splits: Mapping[str, Iterable[str]]) -> list[str]:
    return [split for split, names in splits.items() if are_drawings(names)]
