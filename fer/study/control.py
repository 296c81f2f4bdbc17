"""The control of a gap where none is declared: unmasked pictures of the same two sources.

Those of a masked copy are its original's, those of a set of real masks its split `unmasked`.
"""

from pathlib import Path

from fer.config.run import Data
from fer.config.study import Control, Study, listed
from fer.data.splits import original_of, split_names
from fer.errors import CallerError

UNMASKED = "unmasked"


def with_control(study: Study, data: Data, root: Path) -> Study:
    """Return a study that evaluates on the control splits that are on disk, and subtracts them.

    The same study where the gap names its control (or `control: null`), where a source has no
    unmasked pictures, or where both sets are masked copies of one.
    """
    gap = study.gap
    if gap is None or "control" in gap.model_fields_set:
        return study
    try:
        found = [_unmasked(split, data) for split in (gap.synthetic, *listed(gap.real))]
        there = set(split_names(data, root))
    except (CallerError, KeyError):  # whoever evaluates on them says what is wrong
        return study
    if not there.issuperset(found) or found[0] in found[1:]:  # copies of one set: nothing to net
        return study
    control = Control(synthetic=found[0], real=found[1] if len(found) == 2 else found[1:])
    return study.model_copy(update={
        "gap": gap.model_copy(update={"control": control}),
        "evaluate_on": list(dict.fromkeys([*study.evaluate_on, *found]))})


def _unmasked(split: str, data: Data) -> str:
    """Return the split with the unmasked pictures of the people of a masked one."""
    name, _, part = split.partition("/")
    original = original_of(name, data)
    return f"{original}/{part}" if original != name else f"{name}/{UNMASKED}"
