"""Reader for zips of pictures: the split and class of each member.

Only names and sizes are read; members are copied when the set is written. Refuses archives that
could write outside the target or fill the disk: absolute paths, `..`, links, zip bombs. The
published archives of KDDI's LFW emotion data set are known by digest
(github.com/KDDI-AI-Center/LFW-emotion-dataset); their counts were inferred from publications, so a
difference is only reported.
"""

import errno
import lzma
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from fer.checksums import sha_of
from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.folders import Parts, Structure, place_all
from fer.data.ingest.label_map import Labels
from fer.data.ingest.left_out import SYSTEM, LeftOut, is_system_file, no_picture
from fer.data.ingest.member_names import member_names
from fer.data.metadata import Facts
from fer.data.picture_format import HEAD, format_of, picture_name
from fer.errors import CallerError
from fer.plain_text import shortened

MOST_BYTES = 200_000_000  # of one picture
MOST_RATIO = 200  # maximum compression ratio of a large member
SUSPICIOUS = 10_000_000  # bytes; any ratio is harmless in smaller members
MOST_MEMBERS = 5_000_000
MOST_TOTAL = 500_000_000_000
LONGEST_NAME = 240  # bytes; file systems take 255, and temporary names need some


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
"""Set folder -> split -> pictures per class, or total."""


def read_archive(file: Path, labels: Labels, how: Structure, any_hash: bool = False,
                 encoding: str = "") -> Incoming:
    """Return the content of a zip.

    Args:
        file: the zip.
        labels: of its class folders.
        how: how its folders are read.
        any_hash: accept an archive with the name but not the digest of a published one.
        encoding: of file names without the UTF-8 flag; empty: as in `member_names`.

    Raises:
        CallerError: not a zip, damaged, dangerous, a digest other than the published one, no
            pictures in class folders, or an unknown class or split.
    """
    digest = sha256_of(file)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise CallerError(f"{file}: not a complete zip file ({error}); download it again") from None
    names, used = member_names(str(file), infos, encoding)
    members = {name: info for name, info in zip(names, infos, strict=True)
               if not name.endswith("/")}
    if len(members) < sum(not name.endswith("/") for name in names):
        twice = Counter(names).most_common(1)[0][0]
        raise CallerError(f"{file}: contains {twice} twice; unzip it yourself and add the folder")
    _refuse_danger(file, members)
    reader, left_out = _Reader(file), []
    pictures: dict[Parts, tuple[str, zipfile.ZipInfo]] = {}  # format and member
    for name, info in members.items():
        parts = PurePosixPath(name).parts
        if is_system_file(parts):
            left_out.append(LeftOut(name, SYSTEM))
            continue
        head = reader.head(info)
        if reason := no_picture(head, parts[-1], name):
            left_out.append(reason)
        else:
            pictures[parts] = format_of(head, parts[-1]), info
    folders = {part for parts in pictures for part in parts[:-1]}
    notes = [_compare(file, digest, folders, any_hash)]
    if used:
        notes.append(f"{file.name}: file names read as {used}; --encoding says otherwise")
    placed, stray = place_all(list(pictures), how, str(file))
    items = []
    for parts, place in placed.items():
        (kind, info), said = pictures[parts], "/".join(parts)
        cls = labels.of(place.label, f"{file}: {said}")
        if cls is None:
            left_out.append(labels.left_out(place.label, said))
            continue
        items.append(Item(place.split, cls, picture_name(place.name, kind), info.file_size, said,
                          partial(reader.copy, info), Facts(identity=place.person),
                          stamp=partial(getattr, info, "CRC")))
    return Incoming(file.name, items, notes, digest, [*left_out, *stray])


def names_in(file: Path) -> list[Parts]:
    """Return the paths in a zip as they are stored; none if it is not one, which is said later."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [PurePosixPath(name).parts for name in archive.namelist()
                    if not name.endswith("/") and PurePosixPath(name).parts]
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        return []


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        CallerError: no such file.
    """
    try:
        return sha_of(file)
    except FileNotFoundError:
        raise CallerError(f"no file {file}") from None


def _refuse_danger(file: Path, members: Mapping[str, zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in members.values())
    if len(members) > MOST_MEMBERS or total > MOST_TOTAL:
        raise CallerError(f"{file}: {len(members)} files of {total / 1e9:.0f} GB: too large for "
                          "a set of pictures; unzip it yourself and add the folder")
    for name, info in members.items():
        parts, place = PurePosixPath(name).parts, f"{file}: {name!r}"
        absolute = parts and (parts[0].startswith("/") or re.match("^[A-Za-z]:", parts[0]))
        if not parts or absolute or ".." in parts:
            raise CallerError(f"{place} points outside the folder; the archive is not opened")
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
            raise CallerError(f"{file}: {shortened(repr(name))} has a name of over {LONGEST_NAME} "
                              "bytes; rename it")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise CallerError(f"{place} is a link; the archive is not opened")
        if info.flag_bits & 1:
            raise CallerError(f"{place} is encrypted; unzip it yourself and add the folder")
        ratio = info.file_size / max(info.compress_size, 1)
        if info.file_size > MOST_BYTES or (info.file_size > SUSPICIOUS and ratio > MOST_RATIO):
            raise CallerError(f"{place} unpacks to {info.file_size / 1e6:.0f} MB from "
                              f"{info.compress_size / 1e6:.1f}: not a picture")
    packed = file.stat().st_size  # members may overlap, so their packed sizes say nothing
    if total > SUSPICIOUS and total > MOST_RATIO * packed:
        raise CallerError(f"{file}: unpacks to {total / 1e6:,.0f} MB from {packed / 1e6:.1f}: not "
                          "pictures; the archive is not opened")


def _compare(file: Path, digest: str, folders: set[str], any_hash: bool) -> str:
    """Return a line on the archive's digest; refuse one that differs from the published one."""
    published = next((one for one in ARCHIVES.values() if one.sha256 == digest), None)
    if published:
        return f"{file.name} is the published {published.name}: SHA-256 {digest}"
    claims = [name for name in ARCHIVES if name in folders or file.stem == name]
    if not claims:
        return f"{file.name}: SHA-256 {digest}"
    expected = ARCHIVES[claims[0]]
    line = (f"{file.name} is not the published {expected.name}: its SHA-256 is {digest} instead of "
            f"{expected.sha256}, its size {file.stat().st_size:,} instead of "
            f"{expected.size:,} bytes")
    if not any_hash:
        raise CallerError(f"{line}; --any-hash accepts it anyway")
    return line


class _Reader:
    """Copies members of one zip, which is opened at the first copy."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @cached_property
    def archive(self) -> zipfile.ZipFile:
        """The open zip."""
        return zipfile.ZipFile(self.file)

    def copy(self, info: zipfile.ZipInfo, target: str) -> None:
        """Write one member to a path; raises as `head`."""
        with self._errors(info), self.archive.open(info) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)

    def head(self, info: zipfile.ZipInfo) -> bytes:
        """Return the first bytes of one member.

        Raises:
            CallerError: it is damaged, or compressed by another method.
        """
        with self._errors(info), self.archive.open(info) as source:
            return source.read(HEAD)

    @contextmanager
    def _errors(self, info: zipfile.ZipInfo) -> Iterator[None]:
        place = f"{self.file}: {shortened(info.filename)}"
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError,
                OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise  # of the disk; bz2 and offsets that lead nowhere have none, or EINVAL
            raise CallerError(f"{place} is damaged ({shortened(str(error))}); download the archive "
                              "again") from None
        except (NotImplementedError, RuntimeError) as error:
            raise CallerError(f"{place}: {shortened(str(error))}; unzip it yourself and add the "
                              "folder") from None
