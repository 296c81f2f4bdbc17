"""The content of a bundle: its index `bundle.json`, and the names that its files may have.

A bundle is a store (`runs/`, `studies/`) without weights and pictures: unpacked, it is an FER_HOME
from which `launch/report.py` makes the report again.
"""

import re
from typing import Annotated, Literal

from pydantic import Field

from fer.config.base import Frozen

INDEX = "bundle.json"
WORD = r"[A-Za-z0-9_@=][A-Za-z0-9._+\-@=]{0,199}"  # neither . nor ..
RUN_FILE = re.compile(rf"runs/({WORD})/(predictions|results)/({WORD}/{WORD})\.(?:parquet|json)")
FILE = re.compile(rf"{WORD}(?:/{WORD}){{0,5}}")
Line = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,1000}$")]  # printed to a terminal
RunId = Annotated[str, Field(pattern=r"^[0-9a-z]{1,40}$")]
RunName = Annotated[str, Field(pattern=rf"^{WORD}$")]


class File(Frozen):
    """Size in bytes and SHA-256 of a file."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Code(Frozen):
    """The state of the code: its commit, and whether files had been changed."""

    commit: Annotated[str | None, Field(pattern=r"^[0-9a-f]{7,64}$")] = None
    dirty: bool | None = None


class BundledRun(Frozen):
    """One run of the study; `wanted` unless it is only another run's starting point."""

    run: RunName
    run_id: RunId
    config_id: RunId
    seed: int
    state: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")]
    wanted: bool = True


class Manifest(Frozen):
    """The index of a bundle.

    Attributes:
        code: state of the code that wrote it.
        packages: versions of Python and of the packages that wrote it.
        environments: package versions, commit and hardware of the runs -> names of the runs.
        data: split -> content digests, as the runs and their results recorded them.
        weights: backbone -> digests of its initial weights.
        files: the other files of the bundle, by name.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$")]
    code: Code
    packages: dict[str, str]
    environments: dict[Line, list[RunName]]
    data: dict[str, list[str]]
    weights: dict[str, list[str]]
    runs: list[BundledRun]
    files: dict[str, File]
