"""Every file of a store is read typed: what is damaged is left out, or named in one line."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz.damage import mutated
from fuzz.doors import Door, fuzzed, put
from fuzz.store_doors import (
    again,
    curve,
    maps,
    measured,
    methods,
    planned,
    queues,
    store_doors,
    timed,
)
from fuzz.written_store import JOBS, SPLITS, WrittenStore, predictions, write_store

from fer.cluster.estimate import History
from fer.data.array_file import map_array
from fer.errors import CallerError
from fer.evaluate.calibration import Calibration
from fer.evaluate.predictions import DamagedFile, read_predictions, write_predictions
from fer.parquet_io import read_columns
from fer.report.bundle.parquet_footer import SNAPPY, UNCOMPRESSED, compressions
from fer.report.read.report_cache import ReportCache
from fer.study.file_cache import Texts
from fer.study.inputs import InputDigests
from fer.study.orphans import orphaned_rows
from fer.study.overview import overview
from fer.study.queue_view import Queue
from fer.study.run_records import parse_submit
from fer.study.snapshot import git_state
from fer.study.status import rows_of
from fer.study.submission import Submission
from fer.train.checkpoint import Checkpoints
from fer.train.checkpoint_manifest import Damaged, verify
from fer.train.train_state import Progress
from fer.transfer.model_inspection import _read as read_anatomies
from fer.untrusted_io import NotRegular

DOORS = 48
WRONG = ("", "null", "[]", "7", '"a"', "[[]]", "{", "[" * 10_000, '{"schema": 1}', "NaN",
         '{"jobs": []}', '{"a": 1e999}', "\ud800", '{"job": {}}', '{"git": [1]}')
"""Texts that are wrong for every file of a store."""


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> list[Door]:
    return store_doors(tmp_path_factory.mktemp("doors") / "store")


@pytest.fixture
def written(tmp_path: Path) -> WrittenStore:
    return write_store(tmp_path / "store")


@pytest.mark.filterwarnings("ignore")
def test_whole_files_of_a_store_are_taken_and_some_damaged_ones_end_well(
    doors: list[Door], tmp_path: Path
) -> None:
    assert len(doors) == DOORS
    for door in doors:
        door.read(door.place or tmp_path)
        assert not list(fuzzed(door, tmp_path, 5, seed=0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(DOORS))
def test_no_damaged_file_of_a_store_goes_through_its_door(
    number: int, doors: list[Door], tmp_path: Path
) -> None:
    """Three hundred inputs each; thousands by `python tests/fuzz_doors.py`."""
    assert not list(fuzzed(doors[number], tmp_path, 300, seed=0))


def test_single_values_of_a_file_are_replaced_too() -> None:
    door = Door("x", lambda path: None, (b'{"a": [1, {"b": 2}]}',), tree=True)
    draw = random.Random(0)
    found = [door.damaged(draw) for _ in range(300)]
    whole = [one for one in found if one.startswith(b'{"a": [1, {"b": ') and one.endswith(b"}]}")]
    assert len({*whole}) > 10 and len({*found}) > 100


# --- jobs ------------------------------------------------------------------------------------


def rows(written: WrittenStore) -> list[str]:
    """Return the states of the rows, with and without the job in the queue."""
    return [row.state for queue in queues(written) for row in
            [*rows_of(written.study, written.store, queue=queue),
             *orphaned_rows(written.study, written.store, queue)]]


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("name", ["jobs.json", "job.json", "ended.json"])
def test_a_damaged_record_of_a_job_stops_no_status(name: str, text: str, written: WrittenStore
                                                   ) -> None:
    file = written.folder / "slurm/001" / name
    file.write_text(text, errors="surrogatepass")
    assert rows(written)[0] == "done" and len(rows(written)) == 4
    Submission(file.parent).record_ends(JOBS)
    if name == "jobs.json":
        with pytest.raises(CallerError, match="damaged"):
            Submission(file.parent).work_of(0)


@pytest.mark.parametrize("change", [
    {"jobs": {"0": [["../../x", []]]}}, {"jobs": {"0": [["a", ["x/y"]]]}}, {"jobs": {"a": []}},
    {"jobs": {"0": [[1, []]]}}, {"jobs": {"0": [["a"]]}}, {"lanes": 0}, {"lanes": "2"},
    {"splits": {"../../x": "1"}}, {"splits": {"lfw/eval": 1}}, {"schema": 2}, {"data": []}])
def test_no_job_works_on_what_its_list_cannot_mean(change: dict[str, object],
                                                   written: WrittenStore) -> None:
    file = written.folder / "slurm/001/jobs.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CallerError, match="damaged"):
        Submission(file.parent).work_of(0)
    assert Submission(file.parent).listed == {}


def test_a_job_without_its_index_is_named(written: WrittenStore) -> None:
    folder = written.folder / "slurm/001"
    assert Submission(folder).work_of(0).splits == SPLITS
    with pytest.raises(CallerError, match="has no job 3"):
        Submission(folder).work_of(3)


def test_a_damaged_id_is_found_again_by_the_comment_of_the_job(written: WrittenStore) -> None:
    (written.folder / "slurm/001/job.json").write_text('{"job": "7; touch x"}')
    live = queues(written)[1]
    assert live.submission("studies/fuzzed/slurm/001").job == "7"


@pytest.mark.parametrize("change", [
    {"index": "0"}, {"index": None}, {"index": 2**70}, {"submission": 5}, {"submission": "/etc"},
    {"submission": "../../x"}, {"submission": ""}, {"submission": "9" * 300}, {"time": "now"},
    {"cluster": []}, {"config_id": 1}])
def test_where_a_run_was_sent_is_a_place_of_the_store(change: dict[str, object],
                                                      written: WrittenStore) -> None:
    file = written.working.path / "submit.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert written.working.submitted == {} and written.working.sent_to() is None
    assert len(rows(written)) >= 4


# --- runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [None, True, "1", [], {}, -1, 0, 1.5, 2**70, float("inf")])
def test_ranks_that_are_none_are_unknown(ranks: object, written: WrittenStore) -> None:
    file = written.done.path / "env.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "world_size": ranks}))
    assert written.done.ranks is None
    assert overview(written.store, Queue(written.store.home, JOBS)).studies[0].hours == 60 / 3600


def test_a_damaged_configuration_of_another_run_stops_no_estimate(written: WrittenStore) -> None:
    history = History(written.store, InputDigests(Path("none"), Path("none")))
    measured = len(history.like(written.runs[0]))
    (written.done.path / "config.yaml").write_text("schema: 1\nbackbone: [")
    again = History(written.store, InputDigests(Path("none"), Path("none")))
    assert len(again.like(written.runs[0])) == measured - 1 > 0


@pytest.mark.parametrize("text", WRONG)
def test_a_damaged_snapshot_has_no_commit(text: str, tmp_path: Path) -> None:
    (tmp_path / ".snapshot.json").write_text(text, errors="surrogatepass")
    assert git_state(tmp_path) == {"commit": None, "dirty": None}


@pytest.mark.parametrize("values", [
    {"temperature": 0.0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"n": 1e999},
    {"n": "x"}, {"split": 5}, {"threshold": None}, {"accuracy": []}, {"temperature": True}])
def test_a_calibration_is_one(values: dict[str, object]) -> None:
    good = Calibration(1.0, 0.5, 0.9, 20, "lfw/val").to_json()
    assert Calibration.from_json(good).n == 20
    with pytest.raises(ValueError):
        Calibration.from_json({**good, **values})


@pytest.mark.parametrize("entry", [7, [], None, {}, "x", {"problem": ""}])
def test_an_anatomy_of_another_type_is_made_again(entry: object, tmp_path: Path) -> None:
    good = {"bytes": 1, "trained": 1, "stages": ["a"], "parameters": 1, "batch_norms": [0],
            "layers": 0, "problem": ""}
    file = tmp_path / "anatomy.json"
    file.write_text(json.dumps({"a": good, "b": entry, "c": {**good, "stages": [1]}}))
    assert read_anatomies(file) == {"a": good}


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "a\x9b31m", "../x", "", ".", "\ud800",
                                  "a" * 300, 5, None, {}])
def test_a_run_of_an_index_has_the_name_of_a_folder(name: object, written: WrittenStore) -> None:
    file = written.folder / "index.json"
    index = json.loads(file.read_text())
    index["runs"][1]["run"] = name
    file.write_text(json.dumps(index))
    with pytest.raises(CallerError, match="damaged"):
        rows(written)
    (line,) = overview(written.store, Queue(written.store.home, JOBS)).studies
    assert "damaged" in line.error


# --- checkpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize("files", [
    [], {}, None, "x", {"model.safetensors": None}, {"model.safetensors": {}},
    {"model.safetensors": {"bytes": "1", "xxh3": "a"}}, {"../x": {"bytes": 1, "xxh3": "a"}},
    {"state.json": {"bytes": 1, "xxh3": "a"}}, {"model.safetensors": [1, 2]}])
def test_a_manifest_lists_the_files_of_its_checkpoint(files: object, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))
    with pytest.raises(Damaged, match="no readable manifest"):
        verify(tmp_path)


@pytest.mark.parametrize("text", ["", "\n", "step-1", "../../other/step-00000001", "/etc", "step-x",
                                  "step-00000001\nstep-00000002", "\ud800", "a" * 1000, "step-"])
def test_a_pointer_names_a_checkpoint_of_its_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "best").write_text(text, errors="surrogatepass")
    with pytest.raises(Damaged, match="no best checkpoint"):
        Checkpoints(tmp_path, keep=2).best()


def test_a_folder_that_is_no_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for name in ("step-abc", "step-", "step-00000007"):
        (tmp_path / name).mkdir()
    assert Checkpoints(tmp_path, keep=2).steps() == [7]


@pytest.mark.parametrize("change", [
    {"step": "1"}, {"step": -1}, {"best": []}, {"best": {"score": "x"}}, {"plateau": None},
    {"phase": 1.5}, {"finished": 1}, {"losses": float("nan")}, {"phase_best": 3}, {"batch": -1}])
def test_counters_of_other_types_are_damage(change: dict[str, object]) -> None:
    good = {"step": 3, "plateau": {}, "best": {"score": 0.5, "step": 3}, "phase_best": {}}
    assert Progress.from_json(good).best.score == 0.5
    with pytest.raises(ValueError):
        Progress.from_json({**good, **change})


# --- arrays and tables -----------------------------------------------------------------------


def headers() -> Iterator[bytes]:
    for text in (b"(", b"'''", b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"{}",
                 b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}", b"[" * 5000,
                 b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
                 b"{'descr': [('a', '|u1')] * 9, 'fortran_order': 0, 'shape': ()}", b"\xff\xfe",
                 b"{'descr': '|u1', 'fortran_order': False, 'shape': ('a',)}", b"\t1\n 2", b""):
        yield b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize("content", [*headers(), b"", b"PK\3\4", b"\x93NUMPY", b"\x80\x04N."])
@pytest.mark.filterwarnings("ignore")
def test_an_array_that_is_none_is_a_value_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy"):
        map_array(tmp_path / "a.npy")


def test_a_fifo_is_no_array_and_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(NotRegular):
        map_array(tmp_path / "a")
    with pytest.raises(NotRegular):
        read_columns(tmp_path / "a", {"text": "string"})
    with pytest.raises(DamagedFile, match="not a regular file"):
        read_predictions(tmp_path / "a")


def write_table(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path, compression="zstd")
    return path


LONG = "a" * 1_000_000
BOMBS: dict[str, Callable[[Path], Path]] = {
    "one text in a dictionary": lambda path: write_table(
        path, text=pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), [LONG])),
    "the same text again and again": lambda path: write_table(path, text=[LONG] * 1000),
    "rows": lambda path: write_table(path, text=pa.nulls(21_000_000, pa.string())),
    "numbers": lambda path: write_table(path, text=[1, 2]),
    "lists": lambda path: write_table(path, text=[["a"]]),
    "empty cells": lambda path: write_table(path, text=["a", None]),
    "another column": lambda path: write_table(path, other=["a"]),
    "bytes": lambda path: write_table(path, text=[b"\xff\xfe"]),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_table_of_a_store_is_typed_and_bounded(kind: str, tmp_path: Path) -> None:
    file = BOMBS[kind](tmp_path / "a.parquet")
    begin, before = time.process_time(), pa.total_allocated_bytes()
    pa.default_memory_pool().release_unused()
    with pytest.raises(ValueError):
        read_columns(file, {"text": "string"})
    assert time.process_time() - begin < 2
    assert pa.total_allocated_bytes() - before < 500e6
    assert Texts(file).known == {}


def test_predictions_whose_names_fill_the_memory_are_damaged(tmp_path: Path) -> None:
    file, table = tmp_path / "p.parquet", predictions("real/test", 1000)
    write_predictions(file, table)
    columns = pq.read_table(file)
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), [LONG])
    pq.write_table(columns.set_column(1, "identity", same), file)
    with pytest.raises(DamagedFile, match="bytes"):
        read_predictions(file)


def test_a_forged_cache_of_a_report_is_read_again_from_the_predictions(tmp_path: Path) -> None:
    file, table = tmp_path / "p.parquet", predictions("real/test")
    write_predictions(file, table)
    memory = ReportCache(tmp_path)
    memory.table(file)
    memory.save()
    cache = tmp_path / "cache.predictions.parquet"
    stored = pq.read_table(cache)
    for change in ({"classes": ["5"]}, {"classes": ["[1]"]}, {"crowd": ["none"]},
                   {"logits": pa.array([b"abc"], pa.large_binary())}, {"classes": ["{"]},
                   {"classes": ['["a"]']}, {"logits": pa.array([b""], pa.large_binary())}):
        ((name, values),) = change.items()
        forged = stored.set_column(stored.column_names.index(name), name, pa.array(values))
        pq.write_table(forged, cache)
        found = ReportCache(tmp_path).table(file)
        assert found.classes == table.classes and np.array_equal(found.logits, table.logits)


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("touched", [False, True])
def test_forged_pictures_of_a_cache_stand_for_no_table(touched: bool, column: int, tmp_path: Path
                                                       ) -> None:
    """Ids, people and labels are kept once for all tables of the same pictures."""
    file, table = tmp_path / "p.parquet", predictions("real/test")
    write_predictions(file, table)
    memory = ReportCache(tmp_path)
    memory.table(file)
    memory.save()
    stored = pq.read_table(memory.file)
    pictures = json.loads(stored.schema.metadata[b"pictures"])
    for columns in pictures.values():
        columns[column][0] = columns[column][1] = columns[column][-1]
    pq.write_table(stored.replace_schema_metadata({"pictures": json.dumps(pictures)}), memory.file)
    if touched:
        os.utime(file, (1, 1))
    found = ReportCache(tmp_path).table(file)
    assert found.sample_ids == table.sample_ids and found.identities == table.identities
    assert np.array_equal(found.labels, table.labels)


def test_a_link_to_itself_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    (tmp_path / "b").write_text("")
    texts = Texts(tmp_path / "cache.parquet")
    assert texts.read(str(tmp_path / "a")) is None and texts.read(str(tmp_path / "b/c")) is None


@pytest.mark.parametrize("name", [
    "status.json", "submit.json", "env.json", "train.json", "config.yaml", "lease", "metrics.jsonl",
    "results/real/test.json", "predictions/real/test.parquet", "attention/index.json"])
def test_a_link_to_itself_in_a_run_is_damage(name: str, written: WrittenStore) -> None:
    file = written.done.path / name
    file.unlink(missing_ok=True)
    file.symlink_to(file.name)
    assert len(rows(written)) == 4
    for read in (planned, timed, again, measured, methods, maps, curve):
        read(written)


def test_files_of_one_place_differ_in_age(tmp_path: Path) -> None:
    """Caches know a file by inode, size and time, and an inode is used again at once."""
    ages = set()
    for number in range(5):
        put(tmp_path / "a", b"x", number)
        ages.add((tmp_path / "a").stat().st_mtime_ns)
    assert len(ages) == 5


@pytest.mark.parametrize("codec", ["NONE", "SNAPPY", "ZSTD", "GZIP", "LZ4", "BROTLI"])
def test_the_compression_of_a_table_is_known_without_pyarrow(codec: str, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": ["x"] * 9, "b": [1.5] * 9, "c": [[1]] * 9}), file,
                   compression=codec, write_page_index=True, row_group_size=4)
    allowed = compressions(file.read_bytes()) <= {UNCOMPRESSED, SNAPPY}
    assert allowed == (codec in ("NONE", "SNAPPY"))


def test_a_damaged_footer_is_a_value_error_and_ends_no_process(tmp_path: Path) -> None:
    """pyarrow 26 calls `std::terminate` at some of these if asked for their columns."""
    write_predictions(tmp_path / "p.parquet", predictions("real/test"))
    content, draw = (tmp_path / "p.parquet").read_bytes(), random.Random(5)
    whole = 0
    for number in range(1000):
        damaged = mutated(content, draw)
        with suppress(ValueError):
            whole += compressions(damaged) == {SNAPPY}
        if number % 10 == 5:
            (tmp_path / "q.parquet").write_bytes(damaged)
            with suppress(ValueError):
                read_columns(tmp_path / "q.parquet", {"sample_id": "string"})
    assert 0 < whole < 1000


def test_a_submission_that_is_null_is_none() -> None:
    assert parse_submit(b'{"submission": null, "index": null, "time": 1.0}') == {"time": 1.0}
    assert parse_submit(b'{"submission": "studies/a/slurm/1", "index": null}') == {}
