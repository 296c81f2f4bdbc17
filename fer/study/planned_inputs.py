"""Inputs of a study whose faces are not drawn yet, for `--dry-run`, which writes nothing."""

from collections.abc import Sequence
from hashlib import blake2b

from fer.config.run import Data
from fer.data.layout import Picture
from fer.study.inputs import InputDigests, drawn_sets_missing

NOTE = ("the drawn faces are not there yet: the sweep draws them first; until then the ids at the "
        "end of the names below are provisional")


class PlannedDigests(InputDigests):
    """Digests in which a missing drawn split is represented by the parameters of its drawing.

    Run ids from them are provisional: equal for equal configurations, but not those of the runs.

    Args:
        root: folder of the data sets, `$FER_DATA`.
        cache: `$FER_CACHE`.
    """

    def split(self, split: str, data: Data) -> str:
        """Return a digest of what is going to be drawn, or of the split if it is there."""
        if not self._missing(split, data):
            return super().split(split, data)
        return blake2b(f"{split} {data.model_dump_json()}".encode(), digest_size=16).hexdigest()

    def mask_types(self, sets: Sequence[str], data: Data) -> str:
        """Return a digest of what is going to be drawn, or of the types if they are there."""
        if not any(self._missing(f"{name}/train", data) for name in sets):
            return super().mask_types(sets, data)
        return blake2b(f"types of {sets} {data.drawn}".encode(), digest_size=16).hexdigest()

    def pictures(self, split: str, data: Data) -> int:
        """Return the number of pictures, at most, in a split that is going to be drawn."""
        if not self._missing(split, data):
            return super().pictures(split, data)
        assert data.drawn is not None
        name, part = split.split("/")
        if "REAL" in data.sets[name].folder:
            return data.drawn.real_test
        if "PEOPLE" in data.sets[name].folder:
            return data.drawn.people_train
        return data.drawn.lfw_train if part in ("train", "val") else data.drawn.lfw_eval

    def listed(self, split: str, data: Data) -> list[Picture]:
        """Return the pictures of a split; none yet if it is going to be drawn."""
        return [] if self._missing(split, data) else super().listed(split, data)

    def _missing(self, split: str, data: Data) -> bool:
        return drawn_sets_missing(data, self.root, [split.split("/")[0]])
