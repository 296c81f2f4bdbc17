"""Mapping of a source's labels to the project's classes: by name, or by a YAML file.

A map file: `classes: {happy: positive, angry: negative, …}`; the value `drop` leaves pictures out.
`configs/labels/` contains the usual ones. A bare number is another expression in every data set
(3 is happy in FER2013 and surprise in AffectNet), so only the map of one set contains numbers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fer.config.label_files import DROP, FOLDER, read_label_file, unknown_class
from fer.config.yaml_io import read_tree
from fer.data.ingest.left_out import LeftOut
from fer.data.people import normal_form
from fer.errors import CallerError, choices
from fer.plain_text import shortened


@dataclass(frozen=True)
class Labels:
    """A mapping of labels to classes.

    Attributes:
        classes: the project's classes, in order.
        known: label as by `normal_form` -> class or `drop`.
        said: origin of the map, for messages.
    """

    classes: tuple[str, ...]
    known: Mapping[str, str]
    said: str

    def __contains__(self, label: str) -> bool:
        return normal_form(label) in self.known

    def left_out(self, label: str, said: str) -> LeftOut:
        """Return that a picture's label is dropped."""
        return LeftOut(said, f"with label {label.strip()}, which {self.said} drops")

    def of(self, label: str, place: str) -> str | None:
        """Return the class of a label; None if it is dropped.

        Raises:
            CallerError: a label that is not in the map; `place` is its location.
        """
        cls = self.known.get(normal_form(label))
        if cls is None and re.fullmatch(r"\d+(\.0*)?", normal_form(label)):
            raise CallerError(f"{place}: label '{shortened(label)}' is a number, which {self.said} "
                              "does not contain: a number means another expression in every data "
                              f"set; say which set's with --labels: {choices(_numbered())}, or a "
                              "map of your own")
        if cls is None:
            raise CallerError(f"{place}: label '{shortened(label)}' is not in {self.said}; there "
                              f"are: {choices(self.known)}")
        return None if cls == DROP else cls


def read_labels(name: str, classes: tuple[str, ...]) -> Labels:
    """Return a label map; without a name every class maps to itself.

    Args:
        name: a file, or the name of one in `configs/labels`; empty for none.
        classes: of the data set.

    Raises:
        CallerError: no such map, or one with an unknown class or a label of two classes.
    """
    if not name:
        return Labels(classes, {normal_form(cls): cls for cls in classes}, "the classes "
                      "(--classes; --labels maps other names to them)")
    file, entries = read_label_file(name)
    if fault := unknown_class(entries, classes):
        raise CallerError(f"{file}: {fault}")
    known: dict[str, str] = {}
    for label, cls in entries.items():
        if known.setdefault(normal_form(label), cls) != cls:
            raise CallerError(f"{file}: label '{shortened(label)}' has two classes: "
                              f"{known[normal_form(label)]} and {cls}")
    return Labels(classes, known, str(file))


def names_of(name: str) -> set[str]:
    """Return the labels of a map in `configs/labels`, as by `normal_form`."""
    return {normal_form(str(label)) for label in read_tree(FOLDER / f"{name}.yaml")["classes"]}


def _numbered() -> list[str]:
    """Return the names of the maps in `configs/labels` that contain numbers."""
    return [path.stem for path in FOLDER.glob("*.yaml")
            if any(str(label).isdigit() for label in read_tree(path)["classes"])]
