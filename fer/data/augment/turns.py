"""Fixed views for test-time augmentation: mirrored, slightly rotated and shifted."""

from collections.abc import Iterator

from torch import Tensor

DEGREES = 6.0  # in both directions; within the rotations of the training presets
SHIFT = 0.04  # of the width, in both directions
COUNT = 10


def tta_views(images: Tensor) -> Iterator[Tensor]:
    """Yield `COUNT` views of images (N x 3 x H x W, uint8 or float), the first unchanged.

    Upright, rotated left and right, shifted left and right, and the mirror image of each. Pixels
    from outside are black, like the corners of aligned faces.
    """
    from torchvision.transforms.v2 import functional  # slow import (0.5 s), rarely needed

    bilinear = functional.InterpolationMode.BILINEAR
    step = round(SHIFT * images.shape[-1])
    for seen in (images, images.flip(-1)):
        yield seen
        for angle in (-DEGREES, DEGREES):
            yield functional.rotate(seen, angle, interpolation=bilinear)
        for shift in (-step, step):
            yield functional.affine(seen, angle=0.0, translate=[shift, 0], scale=1.0,
                                    shear=[0.0, 0.0])
