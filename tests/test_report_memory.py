"""A report reads what is new: counted, with damaged memories, half-written runs, two at once."""

import multiprocessing
from pathlib import Path

import pytest
from simulated_study import SMALL, Simulated, build, predictions, rows, simulate, write_run

from fer.evaluate.predictions import read_predictions
from fer.report.read import report_cache as module


@pytest.fixture()
def small(tmp_path: Path) -> Simulated:
    return simulate(tmp_path, 1, sizes=SMALL)


@pytest.fixture()
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that grows with every predictions file that is read."""
    seen: list[Path] = []

    def counting(path: Path) -> object:
        seen.append(path)
        return read_predictions(path)

    monkeypatch.setattr(module, "read_predictions", counting)
    return seen


def tables(study: Simulated) -> list[bytes]:
    return [(study.out / name).read_bytes() for name in
            ("results.csv", "summary.csv", "gap.csv", "ensembles.csv", "report.md")]


def test_only_what_is_new_is_read(small: Simulated, read: list[Path]) -> None:
    build(small)
    first, before = len(read), tables(small)
    assert first == 16
    build(small)
    assert len(read) == first and tables(small) == before
    write_run(small.runs[2], {"real/test": predictions("real/test", 1.5, [7], SMALL)})
    build(small)
    assert [path.parents[2].name for path in read[first:]] == [small.runs[2].run]
    assert tables(small) != before
    changed = tables(small)
    for name in ("cache.results.parquet", "cache.predictions.parquet"):
        (small.out.parent / name).unlink()
    build(small)
    assert tables(small) == changed and len(read) == first + 1 + 16


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense", None])
def test_a_damaged_memory_is_built_anew(small: Simulated, content: bytes | None) -> None:
    build(small)
    before = tables(small)
    for name in ("cache.results.parquet", "cache.predictions.parquet"):
        path = small.out.parent / name
        path.write_bytes(path.read_bytes()[:300] if content is None else content)
    build(small)
    assert tables(small) == before


def test_damage_is_looked_at_again_until_it_is_mended(
    small: Simulated, read: list[Path]
) -> None:
    path = small.file(0, "predictions", "real/test")
    whole = path.read_bytes()
    path.write_bytes(whole[:80])

    def damaged() -> list[str]:
        return [line for line in build(small).said.problems if "not a readable parquet" in line]

    assert len(damaged()) == 1
    assert len(damaged()) == 1
    assert read.count(path) == 2  # a disk that was sick may heal: damage is not remembered
    path.write_bytes(whole)
    assert damaged() == []


def test_a_half_written_run_folder_breaks_nothing(small: Simulated) -> None:
    folder = small.runs[0].folder
    small.file(0, "predictions", "real/test").unlink()
    small.file(0, "results", "real/test").write_text("")
    (folder / "results/.test.json.tmp-node-17").write_text("{")
    (folder / "metrics.jsonl").write_text('{"epoch": 0, "val_u')
    (folder / "env.json").write_text("[1]")
    said = build(small).said
    assert any("results/real/test.json: not readable" in line for line in said.problems)
    assert len(rows(small.out / "results.csv")) == 15


def build_often(root: Path, times: int) -> None:
    study = simulate_again(root)
    for _ in range(times):
        build(study)


def simulate_again(root: Path) -> Simulated:
    """Return the study that is on disk at `root`, without writing it again."""
    import simulated_study

    original = simulated_study.write_run
    simulated_study.write_run = lambda *_: None
    try:
        return simulate(root, 1, sizes=SMALL)
    finally:
        simulated_study.write_run = original


@pytest.mark.slow
def test_two_reports_at_once_leave_one_whole_report(small: Simulated) -> None:
    build(small)
    expected = tables(small)
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=build_often, args=(small.root, 3)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
    assert [one.exitcode for one in both] == [0, 0]
    assert tables(small) == expected
    assert not list(small.out.rglob(".*tmp*")) and not list(small.out.parent.glob(".*tmp*"))
