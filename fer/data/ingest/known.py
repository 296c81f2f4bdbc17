"""The published archives of KDDI's LFW emotion data set: names, digests, expected counts.

Facts: github.com/KDDI-AI-Center/LFW-emotion-dataset. The counts were inferred from publications,
so a difference is reported and refuses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One published archive.

    Attributes:
        name: of its top folder, and of the data set's folder below the data root.
        size: bytes.
        sha256: of the zip file.
    """

    name: str
    size: int
    sha256: str


ARCHIVES = {archive.name: archive for archive in (
    Archive("LFW-FER", 165_369_418,
            "c93674d5ec59ec368acbac1bd64f4ccdd106396f40cbb291804074ccdd0e6473"),
    Archive("M-LFW-FER", 99_019_683,
            "1b97c0082317d149ca9227712c3853733d348ece41247732eb3e2dcc39fd4883"),
    Archive("M-LFW-FER-face-cut", 60_113_582,
            "c3e05edb00719e831f922acde2d83d3e90630abf28134f0a3c7720808a7ccf87"),
)}

_LFW_TRAIN = {"negative": 768, "neutral": 3359, "positive": 5203}
EXPECTED: Mapping[str, Mapping[str, Mapping[str, int] | int]] = {
    name: {"train": _LFW_TRAIN, "eval": 1157} for name in ARCHIVES
}
"""Set folder -> split -> pictures a class, or pictures in all."""
