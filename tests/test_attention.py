"""Grad-CAM of the best models on twins: drawn by the engine, chosen without looking, embedded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import finished_study, launch
from PIL import Image
from simulated_study import SMALL, Simulated, build, simulate

from fer.atomic_io import write_json
from fer.config.load import load_run
from fer.models.classifier import Classifier
from fer.models.registry import build as build_model
from fer.train.grad_cam import last_map, look
from fer.untrusted_io import read_json

TINY = ["resmasking_tiny", "cbam_tiny"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> dict[str, str]:
    """Return the environment of a finished toy study with a gap between twins and real masks."""
    return finished_study(
        tmp_path_factory.mktemp("attention"), toy_data,
        {"train_on": ["lfw", "mlfw"], "seed": [0, 1]}, {"train.epochs": 1},
        evaluate_on=["mlfw/eval", "real/test"],
        gap={"synthetic": "mlfw/eval", "real": "real/test"})


@pytest.mark.slow
def test_the_best_run_of_each_training_set_is_drawn_and_embedded(drawn: dict[str, str]) -> None:
    home = Path(drawn["FER_HOME"])
    found = sorted(home.glob("runs/*/attention/index.json"))
    assert len(found) == 2
    for path in found:
        index = read_json(path)
        run = path.parents[1]
        scores = {other: read_json(other / "train.json")["best_score"]
                  for other in run.parent.glob(run.name.rsplit("-s", 1)[0] + "-s[0-9]-*")}
        assert scores[run] == max(scores.values()) and len(scores) == 2
        assert index["splits"] == ["lfw/eval", "mlfw/eval"] and len(index["looks"]) == 6
        assert {look["label"] for look in index["looks"]} == {"negative", "neutral", "positive"}
        for one in index["looks"]:
            assert Image.open(path.parent / one["file"]).size == (448, 112)
    page = (home / "studies/toy/report/index.html").read_text()
    assert page.count('width="448"') == 12 and "Attention maps" in page


@pytest.mark.slow
def test_faces_are_chosen_by_name_so_every_model_is_shown_on_the_same(
    drawn: dict[str, str]
) -> None:
    first, second = (read_json(path)["looks"] for path in
                     sorted(Path(drawn["FER_HOME"]).glob("runs/*/attention/index.json")))
    assert [one["sample_id"] for one in first] == [one["sample_id"] for one in second]


@pytest.mark.slow
def test_what_is_drawn_is_not_drawn_again(drawn: dict[str, str]) -> None:
    (path, *_) = sorted(Path(drawn["FER_HOME"]).glob("runs/*/attention/index.json"))
    before = path.stat().st_mtime_ns
    assert launch("report", "toy", "--attention", **drawn).returncode == 0
    assert path.stat().st_mtime_ns == before
    path.unlink()
    assert launch("report", "toy", "--attention", **drawn).returncode == 0
    assert path.is_file()


@pytest.mark.parametrize("name", TINY)
def test_every_tiny_backbone_has_maps_with_a_where(name: str) -> None:
    config = load_run("configs/drawn.yaml", {"backbone": name})
    model = build_model(config.backbone, ("a", "b", "c")).eval()
    images = torch.randint(0, 256, (2, 3, config.backbone.input_size, config.backbone.input_size),
                           dtype=torch.uint8)
    assert last_map(model, images[:1]) not in model.stages["head"]
    heat, answers = look(model, images)
    assert heat.shape == (2, *images.shape[-2:]) and heat.min() >= 0 and heat.max() <= 1
    with torch.inference_mode():
        assert answers == model(images).argmax(1).tolist()


class Corner(torch.nn.Module):
    """Answers by how bright a picture is: where it is bright is where the answer comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.Conv2d(3, 1, 1, bias=False)
        self.head = torch.nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.map.weight.fill_(1.0)
            self.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.map(images)).mean((2, 3)))  # type: ignore[no-any-return]


def test_the_map_is_where_the_answer_comes_from() -> None:
    backbone = load_run("configs/drawn.yaml", {"backbone": "cbam_tiny"}).backbone
    model = Classifier(Corner(), {"body": ["map"], "head": ["head"]}, backbone.model_copy(
        update={"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}), ("bright", "dark"))
    images = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    images[:, :, :10, :10] = 255
    heat, answers = look(model, images)
    assert model.classes[answers[0]] == "bright"
    assert heat[0, :9, :9].min() > 0.9 and heat[0, 20:, 20:].max() < 0.1


def test_a_damaged_drawing_is_left_out(tmp_path: Path) -> None:
    study = simulate(tmp_path, 1, sizes=SMALL)
    write_look(study, 0)
    write_look(study, 1)
    (study.runs[1].folder / "attention/00.jpg").unlink()
    said = build(study).said
    assert [one.run for one in said.attention] == [study.runs[0].run]
    assert replace(said.attention[0], looks=()).why == "the best"


def test_a_run_that_is_the_best_no_more_is_shown_no_more(tmp_path: Path) -> None:
    study = simulate(tmp_path, 1, sizes=SMALL)
    for number in range(3):
        write_look(study, number)
    names = [study.runs[2].run, study.runs[0].run]
    assert [one.run for one in build(study, best=names).said.attention] == names


def write_look(study: Simulated, number: int) -> None:
    folder = study.runs[number].folder / "attention"
    folder.mkdir()
    Image.fromarray(np.zeros((112, 448, 3), np.uint8)).save(folder / "00.jpg")
    write_json(folder / "index.json", {
        "schema": 1, "why": "the best", "splits": ["lfw/eval", "mlfw/eval"], "looks": [{
            "sample_id": "a", "label": "neutral", "unmasked": "neutral", "masked": "positive",
            "file": "00.jpg"}]})
