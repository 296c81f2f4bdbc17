"""A folder of pictures that is being labelled, with what belongs to it in `annotations/`.

    annotations/project.json       what can be answered, the seed, the share shown twice
    annotations/rounds.json        further rounds: name, why, and their pictures
    annotations/labels/NAME.jsonl  the log of one annotator (`fer.annotate.label_log`)
"""

import fcntl
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fer.annotate.label_log import ANSWERS, Record, read_log
from fer.atomic_io import write_json
from fer.data.file_walk import visible_files
from fer.data.layout import is_picture
from fer.data.picture_format import SUFFIXES
from fer.errors import CallerError, choices
from fer.locks import NOT_THERE, open_lock
from fer.plain_text import is_utf8, printable
from fer.untrusted_io import read_json

STORE = "annotations"
INSTRUCTIONS = "instructions.md"  # for annotators, in the folder of pictures
DEFAULT_INSTRUCTIONS = Path(__file__).with_name(INSTRUCTIONS)
FIRST = "1"  # name of the first round, in which all pictures are labelled
LONGEST_NAME = 40
_NAME = re.compile(r"[^\W_][\w.-]*")
_CHOICE = re.compile(r"[^\W_][\w .'-]{0,39}")


class Settings(BaseModel):
    """What annotators can answer. Written when labelling starts, so that it stays the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = ("negative", "neutral", "positive")
    mask_types: tuple[str, ...] = ("surgical", "cloth", "respirator", "below-nose", "other", "none")
    poses: tuple[str, ...] = ("frontal", "left", "right", "up", "down")
    seed: int = Field(default=0, ge=0)
    repeated: float = Field(default=0.1, ge=0, le=1)
    boxes: bool = False  # the page asks for the box of the face

    @field_validator("classes", "mask_types", "poses")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in names if not _CHOICE.fullmatch(name)]
        if wrong:
            raise ValueError(f"'{wrong[0]}' must start with a letter or digit and have at most 40")
        if len({name.casefold() for name in names}) < len(names):
            raise ValueError("a name is there twice")
        return names

    @model_validator(mode="after")
    def _answerable(self) -> "Settings":
        if not 2 <= len(self.classes) <= 9 or set(self.classes) & set(ANSWERS):
            raise ValueError(f"2 to 9 classes are needed, none of them {choices(ANSWERS)}")
        if len(self.mask_types) > 8 or len(self.poses) > 8:
            raise ValueError("at most 8 mask types and 8 poses have keys")
        return self


@dataclass(frozen=True)
class Round:
    """A labelling round; `pictures` is None where it has all of them."""

    name: str
    why: str = ""
    pictures: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Project:
    """A folder of pictures, its settings, and its pictures (relative paths, sorted)."""

    folder: Path
    settings: Settings
    pictures: tuple[str, ...]

    @property
    def store(self) -> Path:
        """The folder of everything that labelling writes."""
        return self.folder / STORE

    def rounds(self) -> list[Round]:
        """Return the rounds, oldest first."""
        return [Round(FIRST), *_read_rounds(self.store / "rounds.json")]

    def round(self, name: str = "") -> Round:
        """Return a round by name; the newest without one.

        Raises:
            CallerError: there is none of that name.
        """
        found = self.rounds()
        if name and name not in [one.name for one in found]:
            raise CallerError(f"no round '{name}' in {self.store}; there are: "
                              f"{choices(one.name for one in found)}")
        return next((one for one in found if one.name == name), found[-1])

    def pictures_in(self, one: Round) -> list[str]:
        """Return the pictures of a round that are still there."""
        if one.pictures is None:
            return list(self.pictures)
        there = set(self.pictures)
        return [picture for picture in one.pictures if picture in there]

    def add_round(self, why: str, pictures: Sequence[str]) -> Round:
        """Start a further round and return it.

        Raises:
            CallerError: no pictures, or some that are not in the folder.
        """
        lost = sorted(set(pictures) - set(self.pictures))
        if lost or not pictures:
            raise CallerError(f"{self.folder}: no picture {lost[0]}" if lost else
                              f"{self.folder}: no pictures for another round ({why})")
        found = self.rounds()
        new = Round(str(len(found) + 1), why, tuple(dict.fromkeys(pictures)))
        write_json(self.store / "rounds.json", [
            {"name": one.name, "why": one.why, "pictures": one.pictures}
            for one in [*found[1:], new]], durable=True)
        return new

    def log_path(self, annotator: str) -> Path:
        """Return the path of an annotator's log."""
        return self.store / "labels" / f"{annotator}.jsonl"

    def annotators(self) -> list[str]:
        """Return the names of those who have labelled anything, sorted."""
        return sorted(path.name.removesuffix(".jsonl")
                      for path in self.store.glob("labels/*.jsonl"))

    def records(self) -> dict[str, list[Record]]:
        """Return the log of each annotator.

        Raises:
            CallerError: a damaged log.
        """
        return {name: read_log(self.log_path(name))[0] for name in self.annotators()}

    def check_name(self, name: str) -> str:
        """Return an annotator's name in normal form.

        Raises:
            CallerError: not usable as a name, or another's but for letter case.
        """
        normal = unicodedata.normalize("NFC", name.strip())
        if not _NAME.fullmatch(normal) or len(normal) > LONGEST_NAME:
            raise CallerError("a name has letters, digits, dots, hyphens and underscores, starts "
                              f"with a letter or digit, and has at most {LONGEST_NAME}")
        same = [one for one in self.annotators() if one.casefold() == normal.casefold()]
        if same and normal not in same:
            raise CallerError(f"there is an annotator '{same[0]}' already: use that name, or "
                              "another one")
        return normal


def find_pictures(folder: Path) -> tuple[str, ...]:
    """Return the pictures below a folder by suffix, relative, POSIX, sorted; hidden ones are not.

    Links to folders are not followed.

    Raises:
        CallerError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise CallerError(f"no folder {folder}")
    found: list[str] = []
    others = 0
    for file in visible_files(folder):
        if file.parts[0] == STORE and len(file.parts) > 1:
            continue
        if is_picture(file.name):
            found.append(file.as_posix())
        else:
            others += 1
    if not found:
        raise CallerError(f"{folder}: no pictures among {others} files; pictures end in "
                          f"{', '.join(SUFFIXES)}")
    wrong = next((name for name in found if not is_utf8(name)), "")
    if wrong:
        raise CallerError(f"{folder}: the name {printable(wrong)} is not UTF-8; rename the file")
    return tuple(sorted(found))


def open_project(folder: Path, changes: dict | None = None) -> Project:
    """Return the project of a folder of pictures; its settings are those it was started with.

    Args:
        changes: settings that the caller gave. They apply if labelling has not started.

    Raises:
        CallerError: no pictures, invalid settings, or others than labelling was started with.
    """
    pictures = find_pictures(folder)
    file = folder / STORE / "project.json"
    try:
        content = read_json(file) if file.is_file() else {}
        before = Settings.model_validate(content)
        asked = Settings.model_validate({**content, **(changes or {})})
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + "-".join(map(str, first["loc"][:1])).replace("_", "-") if first["loc"] else ""
        if not _valid(content):
            name = f"{file}: {name.removeprefix('--')}" if name else str(file)
        raise CallerError(f"{name}{': ' if name else ''}"
                          f"{first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise CallerError(f"{file}: not valid JSON ({error})") from None
    if content and asked != before:
        name = next(name for name in Settings.model_fields
                    if getattr(asked, name) != getattr(before, name))
        raise CallerError(f"{folder}: labelling has started with {name.replace('_', ' ')} "
                          f"{_text(getattr(before, name))}; leave out --{name.replace('_', '-')}, "
                          f"or label a copy of the folder")
    return Project(folder, asked, pictures)


def _valid(content: object) -> bool:
    try:
        Settings.model_validate(content)
    except ValidationError:
        return False
    return True


def start_project(project: Project) -> None:
    """Write the settings of a project, if this has not been done."""
    (project.store / "labels").mkdir(parents=True, exist_ok=True)
    if not (project.store / "project.json").is_file():
        write_json(project.store / "project.json", project.settings.model_dump(mode="json"),
                   durable=True)


@contextmanager
def only_writer(project: Project) -> Iterator[None]:
    """Start the project, and hold its lock: one server a folder.

    Raises:
        CallerError: another server has it.
    """
    start_project(project)
    handle = open_lock(project.store / ".lock", content=True)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CallerError(f"{project.folder}: is being labelled by another process already; "
                              "use the address that it printed") from None
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
            raise CallerError(f"{project.folder}: its disk has no file locks ({error.strerror}); "
                              "label a copy on another disk") from None
        yield
    finally:
        os.close(handle)


def _read_rounds(file: Path) -> list[Round]:
    try:
        return [Round(str(one["name"]), str(one["why"]), tuple(map(str, one["pictures"])))
                for one in read_json(file)]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise CallerError(f"{file}: damaged ({error})") from None


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
