"""Constraints that pin each requirement of setup.cfg to its lower bound.

    python tests/lowest_versions.py [--without torch torchvision] > lowest.txt
    pip install --editable '.[test,faces]' --constraint lowest.txt

`make test-lowest` runs the suite with them. Requirements without a bound are tools of the tests
(pytest, mypy, ...), of which any version does.
"""

import argparse
import configparser
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SETTINGS = Path(__file__).resolve().parents[1] / "setup.cfg"


def requirements(settings: Path = SETTINGS) -> Iterator[Requirement]:
    """Yield the requirements of the package and of its extras."""
    found = configparser.ConfigParser()
    found.read(settings)
    for text in (found["options"]["install_requires"], *found["options.extras_require"].values()):
        yield from (Requirement(line) for line in text.splitlines()
                    if line and not line.startswith(("#", "%")))


def lowest(settings: Path = SETTINGS) -> dict[str, str]:
    """Return the highest lower bound of each requirement that has one, by canonical name."""
    found: dict[str, str] = {}
    for one in requirements(settings):
        for bound in one.specifier:
            if bound.operator == ">=":
                name = canonicalize_name(one.name)
                assert found.setdefault(name, bound.version) == bound.version, f"{name}: two bounds"
    return found


def main() -> None:
    """Print the constraints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without", nargs="*", default=[], help="leave these to pip")
    left = {canonicalize_name(name) for name in parser.parse_args().without}
    for name, version in sorted(lowest().items()):
        if name not in left:
            print(f"{name}=={version}")


if __name__ == "__main__":
    main()
