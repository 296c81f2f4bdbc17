"""Pictures that can be used, and planted ones that can't, each with its reason."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_sets import smooth
from PIL import Image

from fer.data import decode as audit
from fer.data.decode import inspect_picture


def jpeg(path: Path, side: int = 64) -> bytes:
    smooth(1, side).save(path, quality=95)
    return path.read_bytes()


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("I am no picture. " * 50)


def truncated(path: Path) -> None:
    path.write_bytes(jpeg(path)[:900])


def header_only(path: Path) -> None:
    path.write_bytes(jpeg(path)[:12])


def corrupt_png(path: Path) -> None:
    smooth(1).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[60:400] = b"\x55" * 340
    path.write_bytes(content)


def one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1)).save(path)


def narrow(path: Path) -> None:
    Image.new("RGB", (15, 400)).save(path)


def huge(path: Path) -> None:
    Image.new("1", (8000, 8000)).save(path, "PNG")


def bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


@pytest.mark.parametrize(("plant", "reason"), [
    (empty, "empty file"), (text, "not an image"), (header_only, "truncated"),
    (truncated, "truncated"), (corrupt_png, "corrupt"), (one_pixel, "smaller than 16 pixels"),
    (narrow, "smaller than 16 pixels"), (huge, "more than 50 megapixels"),
    (bomb, "more than 50 megapixels")])
def test_a_bad_picture_has_a_reason(
        plant: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    plant(tmp_path / "planted.jpg")
    assert inspect_picture(tmp_path / "planted.jpg") == (None, reason)


def test_a_huge_picture_is_refused_before_it_is_decoded(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge(tmp_path / "huge.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert inspect_picture(tmp_path / "huge.png") == (None, audit.TOO_LARGE)


def test_an_unreadable_file_says_nothing_about_the_picture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect_picture(tmp_path / "gone.jpg")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_every_mode_becomes_rgb_of_the_same_brightness(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[:, None], 32, 1))
    if mode == "I;16":
        planted = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        planted = grey.convert("RGB").convert(mode)
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    planted.save(path)
    pixels, reason = inspect_picture(path)
    assert reason is None and pixels is not None
    assert pixels.shape == (64, 32, 3) and pixels.dtype == np.uint8
    error = np.abs(pixels.astype(int).mean((1, 2)) - np.asarray(grey).mean(1))
    assert error.mean() < {"1": 70, "P": 6}.get(mode, 3)  # one bit and palettes are dithered


def test_a_palette_with_transparency_becomes_rgb(tmp_path: Path) -> None:
    smooth(1).quantize(16).save(tmp_path / "p.png", transparency=0)
    pixels, _ = inspect_picture(tmp_path / "p.png")
    assert pixels is not None and pixels.shape == (40, 40, 3)


def test_a_phones_portrait_stands_upright(tmp_path: Path) -> None:
    picture = smooth(1, 40, 60)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
    picture.save(tmp_path / "phone.png", exif=exif)
    pixels, _ = inspect_picture(tmp_path / "phone.png")
    assert np.array_equal(pixels, np.rot90(np.asarray(picture), -1))
