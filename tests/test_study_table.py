"""The status table: what fits on a screen, and files that are read once."""

import os
from pathlib import Path

import pytest

from fer.study.file_cache import Texts
from fer.study.status import Row, matching
from fer.study.status_view import counts, log_tail, print_failures, table_lines

NAME = "resmasking_dropout1-lfw_then_target-lfw+mlfw-s1234-0123456789"


def row(**changes: object) -> Row:
    whole: dict[str, object] = {
        "run": NAME, "state": "running", "note": "", "phase": "full", "epoch": 3, "epochs": 50,
        "step": 600, "steps": 9000, "metric": 0.731, "restarts": 2, "job_id": "4711_12",
        "node": "gpu007", "heartbeat_age": 4.2, "time_left": 4000.0, "job_time_left": "1:00:00",
        "error": "", "traceback": "", "log": "", **changes}
    return Row(**whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_line_fits_the_screen_and_keeps_run_id_state_and_epoch(width: int) -> None:
    lines = table_lines([row(), row(state="requeued", note="eligible 12:00:00, BeginTime")],
                        width, colour=False)
    assert all(len(line) <= width for line in lines)
    assert "0123456789" in lines[1] and "running" in lines[1] and "3/50" in lines[1]
    assert "eligible 12:00:00, BeginTime" in "\n".join(lines[2:])


def test_without_a_screen_nothing_is_cut() -> None:
    (_, line) = table_lines([row()], None, colour=False)
    for cell in (NAME, "running", "3/50", "600/9000", "0.731", "2", "0:04", "1:06:40", "4711_12",
                 "gpu007"):
        assert cell in line


def test_columns_that_say_nothing_are_left_out() -> None:
    head = table_lines([row(note="", restarts=0)], None, colour=False)[0]
    assert "note" not in head and "restarts" not in head


def test_runs_are_counted_by_state() -> None:
    assert counts([row(), row(state="done"), row(state="done")]) == "3 runs: 2 done, 1 running"


def test_a_pattern_means_a_name_or_a_state() -> None:
    rows = [row(), row(state="failed", run="other-s1-ab")]
    assert matching(rows, "failed") == [rows[1]] == matching(rows, "*-s1-*")


def test_a_failure_is_shown_with_traceback_and_the_end_of_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "1_0_0.log"
    log.write_text("".join(f"line {n}\n" for n in range(100)) + "\x1b[31mred\x1b[0m\rlast\n")
    print_failures([row(state="failed", error="ValueError: x", traceback="Traceback ...",
                        log=str(log)), row()])
    said = capsys.readouterr().out
    assert "ValueError: x" in said and "Traceback ..." in said and "  last" in said
    assert "line 10\n" not in said and "\x1b" not in said and said.count("──") == 1
    assert log_tail(tmp_path / "none") == ""


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    file, memory = tmp_path / "status.json", tmp_path / "cache.parquet"
    file.write_text("one")
    texts = Texts(memory)
    assert texts.read(str(file)) == "one" and texts.read(str(tmp_path / "none")) is None
    texts.save([str(file)])
    again = Texts(memory)
    os.chmod(file, 0)  # also for root, opening is what must not happen
    opened: list[str] = []
    original = open
    import builtins

    def watching(path: object, *rest: object, **more: object) -> object:
        opened.append(str(path))
        return original(path, *rest, **more)  # type: ignore[call-overload]

    builtins.open = watching  # type: ignore[assignment]
    try:
        assert again.read(str(file)) == "one" and str(file) not in opened
    finally:
        builtins.open = original
    os.chmod(file, 0o644)
    temporary = tmp_path / "new"
    temporary.write_text("two")
    os.replace(temporary, file)  # same size: another inode
    assert again.read(str(file)) == "two" and again.changed


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1"])
def test_a_damaged_memory_is_made_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "cache.parquet").write_bytes(content)
    (tmp_path / "a").write_text("x")
    texts = Texts(tmp_path / "cache.parquet")
    assert texts.read(str(tmp_path / "a")) == "x"
    texts.save([str(tmp_path / "a")])
    assert Texts(tmp_path / "cache.parquet").known[str(tmp_path / "a")][1] == "x"


def test_the_owner_is_shown_where_it_is_somebody_else_and_a_disputed_age_as_unknown() -> None:
    assert "owner" not in table_lines([row()], None, colour=False)[0]
    head, line = table_lines([row(owner="bob", heartbeat_age=None)], None, colour=False)
    assert line[head.index("owner"):].startswith("bob") and " ? " in line
