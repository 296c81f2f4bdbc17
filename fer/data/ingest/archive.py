"""Read a zip of pictures: which members are pictures of which split and class.

Looks at names and sizes only; members are copied when the set is written. Refuses what could write
outside the target or fill the disk: absolute paths, `..`, links, bombs. The published archives of
KDDI's LFW emotion data set are known by digest (github.com/KDDI-AI-Center/LFW-emotion-dataset);
their counts were inferred from publications, so a difference is reported and refuses nothing.
"""

import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from fer.checksums import sha_of
from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.folders import place_all
from fer.data.ingest.label_map import Labels
from fer.data.layout import SUFFIXES
from fer.errors import CallerError

MOST_BYTES = 200_000_000  # of one picture
MOST_RATIO = 200  # of a member that is larger than a picture compresses to
SUSPICIOUS = 10_000_000  # bytes; below it any ratio is harmless
MOST_MEMBERS = 5_000_000
MOST_TOTAL = 500_000_000_000
JUNK = ("__macosx", "thumbs.db", "desktop.ini")


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


def read_archive(file: Path, labels: Labels, split: str = "", any_hash: bool = False) -> Incoming:
    """Return what a zip brings.

    Args:
        file: the zip.
        labels: of its class folders.
        split: where its pictures go if it has class folders only.
        any_hash: take an archive that is named as a published one and differs from it.

    Raises:
        CallerError: no zip, damaged, dangerous, another digest than the published one, no pictures
            in class folders, or an unknown class.
    """
    digest = sha256_of(file)
    try:
        with zipfile.ZipFile(file) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise CallerError(f"{file}: not a whole zip file ({error}); download it again") from None
    _refuse_danger(file, members)
    pictures = [(info, _parts(info)) for info in members if _is_picture(info)]
    folders = {part for _, parts in pictures for part in parts[:-1]}
    notes = [_compare(file, digest, folders, any_hash)]
    placed, stray = place_all([parts for _, parts in pictures], split, str(file))
    if stray:
        notes.append(f"{file.name}: {len(stray)} pictures in no class folder left out, such as "
                     f"{'/'.join(stray[0])}")
    reader, items = _Reader(file), []
    for info, parts in pictures:
        if parts in placed:
            where, label, name = placed[parts]
            cls = labels.of(label, f"{file}: {info.filename}")
            if cls is not None:
                items.append(Item(where, cls, name, info.file_size, info.filename,
                                  partial(reader.copy, info)))
    return Incoming(file.name, items, notes, digest)


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        CallerError: no such file.
    """
    try:
        return sha_of(file)
    except FileNotFoundError:
        raise CallerError(f"no file {file}") from None


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    return PurePosixPath(info.filename.replace("\\", "/")).parts


def _refuse_danger(file: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS or sum(info.file_size for info in members) > MOST_TOTAL:
        raise CallerError(f"{file}: {len(members)} files of "
                          f"{sum(info.file_size for info in members) / 1e9:.0f} GB: too much for "
                          "a set of pictures; unzip it yourself and add the folder")
    for info in members:
        parts, place = _parts(info), f"{file}: {info.filename!r}"
        absolute = parts and (parts[0].startswith("/") or re.match("^[A-Za-z]:", parts[0]))
        if not parts or absolute or ".." in parts:
            raise CallerError(f"{place} leads out of the folder; such an archive is not opened")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise CallerError(f"{place} is a link; such an archive is not opened")
        if info.flag_bits & 1:
            raise CallerError(f"{place} is encrypted; unzip it yourself and add the folder")
        ratio = info.file_size / max(info.compress_size, 1)
        if info.file_size > MOST_BYTES or (info.file_size > SUSPICIOUS and ratio > MOST_RATIO):
            raise CallerError(f"{place} unpacks to {info.file_size / 1e6:.0f} MB from "
                              f"{info.compress_size / 1e6:.1f}: not a picture")


def _is_picture(info: zipfile.ZipInfo) -> bool:
    parts = _parts(info)
    hidden = any(part.startswith(".") or part.lower() in JUNK for part in parts)
    return not hidden and parts[-1].lower().endswith(SUFFIXES)


def _compare(file: Path, digest: str, folders: set[str], any_hash: bool) -> str:
    """Return a line on the archive's digest; refuses one that only claims to be published."""
    published = next((one for one in ARCHIVES.values() if one.sha256 == digest), None)
    if published:
        return f"{file.name} is the published {published.name}: SHA-256 {digest}"
    claims = [name for name in ARCHIVES if name in folders or file.stem == name]
    if not claims:
        return f"{file.name}: SHA-256 {digest}"
    expected = ARCHIVES[claims[0]]
    said = (f"{file.name} is not the published {expected.name}: its SHA-256 is {digest} instead of "
            f"{expected.sha256}, its size {file.stat().st_size:,} instead of "
            f"{expected.size:,} bytes")
    if not any_hash:
        raise CallerError(f"{said}; --any-hash takes it nevertheless")
    return said


class _Reader:
    """Copies members of one zip, opened when the first is asked for."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @cached_property
    def archive(self) -> zipfile.ZipFile:
        """The open zip."""
        return zipfile.ZipFile(self.file)

    def copy(self, info: zipfile.ZipInfo, target: Path) -> None:
        """Write one member to a path.

        Raises:
            CallerError: it is damaged.
        """
        try:
            with self.archive.open(info) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise CallerError(f"{self.file}: {info.filename} is damaged ({error}); download the "
                              "archive again") from None
        except (NotImplementedError, RuntimeError) as error:
            raise CallerError(f"{self.file}: {info.filename}: {error}; unzip it yourself and add "
                              "the folder") from None
