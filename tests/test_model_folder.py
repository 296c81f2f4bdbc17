"""`launch/weights.py export RUN --folder DIR`: a folder to publish, that says what the model is."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import launch
from test_mistakes import said_in_one_line

import fer
from fer.config.load import load_run
from fer.config.run import DataSet
from fer.errors import CallerError
from fer.evaluate.predictions import read_predictions
from fer.inference.model_card import DRAWN, KNOWN_LICENCES, UNKNOWN, CardFacts, model_card
from fer.inference.model_folder import without_places
from fer.inference.picture_files import find_pictures
from fer.study.run_folder import RunFolder
from fer.untrusted_io import read_json

FILES = {"README.md", "config.yaml", "example.py", "model.safetensors", "preprocessing.json"}


@pytest.fixture
def run(two_seeds: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    for name, value in two_seeds.items():
        monkeypatch.setenv(name, value)
    (path,) = (Path(two_seeds["FER_HOME"]) / "runs").glob("*-s0-*")
    return RunFolder(path)


@pytest.fixture
def folder(run: RunFolder, tmp_path: Path) -> Path:
    done = launch("weights", "export", run.name, "--folder", tmp_path / "my model",
                  "--data-licence", "real=CC-BY 4.0", "--licence", "mit")
    assert done.returncode == 0, done.stderr
    return tmp_path / "my model"


def test_the_folder_is_a_model_with_the_runs_own_answers(
    run: RunFolder, folder: Path, two_seeds: dict[str, str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    monkeypatch.setenv("FER_HOME", str(tmp_path / "elsewhere"))
    shutil.move(folder, tmp_path / "moved")
    model, own = fer.load(tmp_path / "moved"), fer.load(run.path)
    assert model.names == own.names and model.calibration == own.calibration
    pictures = find_pictures([f"{two_seeds['FER_DATA']}/REAL-FER/test"])
    answers = list(model.predict(pictures))
    assert answers == list(own.predict(pictures))
    monkeypatch.setattr(sys, "argv", ["example.py", pictures[0]])
    runpy.run_path(str(tmp_path / "moved/example.py"), run_name="__main__")
    assert answers[0].answer in capsys.readouterr().out


def test_a_run_that_starts_from_the_folder_has_its_logits(run: RunFolder, folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["backbone"]["pretrained"] = {"source": "file",
                                        "file": str(folder / "model.safetensors")}
    config["recipe"] = {"name": "still", "init": {"source": "pretrained", "keep_head": True},
                        "phases": [{"name": "none", "train": ["head"], "batch_norm": "frozen",
                                    "epochs": 1, "lr": 1e-30}]}
    config["optim"]["weight_decay"] = 0.0
    config["parents"], config["evaluate_on"] = {}, ["real/test"]
    config.pop("inputs")
    file = folder / "next.yaml"
    file.write_text(yaml.safe_dump(config))
    done = launch("train", file)
    assert done.returncode == 0, done.stderr
    (made,) = run.path.parent.glob("*-still-*")
    table = read_predictions(RunFolder(made).predictions("real/test"))
    np.testing.assert_array_equal(table.logits, read_predictions(
        run.predictions("real/test")).logits)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fer.load(made).logits(pixels), fer.load(folder).logits(pixels))
    shutil.rmtree(made)


def test_the_card_has_every_score_digest_and_licence(run: RunFolder, folder: Path) -> None:
    front, body = card_parts((folder / "README.md").read_text())
    assert front["license"] == "mit" and front["pipeline_tag"] == "image-classification"
    (index,) = front["model-index"]
    found = {one["dataset"]["name"]: one for one in index["results"]}
    assert set(found) == {"lfw/eval", "real/test"} and index["name"] == run.name
    for split, one in found.items():
        result = read_json(run.result(split))
        assert one["dataset"]["revision"] == result["digest"]
        values = {metric["type"]: metric["value"] for metric in one["metrics"]}
        assert values == {"recall": round(result["uar"], 4), "f1": round(result["macro_f1"], 4),
                          "accuracy": round(result["accuracy"], 4)}
        (row,) = re.findall(rf"^\| `{split}` \| (\d+) \|.*?\| ([\d.]+) \[([\d.]+), ([\d.]+)\]",
                            body, re.MULTILINE)
        n, uar, low, high = map(float, row)
        assert n == result["n"] and uar == round(result["uar"], 3) and low <= uar <= high > low
    assert run.config.inputs is not None
    for name, digest in run.config.inputs.digests.items():
        assert f"| `{name}` | `{digest}` |" in body
    assert "| `real` | CC-BY 4.0 |" in body
    assert f"| `lfw` | {KNOWN_LICENCES['LFW-FER']} |" in body
    for head in ("Use", "Preprocessing", "Training", "Results", "Calibration", "Intended use",
                 "Not intended use", "Known limits", "Licences", "How to cite"):
        assert f"\n## {head}\n" in body
    assert "`real/test` has 24 pictures only" in body
    assert re.search(r"pictures of the person: \d", body) or "### Subgroups" not in body


def card_parts(text: str) -> tuple[dict, str]:
    """Return front matter and body, as the hub divides them."""
    _, front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), body


def test_a_card_without_tests_calibration_or_environment_says_so() -> None:
    config = load_run("configs/drawn.yaml", {"recipe": "scratch", "train_on": "lfw"})
    config = config.model_copy(update={"data": config.data.model_copy(update={
        "sets": {**config.data.sets, "mine": DataSet(folder="mine")}}), "train_on": "lfw+mine",
        "evaluate_on": ()})
    front, body = card_parts(model_card(CardFacts(
        "a-run", "0123456789", config, [], None, {}, 5, "other", {})))
    assert "model-index" not in front and front["license_name"]
    assert "not evaluated on any test set" in body and "Not calibrated" in body
    assert f"| `lfw` | {DRAWN} |" in body and f"| `mine` | {UNKNOWN} |" in body
    assert "drawings made by code" in body


def test_a_published_configuration_names_no_folder_of_this_machine() -> None:
    config = load_run("configs/drawn.yaml", {
        "recipe": "lp_ft", "data.sets.real.folder": "/home/somebody/secret/MY-FER"})
    assert config.parents
    published = without_places(config)
    assert "/home/somebody" not in published.model_dump_json()
    assert published.data.sets["real"].folder == "MY-FER"
    assert published.data.sets["lfw"] == config.data.sets["lfw"]


@pytest.mark.parametrize(("arguments", "words"), [
    (("RUN",), ("--folder",)),
    (("RUN", "a.pt2", "--folder", "b"), ("--folder",)),
    (("RUN", "--folder", "FULL"), ("full", "exists")),
    (("RUN", "--folder", "new", "--data-licence", "nobody=x"), ("nobody", "real")),
    (("RUN", "--folder", "new", "--data-licence", "real"), ("SET=LICENCE",)),
    (("FULL/file", "--folder", "new"), ("name a run",)),
    (("none-*", "--folder", "new"), ("none-*",)),
])
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], words: tuple[str, ...], run: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    names = {"RUN": run.name, "FULL": tmp_path / "full", "FULL/file": tmp_path / "full/file",
             "new": tmp_path / "new"}
    said_in_one_line(launch("weights", "export", *(names.get(one, one) for one in arguments)),
                     *words)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "x", "precision": "float32", '
                                     '"calibration": {"temperature": "warm"}}'])
def test_a_damaged_folder_is_one_line(content: str, folder: Path) -> None:
    (folder / "preprocessing.json").write_text(content)
    with pytest.raises(CallerError, match=r"preprocessing.json"):
        fer.load(folder)


def test_a_folder_whose_weights_have_changed_is_refused(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CallerError, match="changed since it was written"):
        fer.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CallerError, match=r"model.safetensors"):
        fer.load(folder)


def test_another_accuracy_than_the_folders_own_is_refused(folder: Path) -> None:
    assert fer.load(folder, accuracy=0.9).calibration
    with pytest.raises(CallerError, match="export it again"):
        fer.load(folder, accuracy=0.5)
