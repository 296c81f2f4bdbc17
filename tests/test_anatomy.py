"""Before anything is submitted: does each recipe fit its backbone, and each weights file?"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, TOY, launch
from safetensors.torch import save_file
from test_mistakes import said_in_one_line

from fer.checksums import beside, check_beside, write_beside
from fer.config.blocks import load_backbone
from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.errors import CallerError
from fer.models.registry import build
from fer.models.weights import load_model, save_weights
from fer.study.expand import Run, identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import Store
from fer.study.starting_weights import files_of
from fer.train.run_tasks import Task, work
from fer.transfer import model_inspection as anatomy
from fer.untrusted_io import read_json

Write = Callable[..., Path]
CLASSES = ("negative", "neutral", "positive")
FROM_FILE = {**TOY, "recipe": "imagenet_full", "train.epochs": 1,
             "backbone.pretrained": {"source": "file", "file": "mine.safetensors"}}


def recipe(train: Any, **more: Any) -> dict[str, Any]:
    return {"name": "odd", "phases": [{"name": "all", "train": train}], **more}


@pytest.fixture
def weights(places: Path) -> Path:
    """A weights file of the tiny backbone; returns its path."""
    path = cache() / "weights" / "mine.safetensors"
    save_weights(build(load_backbone("resmasking_tiny"), CLASSES), path)
    return path


def planned() -> Run:
    """Plan one run from the file, as a launcher does."""
    (run,) = identify(load_run("configs/drawn.yaml", FROM_FILE), InputDigests(data_root(), cache()))
    anatomy.refuse_misfits([run.config], cache())
    return run


def flip(path: Path) -> None:
    """Change one bit of a weight; the file's header stays."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("extra", [["--dry-run"], []])
def test_a_stage_that_there_is_not_is_refused_before_anything_is_done(
    places: Path, toy_study: Write, extra: list[str]
) -> None:
    study = toy_study({"recipe": ["scratch", recipe(["stage9", "head"])]})
    said_in_one_line(launch("sweep", study, *extra), "backbone 'resmasking_tiny'", "recipe 'odd'",
                     "unknown stage 'stage9'", "stage3")
    assert not places.joinpath("runs").exists()


@pytest.mark.slow
def test_so_is_one_of_a_parent_of_a_search_and_of_the_doctors_study(
    places: Path, toy_study: Write, tmp_path: Path
) -> None:
    parent = recipe({"last": 17})
    child = recipe("all", init={"source": "run", "set": {"recipe": parent}})
    study = toy_study({"recipe": [{**child, "name": "child"}]})
    said_in_one_line(launch("sweep", study, "--dry-run"), "recipe 'odd'", "trains 17 stages")
    examined = launch("doctor", study, "--cluster", "local")
    assert examined.returncode == 1 and "trains 17 stages" in examined.stdout
    search = tmp_path / "search.yaml"
    settings = {key: value for key, value in TOY.items() if key != "recipe"}
    search.write_text(yaml.safe_dump({
        "schema": 1, "search": "odd", "base": str(REPOSITORY / "configs/drawn.yaml"),
        "set": settings, "space": {"recipe": {"choice": ["scratch", recipe(["stage9"])]}},
        "budget": {"trials": 8}}))
    said_in_one_line(launch("tune", search, "--cluster", "local"), "unknown stage 'stage9'")
    assert not places.joinpath("runs").exists()


def test_an_architecture_that_there_is_not_or_that_takes_no_such_pictures_is_refused(
    places: Path, toy_study: Write
) -> None:
    study = toy_study({"seed": [0]}, set={**TOY, "recipe": "scratch"})
    said_in_one_line(launch("sweep", study, "--dry-run", "backbone=pytorchcv/resnet34x"),
                     "resnet34x")
    said_in_one_line(launch("sweep", study, "--dry-run", "backbone=torchvision/vit_b_16",
                            "backbone.input_size=50"), "vit_b_16", "50 px")


def test_answers_are_kept_and_asked_for_again_when_the_file_has_changed(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = anatomy._ask
    monkeypatch.setattr(anatomy, "_ask", lambda questions: (asked.append(1), ask(questions))[1])
    assert planned() == planned() and len(asked) == 1
    save_weights(build(load_backbone("cbam_tiny"), CLASSES), weights)
    with pytest.raises(CallerError, match="weights of another architecture"):
        planned()
    assert len(asked) == 2


@pytest.mark.parametrize(("content", "said"), [
    (b"", "neither a torch checkpoint nor safetensors"), (None, "truncated")])
def test_an_empty_and_a_truncated_file_are_refused_while_planning(
    weights: Path, toy_study: Write, content: bytes | None, said: str
) -> None:
    weights.write_bytes(weights.read_bytes()[:5000] if content is None else content)
    study = toy_study({"seed": [0]}, set=FROM_FILE)
    said_in_one_line(launch("sweep", study, "--dry-run"), str(weights), said)


def test_a_changed_bit_is_noticed_while_planning_with_a_checksum_beside_and_without(
    weights: Path, toy_study: Write
) -> None:
    planned()
    flip(weights)
    study = toy_study({"seed": [0]}, set=FROM_FILE)
    said_in_one_line(launch("sweep", study, "--dry-run"), str(weights),
                     "its tensors have changed since it was written")
    flip(weights)  # back
    write_beside(weights, weights)
    planned()
    check_beside(weights)
    flip(weights)
    said_in_one_line(launch("sweep", study, "--dry-run"), str(weights), "content has changed",
                     beside(weights).name)
    with pytest.raises(CallerError, match="tensors have changed"):
        load_model(weights)


def test_a_file_that_changes_between_planning_and_the_job_is_not_trained_from(
    weights: Path,
) -> None:
    run = planned()
    folder = Store(home()).folder(run)
    folder.register(run, {})
    save_weights(build(load_backbone("resmasking_tiny"), CLASSES), weights)  # others, and whole
    assert work([Task(folder.path)]) == ["failed"]
    assert "its content has changed since the run was planned" in folder.status().error
    folder.reopen()
    again = planned()
    assert again.id != run.id
    folder = Store(home()).folder(again)
    folder.register(again, {})
    assert work([Task(folder.path)]) == ["done"]


def test_fetching_for_a_study_means_what_its_parents_and_teachers_start_from_too(
    places: Path, toy_study: Write
) -> None:
    teacher = {"backbone": "mobilenet_w1", "recipe": "lp_ft", "train_on": "lfw"}
    student = {"name": "student", "teacher": {"set": teacher}, "phases": [
        {"name": "all", "pair": {"how": "distill"}}]}
    study = toy_study({"recipe": [student]}, set={**TOY, "train_on": "mlfw",
                                                  "backbone.input_size": 224})
    assert list(files_of([str(study)])) == ["mobilenet_w1.pth"]
    scratch = toy_study({"seed": [0]}, set={**TOY, "recipe": "scratch", "backbone": "vgg19"})
    assert files_of([str(scratch)]) == {}
    assert "nothing to fetch" in launch("weights", "fetch", scratch).stdout


@pytest.mark.parametrize("how", ["distill", "joint"])
def test_a_student_starts_from_a_file_and_learns_from_a_run(weights: Path, how: str) -> None:
    pair = {"name": "pairs", "init": {"source": "pretrained"}, "phases": [
        {"name": "all", "pair": {"how": how}}]}
    if how == "distill":
        pair["teacher"] = {"set": {"recipe": "imagenet_full", "train_on": "lfw"}}
    config = load_run("configs/drawn.yaml", {**FROM_FILE, "recipe": pair, "train_on": "mlfw"})
    *teacher, student = identify(config, InputDigests(data_root(), cache()))
    assert len(teacher) == (how == "distill") and "init" not in config.parents
    for run in (*teacher, student):
        folder = Store(home()).folder(run)
        folder.register(run, {})
        assert work([Task(folder.path)]) == ["done"], folder.status().traceback
        assert any("starts from mine.safetensors" in note for note in folder.status().notes)


@pytest.mark.slow
def test_a_search_is_refused_for_a_file_that_only_an_ancestor_starts_from(
    weights: Path, tmp_path: Path
) -> None:
    weights.write_bytes(weights.read_bytes()[:5000])
    child = {"name": "child", "init": {"source": "run", "set": {"recipe": "imagenet_full"}},
             "phases": [{"name": "all"}]}
    settings = {**FROM_FILE, "recipe": child}
    search = tmp_path / "search.yaml"
    search.write_text(yaml.safe_dump({
        "schema": 1, "search": "heirs", "base": str(REPOSITORY / "configs/drawn.yaml"),
        "set": settings, "space": {"optim.lr": {"loguniform": [1e-4, 1e-2]}},
        "budget": {"trials": 2}}))
    done = launch("tune", search, "--cluster", "local")
    said_in_one_line(done, str(weights), "truncated")


def test_a_file_of_ones_own_is_not_overwritten_by_a_published_one(
    weights: Path, toy_study: Write
) -> None:
    study = toy_study({"seed": [0]}, set={**FROM_FILE, "backbone": "vgg19"})
    done = launch("weights", "fetch", study)
    assert done.returncode == 0 and "already present" in done.stdout
    weights.unlink()
    said_in_one_line(launch("weights", "fetch", study), "mine.safetensors", "is not published")


pinned = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split()
              if "==" in line)
with_pinned_networks = pytest.mark.skipif(
    any(version(name) != pinned[name] for name in anatomy.LIBRARIES),
    reason="anatomies in the repository are those of the networks' libraries in constraints.txt")


@with_pinned_networks
def test_the_list_says_which_files_are_there_empty_or_changed(places: Path) -> None:
    folder = cache() / "weights"
    folder.mkdir(parents=True)
    for name, content in (("vgg19.pth", b""), ("mobilenet_w1.pth", b"x"), ("resnet18.pth", b"x")):
        (folder / name).write_bytes(content)
    write_beside(folder / "mobilenet_w1.pth", folder / "vgg19.pth")
    said = launch("weights", "list", COLUMNS="200").stdout
    assert not (cache() / anatomy.RECORD).exists()  # so no process has imported torch
    for line in ("vgg19.pth empty", "mobilenet_w1.pth changed", "resnet18.pth there",
                 "cbam_resnet50.pth missing"):
        assert line in said


def test_the_results_in_the_repository_are_those_of_this_code(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change in fer/models: python -m fer.transfer.model_inspection."""
    monkeypatch.setattr(anatomy, "_version", lambda _: pinned["pytorchcv"])  # when they were made
    assert anatomy.shipped_record() == read_json(anatomy.SHIPPED)


@with_pinned_networks
def test_a_shipped_backbone_is_planned_without_torch_until_its_code_changes(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = anatomy._ask
    monkeypatch.setattr(anatomy, "_ask", lambda questions: (asked.append(1), ask(questions))[1])
    config = load_run("configs/drawn.yaml", {**TOY, "recipe": "scratch"})
    (shipped,) = anatomy.anatomies([config], cache())
    assert not asked
    monkeypatch.setattr(anatomy, "_code", lambda: "changed")
    assert anatomy.anatomies([config], cache()) == [shipped] and asked == [1]
    wider = load_run("configs/drawn.yaml", {**TOY, "recipe": "scratch",
                                            "data.classes": ["negative", "neutral"]})
    assert anatomy.anatomies([wider], cache())[0]["parameters"] < shipped["parameters"]


@pytest.mark.parametrize(("backbone", "size", "said"), [
    ("resattnet56", 100, "does not support images of 100 px"),
    ("resmasking_dropout1", 112, "multiples of 32"),
    ("pytorchcv/resnet20_cifar10", 32, "cannot have 3 classes")])
def test_pictures_and_classes_that_a_network_does_not_take_are_one_line(
    places: Path, backbone: str, size: int, said: str
) -> None:
    config = load_run("configs/drawn.yaml", {**TOY, "recipe": "scratch", "backbone": backbone,
                                             "backbone.input_size": size})
    with pytest.raises(CallerError, match=said):
        anatomy.refuse_misfits([config], cache())


def test_the_log_has_every_key_that_was_not_loaded(places: Path) -> None:
    path = cache() / "weights" / "mine.safetensors"
    path.parent.mkdir(parents=True)
    smaller = build(load_backbone("resmasking_tiny"), CLASSES)
    state = smaller.net.state_dict()
    dropped = [key for key in state if key.endswith("bn1.running_mean")]
    assert len(dropped) > 3
    save_file({key: tensor.contiguous() for key, tensor in state.items() if key not in dropped},
              path)
    run = planned()
    folder = Store(home()).folder(run)
    folder.register(run, {})
    assert work([Task(folder.path)]) == ["done"]
    at = next(number for number, line in enumerate(folder.status().notes)
              if "starts from mine.safetensors: matched" in line)
    note = folder.status().notes[at + 1]
    assert f"{len(dropped)} missing" in note and dropped[-1] not in note
    assert all(key in (folder.path / "logs/train.log").read_text() for key in dropped)
