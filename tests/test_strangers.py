"""Bytes that somebody else wrote: one line and exit code 2, or damaged and the rest goes on."""

import bz2
import configparser
import csv
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, launch, write_toy_study
from fuzz.damage import TEXTS, changed_content
from fuzz.doors import Door, fuzzed
from fuzz.file_doors import file_doors
from fuzz.written_store import write_store
from hostile_store import files_of, problem_of, trained_store
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from rich.table import Table
from rich.text import Text
from safetensors.torch import save_file
from test_cluster_script import ARRAY, SITE
from test_mistakes import said_in_one_line

from fer.atomic_io import write_text
from fer.cluster.profile_files import load_profile
from fer.cluster.sbatch import array_script
from fer.config import paths
from fer.config.backbone import Backbone
from fer.config.profile import Profile
from fer.config.run import Data, DataSet, original_of
from fer.config.yaml_io import parse_yaml
from fer.console import Terminal
from fer.data.decode import decode, thumbnail
from fer.data.masks.landmarks import COLUMNS as LANDMARK_COLUMNS
from fer.data.masks.landmarks import read_landmarks
from fer.errors import CallerError
from fer.models import registry
from fer.models.weights import METADATA_KEY, describe_weights, load_model
from fer.plain_text import csv_text, one_line, shortened, spreadsheet_cell, without_controls
from fer.report.markdown import without_tags
from fer.study.run_records import Status, parse_status
from fer.untrusted_io import parse_json, read_json, record

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))


@pytest.mark.parametrize("text", [
    "1" * 5000, "!!bool x", "!!int 0b_", "!!timestamp 2026-99-99", "!!float x", "!!binary x",
    "!!python/object:os.system x", "!!str {a: 1}", "{[1]: 2}", "{{a: 1}: 2}", "? [a]\n: b",
    "{null: 1}", "{true: 1}", "&a [*a]", "&a {k: *a}", "a: &a {b: {c: *a}}", "a: {<<: {b: 1}}",
    "[" * 100_000, '{"a":' * 50_000, BOMB, "x" * 9_000_000, "\x1b[31m", "a: 1\na: 2", "*x",
    "---\na\n---\nb"])
def test_yaml_that_no_study_has_is_refused_in_one_line_and_at_once(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(CallerError) as error:
        parse_yaml(text, "study.yaml")
    assert time.process_time() - begin < 2
    assert str(error.value).startswith("study.yaml") and len(str(error.value)) < 500
    assert "\n" not in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize(("text", "value"), [
    ("2026-99-99", "2026-99-99"), ("0b_", "0b_"), ("a: &a {x: 1}\nb: *a", {"a": {"x": 1},
                                                                         "b": {"x": 1}}),
    ("[[1, 2], [1, 2]]", [[1, 2], [1, 2]]), ("", None), ("{1: a, b: 2}", {1: "a", "b": 2})])
def test_yaml_that_a_study_may_have_is_read(text: str, value: object) -> None:
    assert parse_yaml(text, "study.yaml") == value


def test_a_study_of_aliases_of_aliases_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMB)
    done = launch("sweep", tmp_path / "bomb.yaml", "--dry-run")
    assert "more than 200,000 values" in said_in_one_line(done)


def test_a_study_with_a_name_of_300_characters_is_one_line(places: Path, tmp_path: Path) -> None:
    path = write_toy_study(tmp_path, {"seed": [0]}, name="a" * 100)
    assert launch("sweep", path, "--dry-run").returncode == 0
    longer = tmp_path / "longer.yaml"
    longer.write_text(path.read_text().replace("a" * 100, "a" * 300))
    assert "100 characters" in said_in_one_line(launch("sweep", longer, "--dry-run"))


@pytest.mark.parametrize("text", [
    *(f"{key}: {name!r}" for key in ("base", "recipe", "backbone")
      for name in ("w" * 300, "w/" * 3000, "~nobody-of-this-name/x.yaml")),
    *(f"data: {{sets: {{lfw: {{folder: {name}}}}}}}"
      for name in ("'" + "9" * 5000 + "'", "'" + "a/" * 3000 + "'", r'"a\0b"')),
    r'base: "a\0b"', f"recipe: {{name: mine, init: {{labels: {'w' * 300}}}, phases: []}}",
])
def test_a_configuration_with_the_name_of_no_possible_file_is_one_line(
    text: str, tmp_path: Path
) -> None:
    base = "" if text.startswith("base") else f"base: {REPOSITORY / 'configs/drawn.yaml'}\n"
    (tmp_path / "run.yaml").write_text(f"{base}{text}\n")
    said_in_one_line(launch("train", tmp_path / "run.yaml", "--explain"))


@pytest.mark.parametrize("command", [
    ("sweep", "{}"), ("sweep", "sweeps/demo.yaml", "base={}"), ("sweep", "{}/{}.yaml"),
    ("status", "{}"), ("status", "--cluster", "{}"), ("report", "{}"), ("train", "{}"),
    ("tune", "{}"), ("evaluate", "{}", "--split", "lfw/eval"), ("predict", "{}", "{}"),
    ("weights", "convert", "{}", "{}", "--backbone", "cbam_tiny"), ("weights", "export", "{}"),
    ("data", "add", "{}"), ("data", "verify", "{}"), ("data", "sheet", "{}"),
    ("data", "mask", "{}", "--as", "X"), ("annotate", "label", "{}"), ("board", "{}"),
    ("doctor", "{}")])
def test_a_name_that_no_file_can_have_is_one_line(command: tuple[str, ...], places: Path) -> None:
    said_in_one_line(launch(*(word.format(*["w" * 4000] * 2) for word in command)))


@pytest.mark.parametrize(("change", "words"), [
    ({"lfw": {"folder": "9" * 5000}}, "too long"), ({"lfw": {"folder": "a\0b"}}, "NUL"),
    ({"lfw": {"folder": "\ud800"}}, "Unicode")])
def test_a_stored_study_whose_data_sets_cannot_be_is_one_line(
    change: dict[str, object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_store(tmp_path / "home")
    monkeypatch.setenv("FER_HOME", str(tmp_path / "home"))
    index = written.folder / "index.json"
    tree = json.loads(index.read_text())
    tree["data"]["sets"] = change
    index.write_text(json.dumps(tree))
    assert words in said_in_one_line(launch("report", written.folder.name))
    assert launch("status").returncode == 0


def test_data_without_the_set_of_a_run_are_refused() -> None:
    with pytest.raises(CallerError, match="no data set 'lfw'"):
        original_of("lfw", Data(sets={"other": DataSet(folder="LFW-FER")}))


@pytest.mark.parametrize("text", TEXTS)
def test_a_status_of_another_kind_is_pending(text: bytes, tmp_path: Path) -> None:
    assert parse_status(text.decode(errors="replace")) == Status()
    (tmp_path / "x").write_bytes(text)
    with pytest.raises(ValueError):
        record(Status, [read_json(tmp_path / "x")])


@pytest.mark.parametrize("change", [
    {"state": "flying"}, {"state": []}, {"step": "3"}, {"step": 2**60}, {"step": True},
    {"heartbeat": float("inf")}, {"heartbeat": float("nan")}, {"metric": "0.5"}, {"notes": "x"},
    {"notes": [1]}, {"error": None}, {"ended": 1}])
def test_a_status_with_a_value_of_another_type_is_pending(change: dict[str, object]) -> None:
    good = {"state": "running", "step": 3, "metric": None, "unknown": 1}
    assert parse_status(json.dumps(good)).step == 3
    assert parse_status(json.dumps(good | change)) == Status()


def test_a_fifo_is_damaged_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.jpg")
    with pytest.raises(OSError, match="not a regular file"):
        read_json(tmp_path / "f.jpg")
    assert decode(tmp_path / "f.jpg") == (None, "not a regular file")
    assert thumbnail(tmp_path / "f.jpg") is None
    with pytest.raises(CallerError, match="not a regular file"):
        load_model(tmp_path / "f.jpg")


def test_json_nested_too_deeply_is_a_value_error() -> None:
    for text in ("[" * 200_000, b'{"a":' * 200_000):
        with pytest.raises(ValueError, match="too deeply"):
            parse_json(text)


def test_a_file_named_jpg_starts_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.check_call", lambda *words, **_: started.append(words))
    monkeypatch.setattr("subprocess.run", lambda *words, **_: started.append(words))
    monkeypatch.setattr("subprocess.Popen", lambda *words, **_: started.append(words))
    eps = tmp_path / "a.jpg"
    eps.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n"
                    b"0 0 moveto 64 64 lineto stroke\nshowpage\n%%EOF\n")
    assert decode(eps) == (None, "not an image")
    assert thumbnail(eps) is None and not started


def test_a_thumbnail_has_a_bound_of_pixels(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")  # 50 kB
    assert thumbnail(tmp_path / "a.png") is None
    Image.new("L", (2_000, 2_000)).save(tmp_path / "b.png")
    assert thumbnail(tmp_path / "b.png") is not None


def odd_file(kind: str, path: Path) -> None:
    """Make something that is no file to read, or none that ends."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"zero": "/dev/zero", "loop": path.name}[kind])


@pytest.mark.parametrize("kind", ["FIFO", "folder", "zero", "loop"])
def test_what_is_no_file_is_one_line_wherever_a_file_is_read(
    kind: str, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "odd.yaml"
    odd_file(kind, odd)
    said_in_one_line(launch("sweep", odd, "--dry-run"))
    for name in ("pictures.csv", "dataset.json"):
        monkeypatch.setenv("FER_DATA", str(tmp_path / name))
        picture = tmp_path / name / "S/train/neutral/a.png"
        picture.parent.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(picture)
        odd_file(kind, tmp_path / name / "S" / name)
        said_in_one_line(launch("data", "verify", "S", "--out", tmp_path / "page.html"))
    odd_file(kind, tmp_path / "table.csv")
    said_in_one_line(launch("data", "add", tmp_path / "table.csv", "--as", "T"))


@pytest.mark.parametrize(("table", "words"), [
    ("file,identity\n" + "a" * 200_000 + ",b\n", "field larger than"),
    ("file,file,identity\na,b,c\n", "or two"), ("identity\nA\n", "no column 'file'")])
def test_a_pictures_table_that_is_none_is_one_line(
    table: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_DATA", str(tmp_path))
    (tmp_path / "S/train/neutral").mkdir(parents=True)
    (tmp_path / "S/pictures.csv").write_text(table)
    before = csv.field_size_limit(10**9)  # as scipy's reader of ARFF leaves it
    try:
        assert words in said_in_one_line(launch("data", "verify", "S"))
    finally:
        assert csv.field_size_limit(before) == 10**9  # others' bound is theirs


def test_a_cell_of_landmarks_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    table = tmp_path / "landmarks.csv"
    table.write_text(f"{','.join(LANDMARK_COLUMNS)}\n{'a' * 200_000}\n")
    with pytest.raises(CallerError, match=r"landmarks\.csv:1: field larger than"):
        read_landmarks(table)


def test_a_line_break_in_a_strangers_name_makes_no_second_line(places: Path) -> None:
    assert "x\\ny\\x1b[2J" in said_in_one_line(launch("data", "verify", "x\ny\x1b[2J"))


# --- archives and tables -----------------------------------------------------------------------


def refused_zip(file: Path) -> str:
    """Return the one line with which `data.py add` refuses a zip."""
    return said_in_one_line(launch("data", "add", file, "--as", "T"))


def picture(side: int = 32) -> bytes:
    """Return a PNG."""
    import io

    stream = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_many_members_that_unpack_to_much_are_refused(places: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(60):
            archive.writestr(f"train/negative/{number}.png", bytes(9_900_000))
    assert "unpacks to 594 MB" in refused_zip(tmp_path / "a.zip")


def test_members_that_share_their_bytes_are_refused(places: Path, tmp_path: Path) -> None:
    """The central directory lists one member a hundred times, under other names."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/negative/000.png", bytes(9_000_000))
    content = (tmp_path / "a.zip").read_bytes()
    start = struct.unpack("<I", content[-6:-2])[0]
    entry = content[start:-22]
    entries = b"".join(entry.replace(b"000.png", b"%03d.png" % number) for number in range(100))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 100, 100, len(entries), start, 0)
    (tmp_path / "b.zip").write_bytes(content[:start] + entries + end)
    refused_zip(tmp_path / "b.zip")


def test_damaged_bz2_and_offsets_that_lead_nowhere_are_one_line(places: Path, tmp_path: Path
                                                                ) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("train/negative/a.png", picture())
    content = (tmp_path / "a.zip").read_bytes()
    packed = bz2.compress(picture())[:8]
    assert packed in content
    (tmp_path / "b.zip").write_bytes(content.replace(packed, b"BZh9xxxx"))
    assert "is damaged" in refused_zip(tmp_path / "b.zip")
    start = struct.unpack("<I", content[-6:-2])[0]
    for offset in (2**31, 2**32 - 2, len(content) - 3, 5):
        wrong = bytearray(content)
        wrong[start + 42:start + 46] = struct.pack("<I", offset)
        (tmp_path / "c.zip").write_bytes(wrong)
        refused_zip(tmp_path / "c.zip")


def test_a_name_that_no_file_system_takes_is_one_line(places: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(f"train/negative/{'n' * 300}.png", picture())
    assert "over 240 bytes" in refused_zip(tmp_path / "a.zip")


@pytest.mark.parametrize("pixels", ["9" * 40, "9" * 5000, "1e9", "-1", "nan", "0x10"])
def test_pixels_that_are_none_are_one_line(pixels: str, places: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"emotion,pixels,Usage\n3,{pixels},Training\n")
    done = launch("data", "add", tmp_path / "a.csv", "--as", "T", "--labels", "fer2013")
    assert ":2: " in said_in_one_line(done)


# --- weights -----------------------------------------------------------------------------------


def weights(path: Path, tensors: int = 1, **options: object) -> Path:
    """Write a weights file that declares a `cbam_tiny` with some options."""
    about = {"version": 1, "backbone": {"name": "x", "arch": "cbam_tiny", "options": options},
             "classes": ["a", "b"], "extra": {}, "tensors": ""}
    save_file({f"t{number}": torch.zeros(1) for number in range(tensors)}, path,
              {METADATA_KEY: json.dumps(about)})
    return path


@pytest.mark.parametrize("options", [
    {"widths": [-1, 0, 3]}, {"blocks": [10_000_000, 1, 1]}, {"widths": [8] * 10_000},
    {"kernel": 0}, {"reduction": 0}, {"kernel": [1, 2]}, {"stem": True}, {"stem": 1e300},
    {"widths": [8, 8]}, {"other": 1}])
def test_weights_of_a_network_that_cannot_be_are_one_line(
    options: dict[str, object], tmp_path: Path
) -> None:
    begin = time.process_time()
    with pytest.raises(CallerError) as error:
        load_model(weights(tmp_path / "w.safetensors", **options))
    assert "\n" not in str(error.value) and time.process_time() - begin < 5


def test_a_header_of_more_tensors_than_a_network_has_is_refused(tmp_path: Path) -> None:
    header = json.dumps({f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                         for number in range(200_000)}).encode()
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    for read in (load_model, describe_weights):
        with pytest.raises(CallerError, match="more tensors than any network"):
            read(file)


def test_options_that_are_shipped_are_built() -> None:
    with torch.device("meta"):
        model = registry.build(Backbone(name="x", arch="resmasking_tiny", options={
            "widths": [8, 16], "blocks": [1, 2], "mask_depths": [0, 1]}), ("a", "b"))
    assert len(model.stages) > 2


# --- text for a terminal, a spreadsheet, a script, a page ----------------------------------------


@pytest.mark.parametrize("text", ["\x1b[2J", "\x1b]0;title\x07", "a\x9b31mb", "\u202eabc", "a\rb"])
def test_control_characters_are_visible(text: str) -> None:
    assert without_controls(text).isprintable() and without_controls(text) != text
    assert one_line(f"{text}\n{text}").isprintable()


def test_text_that_people_write_is_left_as_it_is() -> None:
    for text in ("", "négatif", "日本語", "a\tb\nc", "50 % [0.4, 0.6]", "−3 points"):
        assert without_controls(text) == text
    assert shortened("a" * 500).endswith("…") and len(shortened("a" * 500)) == 200


@pytest.mark.parametrize(("text", "cell"), [
    ("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@x", "'@x"), ("\tx", "'\tx"),
    ("-0.5", "-0.5"), ("+3", "+3"), ("-", "-"), ("a=b", "a=b"), ("", ""), ("1e-3", "1e-3")])
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert spreadsheet_cell(text) == cell
    (row,) = list(csv.reader(csv_text(["a", "n"], [(text, 1.5)]).splitlines()))[1:]
    assert row == [cell, "1.5"]
    (kept,) = list(csv.reader(csv_text(["a", "n"], [(text, 1.5)], exact=True).splitlines()))[1:]
    assert kept == [text, "1.5"]  # for tables that are read again


def test_markup_and_escape_sequences_are_text_in_a_terminal() -> None:
    import io

    out = io.StringIO()
    console = Terminal(file=out, width=60, force_terminal=True)
    table = Table("[bold]x[/nope]")
    table.add_row("\x1b[2J[red]y[/x]", Text("\x1b]0;title\x07", "bold"))
    console.print(table)
    console.print("[bold]x[/nope]", ":smile:", style="red")
    said = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # colours
    assert said.count("[bold]x[/nope]") == 2 and "[red]y" in said and ":smile:" in said
    assert "\x1b[2J" not in said and "\x1b]" not in said and "\\x1b[2J" in said


def test_names_have_no_tags_in_markdown() -> None:
    assert without_tags("<script>x</script> p < 0.05 <!-- a") == (
        "&lt;script>x&lt;/script> p < 0.05 &lt;!-- a")


@pytest.mark.parametrize("name", ["A=1; touch hacked; B", "A\ntouch hacked\nB", "1A", ""])
def test_a_variable_of_a_profile_has_the_name_of_one(name: str) -> None:
    with pytest.raises(ValueError, match="environment"):
        Profile.model_validate({"partition": "p", "environment": {name: "x"}})


@pytest.mark.parametrize("name", ["a/b", "", "a\nb", "\x1b[31m", "x" * 101])
def test_a_class_has_the_name_of_a_folder(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a class"):
        Data(sets={}, classes=("a", name))


def test_a_text_that_utf8_cannot_hold_is_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x\udc80")
    assert (tmp_path / "a").read_text() == "x\\udc80"


@pytest.mark.parametrize(("change", "folder"), [
    ({"partition": "a\ntouch hacked"}, "/shared"), ({"account": "a\rb"}, "/shared"),
    ({"reservation": "a\nb"}, "/shared"), ({"sbatch": {"mail-user": "a\nb"}}, "/shared"),
    ({"sbatch": {"a\nb": "c"}}, "/shared"), ({}, "/shared/a\nb"), ({}, "/shared/a\u2028b")])
def test_a_line_break_ends_no_comment_of_sbatch(change: dict[str, object], folder: str) -> None:
    profile = load_profile("gpu_partition")
    assert "#SBATCH" in array_script(ARRAY, Path("/shared"), "c", profile, SITE, {1: "7"})
    with pytest.raises(CallerError, match="line break or another control character"):
        array_script(ARRAY, Path(folder), "c", profile.model_copy(update=change), SITE, {1: "7"})


# --- an installation ------------------------------------------------------------------------------


def test_a_copy_without_configurations_says_how_to_install(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "fer", tmp_path / "copy/fer",
                    ignore=shutil.ignore_patterns("__pycache__"))
    for script in ("status", "sweep"):
        done = subprocess.run([sys.executable, REPOSITORY / f"launch/{script}.py", "x"],
                              env={**os.environ, "PYTHONPATH": str(tmp_path / "copy")},
                              capture_output=True, text=True)
        assert "pip install --editable ." in said_in_one_line(done)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("FER_CACHE", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(CallerError, match="set FER_CACHE to a folder"):
        paths.cache()
    monkeypatch.setenv("FER_CACHE", "/somewhere")
    assert paths.cache() == Path("/somewhere")


def test_the_constraints_are_a_full_set_that_the_requirements_allow() -> None:
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    extras = settings["options.extras_require"]
    wanted = [Requirement(line) for text in (settings["options"]["install_requires"],
                                             *map(extras.get, extras))
              for line in text.splitlines() if line and not line.startswith(("#", "%"))]
    pinned = {canonicalize_name(name): version for name, version in (
        line.strip().split("==") for line in (REPOSITORY / "constraints.txt").open()
        if not line.startswith("#"))}
    for one in wanted:
        assert one.specifier.contains(pinned[canonicalize_name(one.name)], prereleases=True), one


# --- a store ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(10))
def test_no_damaged_bytes_go_through_a_door(number: int, tmp_path: Path) -> None:
    """Three hundred inputs each; thousands by `python tests/fuzz_doors.py`."""
    door = file_doors(tmp_path)[number]
    for place, sample in enumerate(door.samples):
        (tmp_path / f"sample{place}").write_bytes(sample)
        door.read(tmp_path / f"sample{place}")  # whole, it is taken
    assert not list(fuzzed(door, tmp_path, 300, seed=0))


def test_an_error_that_a_door_does_not_document_is_a_finding(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        raise KeyError(path.name)

    door = Door("x", read, (b"abc",))
    assert all("KeyError" in line for line in fuzzed(door, tmp_path, 3, 0))
    assert len(list(fuzzed(door, tmp_path, 3, 0))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_no_file_of_a_store_ends_a_command_in_a_traceback(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty inputs each; thousands by `python tests/hostile_store.py`."""
    from hostile_store import fuzzed as fuzzed_commands

    for name in ("FER_HOME", "FER_DATA", "FER_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    study = trained_store(tmp_path)
    assert not [str(one) for one in fuzzed_commands(study, tmp_path / "home", 40, seed)]


def test_the_inputs_differ_and_reach_every_kind_of_file(tmp_path: Path) -> None:
    draw = random.Random(0)
    content = json.dumps({"a": [1, {"b": "c"}], "d": 1.5}).encode()
    assert len({changed_content(content, draw) for _ in range(200)}) > 50
    for name in ("a.json", "b/c.jsonl", "d.yaml", "e/lease", "f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    assert [path.name for path in files_of(tmp_path)] == ["a.json", "c.jsonl", "d.yaml", "lease"]


def test_a_traceback_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("x")

    monkeypatch.setattr("fer.commands.status.print_overview", lambda *_: broken())
    assert "KeyError" in problem_of(("status",), 60)
