"""Bad input ends with one clear line that names the place, and loses nothing."""

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from conftest import launch, toy_arguments, write_toy_set
from PIL import Image
from test_resume import Start, numbers

Write = Callable[..., Path]
GRID = {"train_on": ["lfw"], "seed": [0]}


def said_in_one_line(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """Assert that a script ended with exit code 2 and one line with `words`; return the line."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: Path) -> Path:
    """A small data set of its own, to be spoilt by the test; returns its folder."""
    root = tmp_path / "own data"
    write_toy_set(root / "LFW-FER", "train", people=12)
    write_toy_set(root / "LFW-FER", "eval", people=4, first=50)
    monkeypatch.setenv("FER_DATA", str(root))
    return root / "LFW-FER"


@pytest.mark.parametrize(("change", "words"), [
    ({"set": {"optim.lrr": 1}}, ("optim.lrr", "valid keys", "weight_decay")),
    ({"set": {"backbone": "resnet9000"}}, ("resnet9000", "cbam_tiny")),
    ({"set": {"recipe": "magic"}}, ("magic", "lp_ft")),
    ({"grids": {}}, ("grids", "did you mean 'grid'")),
    ({"evaluate_on": ["lfw/evil"]}, ("lfw/evil", "lfw/eval")),
    ({"exclude": [{"seed": 0}]}, ("grid is empty",)),
    ({"schema": 7}, ("schema",)),
])
def test_a_mistake_in_a_study_is_one_line(
    change: dict[str, object], words: tuple[str, ...], places: Path, toy_study: Write
) -> None:
    study = toy_study(GRID)
    tree = yaml.safe_load(study.read_text())
    for key, value in change.items():
        tree[key] = {**tree["set"], **value} if key == "set" else value
    study.write_text(yaml.safe_dump(tree))
    said_in_one_line(launch("sweep", study, "--dry-run"), *words)


def test_a_duplicate_run_is_one_line_that_names_both(places: Path, toy_study: Write) -> None:
    study = toy_study({**GRID, "keep.every_minutes": [1, 2]})
    said_in_one_line(launch("sweep", study, "--dry-run"), "the same run as", "every_minutes=1")


def test_an_override_of_an_unknown_key_is_one_line(places: Path) -> None:
    said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments(optim__rate=1)),
                     "optim.rate", "drawn.yaml")


def test_a_cluster_that_is_not_there_is_one_line(places: Path, toy_study: Write) -> None:
    said_in_one_line(launch("sweep", toy_study(GRID), "--cluster", "jupiter"), "jupiter", "local")


def test_without_the_data_the_default_study_says_in_three_lines_what_to_bring(
    tmp_path: Path
) -> None:
    done = launch("sweep", FER_DATA=str(tmp_path / "none"), FER_HOME=str(tmp_path / "home"),
                  FER_CACHE=str(tmp_path / "cache"))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(lines) == 3, done.stderr
    assert "M-LFW-FER" in lines[0] and "REAL-FER" in lines[0]
    assert str(tmp_path / "none") in lines[1] and "demo.yaml" in lines[2]


def test_a_missing_data_folder_is_one_line(own_data: Path, toy_study: Write) -> None:
    said_in_one_line(launch("train", "configs/drawn.yaml", "data.drawn=null", "train_on=mine",
                            "data.sets.mine.folder=nowhere"), "nowhere")


def test_an_empty_class_folder_is_one_line(own_data: Path) -> None:
    shutil.rmtree(own_data / "train/negative")
    (own_data / "train/negative").mkdir()
    said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments()), "negative",
                     str(own_data / "train"))


def test_an_unknown_class_folder_is_one_line_with_the_known_ones(own_data: Path) -> None:
    shutil.copytree(own_data / "train/negative", own_data / "train/angry")
    said_in_one_line(launch("train", "configs/drawn.yaml", *toy_arguments()), "angry", "neutral")


def spoil(folder: Path) -> set[str]:
    """Put six bad pictures and a usable CMYK one into the training split; returns the bad."""
    good = sorted(folder.glob("train/neutral/*.jpg"))[0].read_bytes()
    whole = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(whole, "JPEG", quality=1)
    dot = io.BytesIO()
    Image.new("RGB", (1, 1)).save(dot, "JPEG")
    bad = {"Bad_Corrupt": b"\xff\xd8" + b"x" * 500, "Bad_Cut": good[:600], "Bad_Empty": b"",
           "Bad_Dot": dot.getvalue(), "Bad_Text": b"not a picture", "Bad_Huge": whole.getvalue()}
    for name, content in bad.items():
        (folder / "train/neutral" / f"{name}_0001.jpg").write_bytes(content)
    Image.open(io.BytesIO(good)).convert("CMYK").save(folder / "train/neutral/Good_Cmyk_0001.jpg")
    return set(bad)


def test_bad_pictures_are_left_out_with_reasons_and_counted_and_the_run_goes_on(
    own_data: Path, places: Path
) -> None:
    bad = spoil(own_data)
    done = launch("train", "configs/drawn.yaml", *toy_arguments(train__epochs=1))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (places / "runs").iterdir()
    quarantined = json.loads((run / "env.json").read_text())["quarantined"]
    names = {Path(entry["id"]).name.rsplit("_", 1)[0] for entry in quarantined}
    assert names == bad and all(entry["reason"] for entry in quarantined)
    assert "pictures left out" in done.stdout or "picture left out" in done.stdout


@pytest.mark.parametrize("content", ["schema: 0\n", "schema: 1\nfrom_the_future: 3\n"])
def test_a_run_folder_from_another_version_is_one_line_and_stays_as_it_is(
    content: str, places: Path, toy_study: Write
) -> None:
    study = toy_study(GRID, set={**yaml.safe_load(toy_study(GRID).read_text())["set"],
                                 "train.epochs": 1})
    (name,) = [line.split()[1] for line in launch("sweep", study, "--dry-run").stdout.splitlines()
               if line.startswith("train ")]
    folder = places / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(content)
    said_in_one_line(launch("sweep", study), name, "config.yaml")
    assert (folder / "config.yaml").read_text() == content


@pytest.mark.parametrize("arguments", [
    ("evaluate", "nothing-here", "--split", "lfw/eval"), ("status", "no-such-study"),
    ("report", "no-such-study"), ("train", "configs/none.yaml"), ("sweep", "sweeps/none.yaml"),
    ("sweep", "sweeps/demo.yaml", "sweeps/paper.yaml"), ("sweep", "configs/drawn.yaml"),
], ids=" ".join)
def test_a_name_that_is_not_there_is_one_line(arguments: tuple[str, ...], places: Path) -> None:
    said_in_one_line(launch(*arguments))


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path, places: Path) -> None:
    (tmp_path / "file").write_text("")
    done = launch("train", "configs/drawn.yaml", *toy_arguments(),
                  FER_HOME=str(tmp_path / "file" / "home"))
    said_in_one_line(done, str(tmp_path / "file"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 80 MB, where this user may mount one."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)],
                             capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs to mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Write until nothing more fits."""
    with open(disk / "filler", "wb", buffering=0) as handle, suppress(OSError):
        for size in (1 << 20, 1 << 10):
            with suppress(OSError):
                while handle.write(b"x" * size) == size:
                    pass


@pytest.mark.slow
def test_a_disk_that_fills_up_fails_the_run_in_one_line_and_loses_nothing(
    small_disk: Path, places: Path, tmp_path: Path, start: Start
) -> None:
    arguments = ["configs/drawn.yaml", *toy_arguments(
        train__epochs=25, keep__tensorboard="false", evaluate_on="[lfw/eval]")]
    process = start("train", *arguments, FER_HOME=str(small_disk))
    while not list(small_disk.glob("runs/*/checkpoints/step-*/manifest.json")):
        assert process.poll() is None
    fill(small_disk)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "No space left" in out and "nothing is lost" in out
    assert "Traceback" not in out
    assert list(small_disk.glob("runs/*/checkpoints/step-*/manifest.json"))
    (small_disk / "filler").unlink()
    assert launch("train", *arguments, FER_HOME=str(small_disk)).returncode == 0
    assert launch("train", *arguments, FER_HOME=str(tmp_path / "calm")).returncode == 0
    (ours,), (calm,) = (list((home / "runs").iterdir()) for home in (small_disk, tmp_path / "calm"))
    assert numbers(ours) == numbers(calm)


def test_a_full_cache_is_one_line_and_leaves_no_half_pack(small_disk: Path, places: Path) -> None:
    fill(small_disk)
    done = launch("train", "configs/drawn.yaml", *toy_arguments(), FER_CACHE=str(small_disk))
    said_in_one_line(done, "o space left on device")
    assert not list(small_disk.glob("packs/*/meta.json"))
    assert not list(small_disk.glob("packs/.*tmp*"))


def test_a_read_only_disk_is_one_line(small_disk: Path, places: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = launch("train", "configs/drawn.yaml", *toy_arguments(), FER_HOME=str(small_disk))
    said_in_one_line(done, str(small_disk), "Read-only")


def test_a_damaged_results_file_is_made_anew(places: Path, toy_study: Write) -> None:
    study = toy_study(GRID)
    assert launch("sweep", study).returncode == 0
    (result,) = places.glob("runs/*/results/lfw/eval.json")
    before = result.read_bytes()
    result.write_bytes(before[:40])
    assert launch("sweep", study).returncode == 0
    assert result.read_bytes() == before


def test_missing_weights_are_one_line_before_anything_is_submitted(
        places: Path, toy_study: Write) -> None:
    study = toy_study({"backbone": ["vgg19"], "recipe": ["lp_ft"]})
    said_in_one_line(launch("sweep", study, "--dry-run"), "vgg19.pth", "weights.py fetch")
    assert not (places / "runs").exists()


def test_a_typo_in_a_grid_names_the_study_and_the_cell(places: Path, toy_study: Write) -> None:
    study = toy_study({"optim.lrr": [0.1], "seed": [0]}, set={"backbone": "cbam_tiny"})  # drawn
    line = said_in_one_line(launch("sweep", study, "--dry-run"), "study 'toy' (optim.lrr=0.1",
                            "unknown key 'optim.lrr' (did you mean 'lr'?)")
    assert "drawn.yaml" not in line


def test_a_typo_in_evaluate_on_is_not_blamed_on_the_comparison_alone(
    places: Path, toy_study: Write
) -> None:
    study = toy_study({"seed": [0], "recipe": ["scratch", "lp_ft"]},
                      evaluate_on=["lfw/eval", "real/tset"], gap=None,
                      compare={"r": {"over": "recipe", "on": ["real/test"]}})
    said_in_one_line(launch("sweep", study, "--dry-run"), "compare.r.on: real/test is not in eval",
                     "which has: lfw/eval, real/tset; one of the two is wrong")
    study = toy_study({"seed": [0]}, evaluate_on=["real/tset"], gap=None)
    said_in_one_line(launch("sweep", study, "--dry-run"), "no split 'real/tset'; there are: ",
                     "real/test")


@pytest.mark.parametrize(("file", "command"), [
    ("sweeps/demo.yaml", "python launch/sweep.py sweeps/demo.yaml"),
    ("sweeps/demo-search.yaml", "python launch/tune.py sweeps/demo-search.yaml")])
@pytest.mark.parametrize("option", [[], ["--explain"], ["--debug"]])
def test_train_points_to_the_command_of_a_study(
    file: str, command: str, option: list[str]
) -> None:
    line = said_in_one_line(launch("train", file, *option), "not the configuration of one run",
                            command)
    assert "unknown key" not in line


def test_keys_of_a_block_change_the_block_that_the_base_names(tmp_path: Path) -> None:
    from fer.config.load import load_run

    file = tmp_path / "own.yaml"
    file.write_text("base: configs/drawn.yaml\nbackbone: {input_size: 64}\n")
    found, base = load_run(file), load_run("configs/drawn.yaml")
    assert found.backbone == base.backbone.model_copy(update={"input_size": 64})
    file.write_text("base: configs/drawn.yaml\nbackbone: {input_sizes: 64}\n")
    with pytest.raises(ValueError, match=r"own.yaml: unknown key 'backbone.input_sizes'"):
        load_run(file)
