"""`sweeps/laptop.yaml` on some pictures of one's own: works as it is, without drawings."""

from pathlib import Path

import pytest
from conftest import launch, write_toy_set
from test_mistakes import said_in_one_line


@pytest.fixture
def own(tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root that is empty; beside it `faces` and `worn`, folders of class folders."""
    write_toy_set(tmp_path / "faces", "", people=12)
    write_toy_set(tmp_path / "worn", "", people=4, mask=True, first=50)
    root = tmp_path / "own data"
    root.mkdir()
    monkeypatch.setenv("FER_DATA", str(root))
    return root


def test_without_data_it_says_what_to_add(own: Path) -> None:
    done = launch("sweep", "sweeps/laptop.yaml", "--dry-run")
    assert done.returncode == 2
    for command in ("data.py add FOLDER --as FACES --split train",
                    "data.py mask FACES --as M-FACES --landmarks cropped"):
        assert command in done.stderr


def test_a_study_of_own_pictures_runs_from_folders_to_a_report(
    own: Path, tmp_path: Path, places: Path
) -> None:
    for command in (("add", tmp_path / "faces", "--as", "FACES", "--split", "train"),
                    ("mask", "FACES", "--as", "M-FACES", "--landmarks", "cropped"),
                    ("add", tmp_path / "worn", "--as", "REAL-FER", "--split", "test")):
        done = launch("data", *command)
        assert done.returncode == 0, done.stderr
    done = launch("sweep", "sweeps/laptop.yaml", "--cluster", "local", "grid.seed=[0]",
                  "train.epochs=1", "keep.tensorboard=false")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (own / "drawn").exists()
    text = (places / "studies/laptop/report/report.md").read_text()
    assert "drawings" not in text.lower() and "real/test" in text
    trained = {path.name.rsplit("-", 2)[0] for path in (places / "runs").iterdir()}
    assert trained == {"resmasking_tiny-scratch-faces", "resmasking_tiny-scratch-masked",
                       "resmasking_tiny-lp_ft-masked"}  # the parent is a run of the study


def test_masks_on_pictures_unlike_lfws_need_to_know_where_the_face_is(
    own: Path, tmp_path: Path
) -> None:
    launch("data", "add", tmp_path / "faces", "--as", "FACES", "--split", "train")
    said_in_one_line(launch("data", "mask", "FACES", "--as", "M-FACES"), "--landmarks",
                     "64 x 64 pixels", "cropped", "detect")
