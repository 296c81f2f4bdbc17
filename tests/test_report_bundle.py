"""A bundle has all that another site needs, is compared run by run, and may be hostile."""

import hashlib
import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import launch
from simulated_study import SMALL, Simulated, make_study, simulate, write_run
from test_mistakes import said_in_one_line

from fer.config.load import dump, load_run
from fer.errors import CallerError
from fer.evaluate.predictions import LOGIT, read_predictions
from fer.report.bundle import read_bundle
from fer.report.bundle.manifest import INDEX
from fer.report.bundle.read_bundle import Bundle

ENVIRONMENT = {"python": "3.11.7", "packages": {"torch": "2.9.1"}, "cpu": "a CPU®",
               "git": {"commit": "0c1c714aa", "dirty": False}, "world_size": 1,
               "precision": "float32", "digests": {"lfw/train": "d1", "weights": "w1"}}


def store_of(study: Simulated) -> Path:
    """Make the folder of a simulated study a store, and return it."""
    folder = study.root / "studies/simulated"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(dump(make_study(evaluate_on=list(SMALL)))))
    entries = [{key: value for key, value in asdict(run).items()
                if key not in ("folder", "state", "error")} | {"wanted": True, "parents": []}
               for run in study.runs]
    (folder / "index.json").write_text(json.dumps(
        {"schema": 1, "data": yaml.safe_load(config())["data"], "runs": entries}))
    for run in study.runs:
        for name, content in (("status.json", {"state": "done"}), ("train.json", {}),
                              ("env.json", ENVIRONMENT)):
            (run.folder / name).write_text(json.dumps(content))
        (run.folder / "config.yaml").write_text(config())
    return study.root


@cache
def config() -> str:
    """Return a resolved configuration, which all runs of a simulated study have."""
    return yaml.safe_dump(dump(load_run("configs/drawn.yaml", {"data.drawn": None})))


@pytest.fixture
def site(tmp_path: Path) -> Simulated:
    """A site with a finished study."""
    study = simulate(tmp_path / "site", 2, sizes=SMALL)
    store_of(study)
    return study


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a study at the site beside it."""
    folder = tmp_path_factory.mktemp("packed")
    study = simulate(folder / "site", 1, sizes=SMALL)
    store_of(study)
    return bundle_of(study, folder / "one.zip")


def bundle_of(study: Simulated, file: Path) -> Path:
    done = launch("report", "simulated", "--bundle", file, FER_HOME=str(study.root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"bundle: {file}: {len(study.runs)} of {len(study.runs)} runs done" in done.stdout
    return file


def compared(bundle: Path, home: Path) -> tuple[int, list[str]]:
    done = launch("report", "--compare", bundle, FER_HOME=str(home))
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_bundle_has_what_another_site_needs_and_is_the_same_bytes_twice(
    site: Simulated, tmp_path: Path
) -> None:
    file = bundle_of(site, tmp_path / "one.zip")
    with zipfile.ZipFile(file) as bundle:
        names, index = set(bundle.namelist()), json.loads(bundle.read(INDEX))
    run = site.runs[0].run
    assert names >= {"studies/simulated/study.yaml", "studies/simulated/report/results.csv",
                     "studies/simulated/report/tables.tex", f"runs/{run}/config.yaml",
                     f"runs/{run}/env.json", f"runs/{run}/predictions/real/test.parquet"}
    assert not any(name.endswith((".html", ".png", ".jpg", ".safetensors")) for name in names)
    assert index["data"]["real/test"] == ["digest of real/test"]
    assert index["data"]["lfw/train"] == ["d1"]
    assert index["weights"]["cbam_tiny"] == ["w1"]
    assert index["files"].keys() == names - {INDEX}
    assert "torch 2.9.1; commit 0c1c714aa; a CPU?" in next(iter(index["environments"]))
    assert bundle_of(site, tmp_path / "two.zip").read_bytes() == file.read_bytes()


def test_an_unpacked_bundle_is_a_store_that_makes_the_same_tables(
    site: Simulated, tmp_path: Path
) -> None:
    with zipfile.ZipFile(bundle_of(site, tmp_path / "one.zip")) as bundle:
        bundle.extractall(tmp_path / "unpacked")
    tables = tmp_path / "unpacked/studies/simulated/report"
    expected = {path.name: path.read_bytes() for path in tables.glob("*.csv")}
    shutil.rmtree(tables)
    done = launch("report", "simulated", FER_HOME=str(tmp_path / "unpacked"))
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in tables.glob("*.csv")} == expected
    assert len(expected) == 9


def test_each_run_is_equal_within_the_interval_outside_or_missing(
    site: Simulated, tmp_path: Path
) -> None:
    file = bundle_of(site, tmp_path / "one.zip")
    assert compared(file, site.root) == (0, [
        "bundle of study simulated: 16 runs, written at commit " + commit_of(file),
        "32 equal, 0 within the interval, 0 missing, 0 outside (runs on test sets)"])
    near, far, gone, other = site.runs[:4]
    _answer(near, 3)
    _answer(far, 50)
    shutil.rmtree(gone.folder)
    result = site.file(3, "results", "real/test")
    result.write_text(json.dumps({**json.loads(result.read_text()), "digest": "another"}))
    (far.folder / "env.json").write_text(json.dumps({**ENVIRONMENT, "python": "3.13.1"}))
    code, lines = compared(file, site.root)
    assert code == 1 and lines[-1].startswith("27 equal, 1 within the interval, 3 missing, 1 out")
    by_run = {name: [line for line in lines if name in line]
              for name in (run.run for run in site.runs)}
    (line,) = by_run[near.run]
    assert line.startswith("within the interval  real/test") and "in the bundle" in line
    (line,) = by_run[far.run]
    assert line.startswith("outside              real/test") and "−" in line
    assert [line.split(":")[-1] for line in by_run[gone.run]] == [" no run of this id here"] * 2
    assert by_run[other.run][0].endswith("real/test has other pictures here")
    (line,) = [line for line in lines if line.startswith("environment of ")]
    assert line.startswith("environment of 1 run: Python 3.11.7") and "bundle; Python 3.1" in line
    (tmp_path / "empty").mkdir()
    code, lines = compared(file, tmp_path / "empty")
    assert code == 1 and lines[-1].startswith("0 equal, 0 within the interval, 32 missing")


def commit_of(file: Path) -> str:
    with zipfile.ZipFile(file) as bundle:
        return str(json.loads(bundle.read(INDEX))["code"]["commit"])[:12]


def _answer(run: object, wrong: int) -> None:
    """Have a run get some pictures of the real set wrong that it had right."""
    table = read_predictions(run.folder / "predictions/real/test.parquet")  # type: ignore[attr-defined]
    right = np.flatnonzero(table.predicted == table.labels)[:wrong]
    table.logits[right] = np.roll(table.logits[right], 1, axis=1)
    write_run(run, {"real/test": table})  # type: ignore[arg-type]


def repacked(file: Path, change: Callable[[dict[str, bytes]], None], sums: bool = True) -> Path:
    """Write a bundle anew with other content, and the checksums that fit it."""
    with zipfile.ZipFile(file) as bundle:
        content = {name: bundle.read(name) for name in bundle.namelist()}
    index = content[INDEX]
    change(content)
    if sums and content.get(INDEX) == index:
        facts = json.loads(index)
        facts["files"] = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                          for name, data in content.items() if name != INDEX}
        content[INDEX] = json.dumps(facts).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in content.items():
            bundle.writestr(name, data)
    return file


def table_of(content: dict[str, bytes]) -> str:
    return next(name for name in sorted(content) if name.endswith("real/test.parquet"))


def parquet(rows: int, name: str = "a", compression: str = "snappy", **more: object) -> bytes:
    stream = io.BytesIO()
    columns = {"sample_id": pa.array([name] * rows), "identity": pa.array([name] * rows),
               "label": pa.array([0] * rows), "predicted": pa.array([0] * rows),
               LOGIT + "x": pa.array([0.0] * rows, pa.float32()), **more}
    pq.write_table(pa.table(columns), stream, compression=compression, write_page_checksum=True)
    return stream.getvalue()


def put(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.update({name: data})


def put_table(data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.update({table_of(content): data})


def index_with(**changes: object) -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.update({
        INDEX: json.dumps({**json.loads(content[INDEX]), **changes}).encode()})


HOSTILE = {
    "a name that climbs out": (put("../../evil.py", b"x"), "a file has the name '../../evil.py'"),
    "an absolute name": (put("/etc/passwd", b"x"), "a file has the name '/etc/passwd'"),
    "a drive": (put("C:\\x", b"x"), "a file has the name"),
    "a split of dots": (put("runs/a/predictions/../x.parquet", b"x"), "a file has the name"),
    "a file that grows": (put_table(bytes(1_000_001)), "more than 1 MB"),
    "another file than was written": (put_table(b"other"), "is not the file that bundle.json"),
    "no table": (put_table(b"other"), "not a readable table"),
    "names that grow": (put_table(parquet(50, "a" * 300)), "names of 300 letters"),
    "a table of many rows": (put_table(parquet(3000)), "a table of 3000 rows"),
    "another compression": (put_table(parquet(9, compression="zstd")),
                            "compressed by something else"),
    "a column of another kind": (put_table(parquet(9, label=pa.array(["0"] * 9))),
                                 "column 'label' of string"),
    "no index": (lambda content: content.pop(INDEX) and None, "has no bundle.json"),
    "an index of another kind": (put(INDEX, b"[" * 100_000), "bundle.json is not JSON"),
    "letters that steer a terminal": (index_with(environments={"\x1b[2J": []}), "environments"),
    "a run name that climbs out": (index_with(runs=[
        {"run": "../x", "run_id": "a", "config_id": "a", "seed": 0, "state": "done"}]), "runs.0"),
    "a key that steers a terminal": (index_with(**{"\x1b[31m": 1}), "\\x1b[31m"),
    "a table without rows": (put_table(parquet(0)), "a table without rows"),
    "a newer kind of bundle": (index_with(schema=2), "schema"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_bundle_is_refused_in_one_line(
    kind: str, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_bundle, "MOST_VALUES", 10_000)
    monkeypatch.setattr(read_bundle, "MOST_FILE_BYTES", 1_000_000)
    change, said = HOSTILE[kind]
    file = repacked(Path(shutil.copy(packed, tmp_path)), change, sums="another file" not in kind)
    before = sorted(tmp_path.rglob("*"))
    done = launch("report", "--compare", file, FER_HOME=str(packed.parent / "site"))
    assert said in said_in_one_line(done)
    assert sorted(tmp_path.rglob("*")) == before


def _no_zip(file: Path) -> None:
    file.write_bytes(b"PK is not enough")


def _half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:2000])


def _large_list(file: Path) -> None:
    content = bytearray(file.read_bytes())
    place = content.rfind(b"PK\5\6")
    struct.pack_into("<I", content, place + 12, 4_000_000_000)
    file.write_bytes(content)


def _zip64(file: Path) -> None:
    content = file.read_bytes()
    place = content.rfind(b"PK\5\6")
    file.write_bytes(content[:place] + b"PK\6\7" + bytes(16) + content[place:])


def _a_name_twice(file: Path) -> None:
    with pytest.warns(UserWarning), zipfile.ZipFile(file, "a") as bundle:
        bundle.writestr(INDEX, b"{}")


@pytest.mark.parametrize(("damage", "said"), [
    (_no_zip, "not a ZIP file"), (_half, "not a ZIP file"), (_zip64, "a ZIP64"),
    (_large_list, "a list of files of 4000 MB"), (_a_name_twice, "is there twice"),
    (Path.unlink, "there is no such file")])
def test_what_is_no_archive_of_plain_files_is_refused(
    damage: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "one.zip"
    with zipfile.ZipFile(file, "w") as bundle:
        for number in range(100):
            bundle.writestr(f"runs/{number}/config.yaml", bytes(50))
        bundle.writestr(INDEX, b"{}")
    damage(file)
    with pytest.raises(CallerError, match=said):
        Bundle(file)


def test_no_yaml_of_a_bundle_is_read(packed: Path, tmp_path: Path) -> None:
    evil = b"!!python/object/apply:os.system ['touch /tmp/never']"
    file = repacked(Path(shutil.copy(packed, tmp_path)), put("studies/simulated/study.yaml", evil))
    assert compared(file, packed.parent / "site")[0] == 0


@pytest.mark.parametrize(("words", "said"), [
    (["--compare", "x.zip", "simulated"], "takes no STUDY"),
    (["--compare", "x.zip", "--bundle", "y.zip"], "takes no STUDY and no other option"),
    (["simulated", "other", "--bundle", "y.zip"], "takes one STUDY"),
    ([], "name a study, or a bundle"),
    (["simulated", "--bundle", "/nowhere/y.zip"], "a file in an existing folder"),
    (["simulated", "--bundle", "setup.cfg"], "exists and is no bundle"),
    (["simulated", "--bundle", "/proc/y.zip"], "--bundle /proc/y.zip"),
    (["--compare", "/nowhere/y.zip"], "there is no such file")])
def test_mistakes_with_bundles_are_one_line(words: list[str], said: str, packed: Path) -> None:
    done = launch("report", *words, FER_HOME=str(packed.parent / "site"))
    assert said in said_in_one_line(done)


def test_too_few_people_for_an_interval_is_said(tmp_path: Path) -> None:
    study = simulate(tmp_path / "site", 1, sizes=SMALL)
    for run in study.runs:
        table = read_predictions(run.folder / "predictions/real/test.parquet")
        write_run(run, {"real/test": replace(table, identities=["A"] * len(table))})
    store_of(study)
    file = bundle_of(study, tmp_path / "one.zip")
    _answer(study.runs[0], 5)
    code, lines = compared(file, study.root)
    assert code == 1
    assert [line.split(":")[-1] for line in lines if line.startswith("outside")] == [
        " too few people to generalise"]
