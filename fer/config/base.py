"""Building blocks of configuration models: the frozen base, run-id markers, number types.

A field affects the results of a run and is part of its run id, unless it is marked `Label`. A field
added later is marked `Neutral(value)` and stays out of the id while it has the value that
reproduces the old behaviour. Hashing is in `fer.config.run_id`.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fer.config.paths import path_problem


@dataclass(frozen=True)
class Label:
    """Marks a field that does not affect results: names, folders, workers, logging."""


@dataclass(frozen=True)
class Neutral:
    """Marks a field that stays out of the run id while it equals `value`."""

    value: Any


@dataclass(frozen=True)
class HashedAs:
    """Marks a field that is in the run id under the name it had before."""

    name: str


class Frozen(BaseModel):
    """Base of all configuration models: immutable, without unknown keys or infinite numbers."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )


LONGEST_NAME = 100  # characters: names become parts of file names, of 255 bytes at most
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=LONGEST_NAME),
                 Label()]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def _possible(text: str) -> str:
    if problem := path_problem(text):
        raise ValueError(problem)
    return text


PathText = Annotated[str, AfterValidator(_possible)]
"""The name of a file or folder in a configuration."""
