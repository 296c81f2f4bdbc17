"""Configuration of a network and of the weights that it starts from."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from fer.config.base import (
    Frozen,
    Label,
    Name,
    Neutral,
    Positive,
)
from fer.config.names import Options
from fer.config.weights_file import check_file


class Pretrained(Frozen):
    """Source of a backbone's initial weights.

    `file`: a checkpoint under `$FER_CACHE/weights`, `hf:ORG/NAME[@REVISION][:FILE]` of the Hugging
    Face hub, or a URL. `sha256` pins its content. `min_matched` is the least share of the
    backbone's weights before the head that it has to have; default: nine tenths. `run`: a parent
    run, shared by every run that starts from it: the configuration `base` with the overrides `set`.
    `licence` of the weights and `origin`, the page that describes them, are for reports.
    """

    source: Literal["file", "run"]
    file: Annotated[str, AfterValidator(check_file)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    min_matched: Annotated[float, Field(ge=0, le=1)] | None = None
    licence: str | None = None
    origin: str | None = None
    base: str | None = None
    set: dict[str, Any] = {}

    @model_validator(mode="after")
    def _source_is_complete(self) -> "Pretrained":
        if self.source == "file" and not self.file:
            raise ValueError("source 'file' needs the key 'file'")
        if self.source == "run" and not self.base:
            raise ValueError("source 'run' needs the key 'base', a configuration file")
        if self.source == "run" and self.sha256:
            raise ValueError("sha256 pins a file, not the weights of a run")
        return self


class Backbone(Frozen):
    """An architecture with its preprocessing; `configs/backbones/NAME.yaml`, `label` for reports.

    `grey` feeds the luminance of images to all three channels, as in FER2013."""

    name: Name
    label: Annotated[str | None, Label()] = None
    arch: str
    input_size: Annotated[int, Field(ge=16, le=1024)] = 224
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    grey: Annotated[bool, Neutral(False)] = False
    options: Options = {}
    pretrained: Annotated[Pretrained | None, Label()] = None  # joins through digest or parent
