"""Configuration of what is drawn on and mixed into training images; see `fer.config.run.Train`."""

from typing import Annotated, Literal

from pydantic import Field

from fer.config.base import Frozen, Neutral

PASSES = {"none": 1, "light": 1, "seed2021": 4, "strong": 1, "trivial": 1}  # per epoch
MaskStyle = Literal["all", "flat", "surgical", "kn95", "n95-valve", "cloth", "patterned",
                    "bandana", "window", "sponge", "printed", "erased"]


class Masks(Frozen):
    """Masks drawn on training images, a different one in each epoch.

    `template` gives the positions of facial features: `funnelled` as in LFW, `cropped` from ear to
    ear, `drawn` for the project's drawings. The style `erased`, not one of `all`, is random erasing
    of the lower face, a baseline. `on_validation` draws them on validation images too,
    once and for all, in the same share and the styles equally often: see
    `fer.data.masks.fixed_masks`.
    """

    probability: Annotated[float, Field(gt=0, le=1)] = 0.5
    styles: Annotated[tuple[MaskStyle, ...], Field(min_length=1)] = ("all",)
    template: Literal["funnelled", "cropped", "drawn"] = "funnelled"
    drawing: Literal[1] = 1  # version; raised when masks look different
    on_validation: Annotated[bool, Neutral(False)] = True


class Mix(Frozen):
    """Mixing of images and labels of two samples: `mixup`, `cutmix`, or either at random.

    `alpha` is the parameter of the Beta distribution: 0.2 is usual for mixup, 1 for cutmix.
    """

    how: Literal["mixup", "cutmix", "either"] = "mixup"
    alpha: Annotated[float, Field(ge=0.01, le=2)] = 0.2
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
