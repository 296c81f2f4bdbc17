"""`launch/predict.py` and `fer.load`: pictures in, the answers of evaluation out, none is lost."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import launch
from crashing_loader import crash_always, crash_on_notes
from PIL import Image
from test_mistakes import said_in_one_line

import fer
from fer.commands import predict as command
from fer.data.faces import detector
from fer.data.faces.alignment import align, frame_of_template
from fer.data.faces.face_points import template
from fer.errors import CallerError
from fer.evaluate.calibration import NEVER, best_temperature, sure_from
from fer.evaluate.metrics import log_probabilities
from fer.evaluate.predictions import read_predictions
from fer.inference import picture_loader
from fer.inference.annotated import WIDTH, annotate
from fer.inference.picture_files import find_pictures
from fer.inference.picture_loader import CRASHED, FIRST, load_chunks, started_pool
from fer.inference.prediction import NOT_SURE
from fer.inference.predictor import Predictor
from fer.train.checkpoint import Checkpoints

BAD = {"cut.jpg": "truncated", "empty.jpg": "empty file", "notes.jpg": "not an image",
       "tiny.png": "smaller than 16 pixels"}


@pytest.fixture
def study(two_seeds: dict[str, str]) -> dict[str, str]:
    """Return the environment of a finished toy study of two seeds."""
    return two_seeds


@pytest.fixture
def runs(study: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run folders, with the study's environment."""
    for name, value in study.items():
        monkeypatch.setenv(name, value)
    return sorted((Path(study["FER_HOME"]) / "runs").iterdir())


@pytest.fixture
def album(study: dict[str, str], tmp_path: Path) -> Path:
    """A folder with the pictures of real/test, and one of each kind of bad picture."""
    folder = Path(shutil.copytree(Path(study["FER_DATA"]) / "REAL-FER/test", tmp_path / "album"))
    good = sorted(folder.rglob("*.jpg"))[0].read_bytes()
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "empty.jpg").touch()
    (folder / "notes.jpg").write_text("no picture")
    Image.new("RGB", (9, 9)).save(folder / "tiny.png")
    return folder


def predict(*arguments: object) -> subprocess.CompletedProcess[str]:
    return launch("predict", *arguments)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_probabilities_are_those_of_evaluate_and_bad_pictures_have_a_reason(
    runs: list[Path], album: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"out.{kind}" for kind in ("csv", "jsonl", "parquet")]
    done = predict(runs[0], album, *(f"--out={file}" for file in files))
    assert done.returncode == 0, done.stderr
    table = read_predictions(runs[0] / "predictions/real/test.parquet")
    expected = dict(zip((name.removeprefix("real/test/") for name in table.sample_ids),
                        np.exp(log_probabilities(table.logits)), strict=True))
    rows = rows_of(files[0])
    assert len(rows) == len(table) + len(BAD)
    for row in rows:
        name = str(Path(row["file"]).relative_to(album))
        if name in BAD:
            assert row["reason"] == BAD[name] and not row["answer"] and not row["confidence"]
            continue
        found = [float(row[f"probability_{one}"]) for one in table.classes]
        np.testing.assert_allclose(found, expected[name], atol=1e-5)
        assert row["label"] == table.classes[int(np.argmax(expected[name]))]
    assert f"{len(rows)} pictures" in done.stderr and "4 unusable" in done.stderr
    lines = [json.loads(line) for line in files[1].read_text().splitlines()]
    columns = pq.read_table(files[2]).to_pylist()
    assert [list(line) for line in lines] == [list(row) for row in rows]
    for row, line, column in zip(rows, lines, columns, strict=True):
        assert line == column
        for name, value in line.items():
            assert (row[name] == value if isinstance(value, str) else not row[name]
                    if value is None else float(row[name]) == pytest.approx(value, rel=1e-8))


def test_calibration_is_fitted_on_the_validation_predictions(
    runs: list[Path], album: Path
) -> None:
    model = fer.load(runs[0])
    assert model.calibration is not None and model.calibration.split == "lfw/val"
    table = read_predictions(runs[0] / "predictions/lfw/val.parquet")
    assert model.calibration.temperature == best_temperature(table.labels, table.logits)
    for one in model.predict(find_pictures([str(album)])):
        if not one.reason:
            logits = np.log(list(one.probabilities.values()))[None]
            np.testing.assert_allclose(
                list(one.calibrated.values()),
                np.exp(log_probabilities(logits / model.calibration.temperature))[0], rtol=1e-9)
            assert one.sure == (one.confidence >= model.calibration.threshold)
            assert one.answer == (one.label if one.sure else NOT_SURE)


def test_sure_is_the_lowest_confidence_with_the_wanted_accuracy() -> None:
    rng = np.random.default_rng(0)
    for accuracy in (0.5, 0.9, 0.97):
        confidence = rng.integers(30, 100, 400) / 100  # with equals
        right = rng.random(400) < confidence
        found = sure_from(confidence, right, accuracy)
        good = [one for one in np.unique(confidence)
                if (confidence >= one).sum() >= 10 and right[confidence >= one].mean() >= accuracy]
        assert found == (min(good) if good else NEVER)
    assert sure_from(np.full(9, 0.9), np.full(9, True), 0.9) == NEVER  # nine say nothing
    assert sure_from(np.zeros(0), np.zeros(0, bool), 0.9) == NEVER


def test_three_lines_of_python_take_every_kind_of_model_and_picture(
    runs: list[Path], album: Path, tmp_path: Path
) -> None:
    file = sorted(album.rglob("*.jpg"))[-1]
    weights = Checkpoints(runs[0] / "checkpoints", 2).best() / "model.safetensors"
    shutil.copy(weights, tmp_path / "model.safetensors")
    models = [fer.load(name) for name in (
        runs[0], str(runs[0]), runs[0].name, runs[0].name[-10:], tmp_path / "model.safetensors")]
    answers = [model(str(file)).probabilities for model in models]
    assert all(one == answers[0] for one in answers) and models[-1].calibration is None
    with Image.open(file) as image:
        image.load()
    assert models[0](image).probabilities == answers[0]
    assert models[0](np.asarray(image)).probabilities == answers[0]
    assert models[0](file).file == str(file)
    with pytest.raises(CallerError, match=r"empty.jpg: empty file"):
        models[0](album / "empty.jpg")
    for small in (image.crop((0, 0, 0, 0)), image.crop((0, 0, 15, 40)),
                  np.zeros((0, 0, 3), np.uint8)):
        with pytest.raises(CallerError, match="smaller than 16 pixels"):  # as of a file
            models[0](small)
    for other, words in (([file], "not list; of many files"), (None, "NoneType"),
                         (np.zeros((20, 20, 3)), "float64"), (np.zeros((20, 20), np.uint8), "20")):
        with pytest.raises(CallerError, match=words):
            models[0](other)  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="uint8"):
        models[0](np.zeros((20, 20), np.uint8))


def test_several_models_are_averaged_and_calibrated_together(
    runs: list[Path], album: Path, tmp_path: Path
) -> None:
    done = predict("resmasking_tiny-*", album, "--out", tmp_path / "all.csv")
    again = predict(runs[0], "--with", runs[1].name, album, "--out", tmp_path / "two.csv")
    assert done.returncode == again.returncode == 0, done.stderr + again.stderr
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert f"mean of {runs[0].name}, {runs[1].name}" in done.stderr
    assert "calibrated on" in done.stderr
    file = sorted(album.rglob("*.jpg"))[-1]
    each = [np.array(list(fer.load(run)(file).probabilities.values())) for run in runs]
    found = list(fer.load(*runs)(file).probabilities.values())
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-9)


def test_csv_goes_to_standard_output_and_nothing_else(runs: list[Path], album: Path) -> None:
    done = predict(runs[0], album / "neutral", album / "cut.jpg")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 9 and rows[-1]["reason"] == "truncated"


def test_loader_processes_change_nothing_and_survive_a_crash(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(album / name) for name in BAD] + find_pictures([str(album / "neutral")])
    alone = list(load_chunks(files, (48, 32), 5, workers=0))
    for chunk, same in zip(load_chunks(files, (48, 32), 5, workers=2), alone, strict=True):
        assert (chunk.start, chunk.reasons) == (same.start, same.reasons)
        assert all(np.array_equal(chunk.pixels[size], same.pixels[size]) for size in (48, 32))
    monkeypatch.setattr(picture_loader, "load_chunk", crash_on_notes)
    with started_pool(files, 1) as pool:  # a crash ends the processes that were started early
        found = [reason for chunk in load_chunks(files, (48,), 5, 1, pool=pool)
                 for reason in chunk.reasons]
    assert found == [CRASHED if "notes" in file else reason for file, reason in zip(
        files, (reason for chunk in alone for reason in chunk.reasons), strict=True)]


def test_the_first_rows_are_written_before_the_rest_is_predicted(
    runs: list[Path], album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted: list[int] = []
    written: list[tuple[int, int]] = []  # rows, and pictures predicted by then
    answers = Predictor.answers

    def counted(model: Predictor, files: list[str], chunk: picture_loader.Chunk) -> list:
        predicted.append(len(chunk.reasons))
        return answers(model, files, chunk)

    monkeypatch.setattr(Predictor, "answers", counted)
    monkeypatch.setattr(command, "csv_writer", lambda handle, heads: lambda some: written.append(
        (len(some), sum(predicted))))
    files = find_pictures([str(album)])
    assert len(files) > FIRST + 9
    command.predict_pictures(command.Request([str(runs[0])], files, [], None, None, 9, 0, "cpu"))
    assert written[:2] == [(FIRST, FIRST), (9, FIRST + 9)]
    assert sum(rows for rows, _ in written) == len(files)


def test_loader_processes_start_before_torch_is_imported(runs: list[Path], album: Path) -> None:
    script = '''
import sys
from fer.data import process_map
from fer.inference import picture_loader
class Told(process_map.ProcessPool):
    def __init__(self, workers):
        print("pool", workers, "torch" in sys.modules, file=sys.stderr)
        super().__init__(workers)
picture_loader.ProcessPool = Told
from fer.commands.predict import Request, predict_pictures
if __name__ == "__main__":
    predict_pictures(Request(sys.argv[1:2], sys.argv[2:3], [], None, None, 64, 2, "cpu"))
'''
    done = subprocess.run([sys.executable, "-c", script, str(runs[0]), str(album)], text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("pool")] == [
        "pool 2 False"]
    assert len(done.stdout.splitlines()) == 1 + len(find_pictures([str(album)]))


def test_processes_that_cannot_start_are_one_error_and_no_bad_pictures(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_loader, "load_chunk", crash_always)
    with pytest.raises(CallerError, match="workers=0"):
        list(load_chunks(find_pictures([str(album)]), (48,), 5, workers=1))


def test_pictures_are_found_in_files_folders_and_patterns_each_once(album: Path) -> None:
    (album / ".hidden.jpg").touch()
    (album / "readme.txt").touch()
    (album / "neutral/deeper").mkdir()
    shutil.copy(album / "tiny.png", album / "neutral/deeper/a.png")
    everything = find_pictures([str(album)])
    assert len(everything) == 8 * 3 + len(BAD) + 1 and everything == list(dict.fromkeys(everything))
    assert set(find_pictures([f"{album}/**/*"])) == set(everything)
    assert find_pictures([f"{album}/*.png", str(album / "tiny.png")]) == [str(album / "tiny.png")]
    assert find_pictures([f"{album}/readme.txt"]) == [f"{album}/readme.txt"]  # named, so asked for
    odd = album / "a [1].jpg"  # looks like a pattern, and is a file
    shutil.copy(album / "cut.jpg", odd)
    assert find_pictures([str(odd)]) == [str(odd)]


def test_files_that_are_no_pictures_at_all_have_a_reason(
    runs: list[Path], album: Path, tmp_path: Path
) -> None:
    os.mkfifo(album / "pipe.jpg")
    (album / "gone.jpg").symlink_to(tmp_path / "nowhere")
    name = os.fsdecode(b"\xff.jpg")
    shutil.copy(sorted(album.rglob("*.jpg"))[-1], album / name)
    done = predict(runs[0], album, "--out", tmp_path / "out.csv", "--out", tmp_path / "o.parquet")
    assert done.returncode == 0, done.stderr
    reasons = {Path(row["file"]).name: row["reason"] for row in rows_of(tmp_path / "out.csv")}
    assert reasons["pipe.jpg"] == "no regular file" and reasons["gone.jpg"] == "no such file"
    assert reasons["\\xff.jpg"] == ""


@pytest.mark.parametrize(("arguments", "words"), [
    (("RUN", "nowhere.jpg"), ("nowhere.jpg",)),
    (("RUN", "none/*.jpg"), ("none/*.jpg", "pattern")),
    (("RUN", "EMPTY"), ("no pictures in", ".jpg")),
    (("RUN", "ALBUM", "--out", "a.xlsx"), ("a.xlsx", ".parquet")),
    (("no-such-run", "ALBUM"), ("no-such-run", "resmasking_tiny-")),
    (("ALBUM", "ALBUM"), ("train.json", "export --folder")),
    (("ALBUM/notes.jpg", "ALBUM"), ("notes.jpg", "cannot be read as safetensors")),
    (("FOREIGN", "ALBUM"), ("foreign.safetensors", "not written by this project")),
    (("RUN", "ALBUM", "--device", "tpu"), ("tpu", "cuda")),
    (("RUN", "ALBUM/notes.jpg"), ("no picture is usable",)),
    (("RUN", "ALBUM", "--out", "FOLDER.csv"), ("folder.csv", "is a folder")),
    (("RUN", "ALBUM", "--out", "a.csv", "--out", "./a.csv"), ("named twice",)),
    (("RUN", "ALBUM", "--out", "/proc/none/a.csv"), ("/proc/none", "No such file")),
    (("RUN", "ALBUM", "--annotated", "ALBUM/notes.jpg"), ("notes.jpg", "File exists")),
    (("RUN", "ALBUM", "--frame", "cropped"), ("--frame cropped", "--faces find")),
    (("RUN", "ALBUM", "--faces", "find", "--frame", ""), ("--frame", "funnelled")),
])
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], words: tuple[str, ...], runs: list[Path], album: Path,
    tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.csv").mkdir()
    names = {"RUN": runs[0], "ALBUM": album, "EMPTY": tmp_path / "empty",
             "FOREIGN": tmp_path / "foreign.safetensors", "ALBUM/notes.jpg": album / "notes.jpg",
             "FOLDER.csv": tmp_path / "folder.csv"}
    done = predict(*(names.get(one, one) for one in arguments))
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and all(word in last for word in words), done.stderr
    if "usable" not in words[0]:
        said_in_one_line(done, *words)


def test_models_with_other_classes_are_no_ensemble(
    runs: list[Path], album: Path, tmp_path: Path
) -> None:
    from test_weights import tiny

    from fer.models.weights import save_weights

    save_weights(tiny("cbam_tiny", ("sad", "glad")), tmp_path / "two.safetensors")
    said_in_one_line(predict(runs[0], "--with", tmp_path / "two.safetensors", album),
                     "sad, glad", "negative, neutral, positive")


def test_an_annotated_picture_shows_the_answer(runs: list[Path], album: Path, tmp_path: Path
                                               ) -> None:
    done = predict(runs[0], album, "--annotated", tmp_path / "seen", "--out", tmp_path / "o.csv")
    assert done.returncode == 0, done.stderr
    made = sorted((tmp_path / "seen").iterdir())
    usable = [row for row in rows_of(tmp_path / "o.csv") if not row["reason"]]
    assert len(made) == len(usable)
    with Image.open(made[0]) as image:
        assert image.width == WIDTH and image.height > WIDTH
    one = fer.load(runs[0])(usable[0]["file"])
    path = annotate(one, tmp_path / "again")
    assert path is not None and path.name in {file.name for file in made}


def test_the_largest_face_is_found_and_aligned_as_data_align_does(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = detector.Face((30.0, 20.0, 90.0, 100.0), template("drawn", 120, 120) + 5, 0.9)
    monkeypatch.setattr(detector, "weights_file", lambda: tmp_path)
    monkeypatch.setattr(detector, "find_faces", lambda picture: [face] * int(picture.mean() > 50))
    pixels = np.random.default_rng(0).integers(0, 256, (120, 140, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels // 9).save(tmp_path / "b.png")
    done = predict(runs[0], tmp_path / "a.png", tmp_path / "b.png", "--faces", "find",
                   "--frame", "cropped")
    one, two = csv.DictReader(done.stdout.splitlines())
    assert two["reason"] == "no face found" and not one["reason"]
    expected = fer.load(runs[0])(align(pixels, face, frame_of_template("cropped")))
    assert float(one["confidence"]) == pytest.approx(expected.confidence, rel=1e-8)
    said_in_one_line(predict(runs[0], tmp_path / "a.png", "--faces", "seek"), "seek", "find")
    said_in_one_line(predict(runs[0], tmp_path / "a.png", "--faces", "find", "--frame", "no"),
                     "no frame 'no'", "funnelled")


def test_import_fer_stays_cheap() -> None:
    code = ("import sys, fer; fer.load; "
            "print(sorted({'torch', 'numpy', 'PIL', 'pydantic'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_reason_is_counted(runs: list[Path], album: Path) -> None:
    shutil.copy(album / "cut.jpg", album / "cut2.jpg")
    done = predict(runs[0], album)
    counted = Counter(row["reason"] for row in csv.DictReader(done.stdout.splitlines()))
    assert counted["truncated"] == 2 and "2 truncated" in done.stderr


def test_a_name_of_any_length_and_a_picture_that_vanishes_lose_no_row(
    runs: list[Path], album: Path, tmp_path: Path
) -> None:
    first = sorted(album.rglob("*.jpg"))[-1]
    long = first.rename(album / f"{'L' * 246}.jpg")
    found = fer.load(runs[0])(long)
    made = annotate(found, tmp_path / "seen")
    assert made is not None and made.is_file()
    long.unlink()
    assert annotate(found, tmp_path / "seen") is None


def test_one_picture_of_extreme_shape_has_a_reason(runs: list[Path], tmp_path: Path) -> None:
    Image.new("RGB", (100_000, 16)).save(tmp_path / "line.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "face.png")
    line, face = fer.load(runs[0]).predict([tmp_path / "line.png", tmp_path / "face.png"])
    assert "50 times" in line.reason and not face.reason


def test_an_opened_picture_has_the_answer_of_its_file(runs: list[Path], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (40, 48), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    turned = Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    model = fer.load(runs[0])
    for name in ("deep.png", "turned.jpg"):
        with Image.open(tmp_path / name) as image:
            assert model(image).probabilities == model(tmp_path / name).probabilities
    with pytest.raises(CallerError, match="accuracy 7"):
        fer.load(runs[0], accuracy=7)
    (one,) = model.predict(tmp_path / "deep.png")
    assert one.file == str(tmp_path / "deep.png")
