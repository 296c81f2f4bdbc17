"""Fixed views for test-time augmentation: mirrored, slightly turned and shifted."""

from collections.abc import Iterator

from torch import Tensor

DEGREES = 6.0  # either way; within what the studied presets turn faces in training
SHIFT = 0.04  # of the width, either way
COUNT = 10


def tta_views(images: Tensor) -> Iterator[Tensor]:
    """Yield `COUNT` views of images (N x 3 x H x W, uint8 or float), the first as they are.

    Upright, turned left and right, shifted left and right, and the mirror image of each. What comes
    in from outside is black, as the corners of aligned pictures are.
    """
    from torchvision.transforms.v2 import functional  # 0.5 s, for those who ask for it

    bilinear = functional.InterpolationMode.BILINEAR
    step = round(SHIFT * images.shape[-1])
    for seen in (images, images.flip(-1)):
        yield seen
        for angle in (-DEGREES, DEGREES):
            yield functional.rotate(seen, angle, interpolation=bilinear)
        for shift in (-step, step):
            yield functional.affine(seen, angle=0.0, translate=[shift, 0], scale=1.0,
                                    shear=[0.0, 0.0])
