"""Second rounds, merged labels, the table that `data.py add` takes, and pictures known already."""

import csv
from pathlib import Path

import numpy as np
import pytest
from annotation import label_all, started, write_pictures
from commands import launch
from conftest import CLASSES, TOY
from picture_sets import smooth
from PIL import Image
from simulated_study import make_study

from fer.annotate.known_pictures import known_pictures
from fer.annotate.label_log import NOT_A_FACE
from fer.annotate.merging import NO_FACE, NOTHING, TIED, merge
from fer.annotate.project import Project
from fer.annotate.votes import contested, most_named, votes_of
from fer.atomic_io import write_yaml
from fer.config.load import dump, load_run
from fer.data.faces import detector
from fer.data.layout import Picture, scan
from fer.data.metadata import read_facts
from fer.errors import CallerError
from fer.evaluate.label_errors import find_label_errors
from fer.evaluate.predictions import (
    Predictions,
    predictions_path,
    read_predictions,
    write_predictions,
)
from fer.study.out_of_sample import out_of_sample
from fer.study.run_folder import Store
from fer.study.study_folder import Entry, StudyFolder


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Nine pictures of three people: all agree on six, and differ on three."""
    made = started(write_pictures(tmp_path / "faces", 9, people=3), repeated=0.2)
    labels = {name: CLASSES[at % 3] for at, name in enumerate(made.pictures)}
    first, second, third = made.pictures[:3]
    label_all(made, "ada", labels, mask_type="cloth", pose="left", tags=("a",))
    label_all(made, "ben", {**labels, first: "positive", third: "cant_tell"}, mask_type="cloth")
    label_all(made, "cleo", {**labels, first: "neutral", second: NOT_A_FACE}, mask_type="other")
    return made


def test_votes_are_merged_and_what_is_tied_or_no_face_is_left_out(project: Project) -> None:
    votes = votes_of(project)
    assert votes.annotators == ("ada", "ben", "cleo") and len(votes.pictures) == 9
    assert contested(votes) == list(project.pictures[:3])
    found = merge(votes, "majority")
    assert found.labels[:3] == (TIED, "neutral", "positive")
    assert found.certainty[0] == pytest.approx(1 / 3) and found.certainty[1] == pytest.approx(2 / 3)
    posterior = merge(votes, "dawid-skene")
    assert posterior.labels[3:] == found.labels[3:] and min(posterior.certainty[3:]) > 0.8
    assert all(len(votes.repeated[name]) == 2 for name in votes.annotators)
    assert most_named(["a", "", "a", "b"]) == "a" and most_named(["a", "b"]) == most_named([]) == ""


def test_pictures_that_are_no_face_or_that_nobody_can_tell_have_no_label(tmp_path: Path) -> None:
    made = started(write_pictures(tmp_path / "faces", 3), repeated=0.0)
    for name in ("ada", "ben"):
        label_all(made, name, dict(zip(made.pictures, ("cant_tell", NOT_A_FACE, "neutral"),
                                       strict=True)))
    for method in ("majority", "dawid-skene"):
        assert merge(votes_of(made), method).labels == (  # type: ignore[arg-type]
            NOTHING, NO_FACE, "neutral")


def test_a_second_round_has_the_contested_pictures_only_and_its_labels_count(project: Project
                                                                             ) -> None:
    done = launch("annotate", "review", project.folder)
    assert done.returncode == 0 and "round 2: 3 pictures" in done.stdout
    one = project.round()
    assert one.name == "2" and one.pictures == project.pictures[:3]
    truth = {name: CLASSES[at % 3] for at, name in enumerate(project.pictures)}
    for name in ("ada", "ben", "cleo"):
        label_all(project, name, truth, one)
    assert contested(votes_of(project)) == []
    assert contested(votes_of(project, first=True)) == list(project.pictures[:3])
    done = launch("annotate", "review", project.folder)
    assert done.returncode == 2 and "no contested pictures" in done.stderr
    told = launch("annotate", "agreement", project.folder).stdout
    assert "0 pictures contested" in told and "Cohen's kappa of ada, cleo" in told
    assert "1.00" in launch("annotate", "agreement", project.folder, "--round", "2").stdout


def test_a_listed_review_takes_pictures_of_the_folder_only(
    project: Project, tmp_path: Path
) -> None:
    table = tmp_path / "list.csv"
    for text, message in (("name\nx.jpg\n", "no column 'file'"), ("file\nx.jpg\n", "no picture"),
                          ("file\n../list.csv\n", "no picture"), ("", "no rows")):
        table.write_text(text)
        done = launch("annotate", "review", project.folder, "--list", table)
        assert done.returncode == 2 and message in done.stderr
    table.write_text(f"file,why\n{project.pictures[4]},x\n")
    assert launch("annotate", "review", project.folder, "--list", table).returncode == 0
    assert project.round().pictures == (project.pictures[4],)


@pytest.mark.parametrize("method", ["majority", "dawid-skene"])
def test_the_table_is_added_with_annotators_people_and_masks(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("FER_DATA", str(tmp_path / "data"))
    table = tmp_path / "out" / "labels.csv"
    done = launch("annotate", "export", project.folder, "--to", table, "--merge", method,
                  "--people", "folder", "--split", "test")
    assert done.returncode == 0, done.stderr
    written = rows(table)
    assert len(written) == (8 if method == "majority" else 9)
    assert all((table.parent / row["file"]).is_file() for row in written)
    assert ("tied picture" in done.stderr) == (method == "majority")
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep/er")
    linked = tmp_path / "link/labels.csv"
    assert launch("annotate", "export", project.folder, "--to", linked).returncode == 0
    assert all((linked.resolve().parent / row["file"]).is_file() for row in rows(linked))
    done = launch("data", "add", table, "--as", "REAL-FER")
    assert done.returncode == 0, done.stderr
    found = scan("real", tmp_path / "data/REAL-FER", CLASSES)["test"]
    assert {picture.identity for picture in found} == {"p0", "p1", "p2"}
    facts = read_facts(tmp_path / "data/REAL-FER")
    row = next(row for row in written if row["file"].endswith(project.pictures[3]))
    told = next(facts[one.relative] for one in found
                if one.path.name == Path(project.pictures[3]).name)
    assert (told.mask_type, told.pose, told.annotator) == ("cloth", "left", "ada+ben+cleo")
    assert dict(told.more)["annotations"] == row["annotations"] == ";".join(
        f"{name}={row['label']}" for name in ("ada", "ben", "cleo"))
    assert dict(told.more)["tags"] == "a" and 0 < float(dict(told.more)["certainty"]) <= 1


def test_boxes_are_exported_kept_by_add_and_taken_by_align(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(detector, "is_available", lambda: False)
    made = started(write_pictures(tmp_path / "faces", 3), boxes=True)
    labels = dict.fromkeys(made.pictures, "neutral")
    drawn = {"ada": (2, 2, 22, 32), "ben": (25, 20, 38, 38), "cleo": (3, 2, 22, 32),
             "dan": (3, 2, 22, 33)}  # ben drew it around another face
    for name, box in drawn.items():
        label_all(made, name, labels, box=box)
    table = tmp_path / "my labels.csv"
    done = launch("annotate", "export", made.folder, "--to", table)
    assert done.returncode == 0
    assert f"next: python launch/data.py add '{table}' --as REAL-FER" in done.stdout
    edges = ("left", "top", "right", "bottom")
    for row in rows(table):
        assert [row[edge] for edge in edges] == ["3.0", "2.0", "22.0", "32.0"]
    done = launch("data", "align", made.folder, "--boxes", table, "--out", tmp_path / "aligned",
                  "--least", 10)
    assert done.returncode == 0 and "3 of 3 pictures aligned" in done.stdout, done.stderr
    assert launch("data", "add", table, "--as", "REAL-FER", "--split", "test").returncode == 0
    done = launch("data", "align", "REAL-FER", "--as", "CUT", "--least", 10,
                  "--boxes", tmp_path / "data/REAL-FER/pictures.csv")
    assert done.returncode == 0 and "3 of 3 pictures aligned" in done.stdout, done.stderr
    facts = read_facts(tmp_path / "data/CUT")
    assert len(facts) == 3
    for one in facts.values():  # the annotators are kept, the box is not: the picture is another
        assert "ada=neutral" in dict(one.more)["annotations"] and "left" not in dict(one.more)


def test_pictures_and_people_of_a_training_set_are_flagged(tmp_path: Path) -> None:
    known = []
    for number, person in enumerate(("Ada_Byron", "Emmy_Noether", "Marie_Curie")):
        path = tmp_path / f"{person}_0001.jpg"
        smooth(number, 96).save(path, quality=95)
        known.append(Picture("lfw", "train", f"train/neutral/{path.name}", path, 1, person))
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "New_Person_0001.jpg").write_bytes(known[0].path.read_bytes())
    with Image.open(known[1].path) as image:
        image.resize((64, 64)).save(folder / "Other_Person_0001.jpg", quality=80)
    for number, file in enumerate(("Marie_Curie_0007.jpg", "Wholly_New_0001.jpg")):
        smooth(10 + number, 64).save(folder / file)
    (folder / "Broken_One_0001.jpg").write_bytes(b"x")
    found = known_pictures(folder, sorted(path.name for path in folder.iterdir()), known)
    assert found == {
        "New_Person_0001.jpg": f"equal to {known[0].id}",
        "Other_Person_0001.jpg": f"alike to {known[1].id}",
        "Marie_Curie_0007.jpg": "Marie_Curie is the name of a person of lfw/train"}


def test_the_export_names_known_pictures(tmp_path: Path, toy_data: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_DATA", str(toy_data))
    known = scan("lfw", toy_data / "LFW-FER", CLASSES)["train"]
    folder = write_pictures(tmp_path / "faces", 2)
    (folder / "copy.jpg").write_bytes(known[0].path.read_bytes())
    made = started(folder, repeated=0.0)
    label_all(made, "ada", dict.fromkeys(made.pictures, "neutral"))
    done = launch("annotate", "export", folder, "--to", tmp_path / "labels.csv", "--known",
                  "LFW-FER")
    assert done.returncode == 0 and "KNOWN copy.jpg: equal to lfw/train" in done.stdout
    assert [row["file"] for row in rows(folder / "annotations/known.csv")] == ["copy.jpg"]
    done = launch("annotate", "export", folder, "--to", tmp_path / "labels.csv", "--known", "NO")
    assert done.returncode == 2 and "no data set 'NO'" in done.stderr


def simulated(tmp_path: Path, truth: np.ndarray, given: np.ndarray, split: str,
              trained_on: str) -> tuple[StudyFolder, Store]:
    """Return a study of two trained runs whose predictions on a split are simulated."""
    store = Store(tmp_path / "home")
    config = load_run("configs/drawn.yaml", {**TOY, "train_on": trained_on})
    entries = []
    for seed in range(2):
        folder = store.runs / f"run-{seed}00000000"
        folder.mkdir(parents=True)
        write_yaml(folder / "config.yaml", dump(config))
        (folder / "train.json").write_text("{}")
        noise = np.random.default_rng(seed).normal(size=(len(truth), 3))
        write_predictions(predictions_path(folder, split), Predictions(
            [f"{split}/{CLASSES[label]}/{at:04d}.jpg" for at, label in enumerate(given)],
            [""] * len(truth), given, (2.5 * np.eye(3)[truth] + 1.5 * noise).astype(np.float32),
            CLASSES))
        entries.append(Entry(folder.name, folder.name[-10:], "c", "b", "r", trained_on, seed, {},
                             True, []))
    return StudyFolder(store.study("s"), make_study(), config.data, entries), store


def test_planted_label_errors_lead_the_list_that_a_study_s_runs_make(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth = rng.choice(3, 600, p=[0.12, 0.36, 0.52])
    given, planted = truth.copy(), rng.choice(600, 30, replace=False)
    given[planted] = (given[planted] + rng.integers(1, 3, 30)) % 3
    found = out_of_sample(*simulated(tmp_path, truth, given, "real/test", "lfw"), "real/test")
    assert found.runs == 2 and np.allclose(found.probabilities.sum(axis=1), 1)
    wrong = {f"{at:04d}" for at in planted}
    ranked = find_label_errors(found.labels, found.probabilities)
    top = [found.sample_ids[at][-8:-4] for at in ranked.order[:60]]
    assert len(wrong & set(top)) >= 15


@pytest.mark.parametrize(("split", "trained_on", "refused"), [
    ("lfw/train", "lfw", True), ("lfw/train", "mlfw", True), ("lfw/train", "lfw+mlfw", True),
    ("lfw/train", "people", False), ("lfw/val", "lfw", False), ("lfw/eval", "lfw", False)])
def test_predictions_of_models_that_saw_the_labels_find_no_errors(
    tmp_path: Path, split: str, trained_on: str, refused: bool
) -> None:
    labels = np.arange(9) % 3
    study, store = simulated(tmp_path, labels, labels, split, trained_on)
    if not refused:
        assert out_of_sample(study, store, split).runs == 2
        return
    with pytest.raises(CallerError, match="2 of its runs were trained on it"):
        out_of_sample(study, store, split)


def test_each_fold_finds_the_label_errors_of_its_own_people(tmp_path: Path) -> None:
    labels = np.arange(12) % 3
    study, store = simulated(tmp_path, labels, labels, "lfw/train", "lfw")
    for fold, entry in enumerate(study.entries):
        folder = store.runs / entry.run
        config = load_run("configs/drawn.yaml", {**TOY, "train_on": "lfw", "train.folds": 2,
                                                 "train.fold": fold})
        write_yaml(folder / "config.yaml", dump(config))
        seen = read_predictions(predictions_path(folder, "lfw/train"))
        mine = np.arange(12) % 2 == fold
        write_predictions(predictions_path(folder, "lfw/val"), Predictions(
            [name for name, own in zip(seen.sample_ids, mine, strict=True) if own], [""] * 6,
            labels[mine], np.full((6, 3), fold, np.float32) + np.eye(3, dtype=np.float32)[0],
            CLASSES))
    found = out_of_sample(study, store, "lfw/train")
    assert found.runs == 2 and len(found.sample_ids) == 12
    assert np.allclose(found.probabilities, found.probabilities[0])  # none of what was seen


def test_a_study_without_predictions_says_how_to_make_them(tmp_path: Path) -> None:
    labels = np.arange(9) % 3
    study, store = simulated(tmp_path, labels, labels, "real/test", "lfw")
    with pytest.raises(CallerError, match=r"evaluate\.py --study s --split lfw/eval"):
        out_of_sample(study, store, "lfw/eval")
    predictions_path(store.runs / study.entries[0].run, "real/test").write_bytes(b"x")
    assert out_of_sample(study, store, "real/test").runs == 1
