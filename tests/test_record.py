"""The record of what a checkout computes says what differs, and nothing where nothing does."""

import copy
import json
from pathlib import Path

import pytest
from record import (
    Record,
    Side,
    compare,
    file_names,
    keys_of,
    labelled,
    main,
    normalised,
    scripts_in,
)

TABLE = ["run_id,uar", "0123456789,0.5", ""]
RECORD: Record = {
    "data": {"drawn/LFW-FER": ["ab"]},
    "run ids": {"demo.yaml": ["tiny-scratch-lfw-s0-0123456789", "tiny-lp_ft-lfw-s0-9876543210"]},
    "tables": {"results.csv": TABLE},
    "losses": {"tiny-scratch-lfw-s0": ['{"epoch": 0, "train_loss": 1.25}', ""]},
    "sbatch": {"devcluster": ["#!/bin/bash", "#SBATCH --time=60", "exit $?"]},
    "configurations": {"tiny-scratch-lfw-s0": ["schema: 1", "optim: {lr: 0.005}"]},
    "names": {"study folder": ["index.json"], "tiny-scratch-lfw-s0": ["config.yaml"]},
    "keys": {"train.json": ["best_epoch", "steps"]},
}
HOME = "/tmp/record-ab/side-1/home"
PLACES = {"FER_HOME": HOME, "python": "/venv/bin/python", "checkout": "/tmp/record-ab"}


def test_equal_records_do_not_differ() -> None:
    assert compare(RECORD, json.loads(json.dumps(RECORD))) == []


@pytest.mark.parametrize(("part", "item", "line", "other"), [
    ("data", "drawn/LFW-FER", 0, "ac"),
    ("run ids", "demo.yaml", 1, "tiny-lp_ft-lfw-s0-9876543211"),
    ("tables", "results.csv", 1, "0123456789,0.500001"),
    ("losses", "tiny-scratch-lfw-s0", 0, '{"epoch": 0, "train_loss": 1.2500000000000002}'),
    ("sbatch", "devcluster", 1, "#SBATCH --time=61"),
    ("configurations", "tiny-scratch-lfw-s0", 1, "optim: {lr: 0.006}"),
    ("names", "study folder", 0, "index.yaml"),
    ("keys", "train.json", 1, "step"),
])
def test_a_changed_line_is_named_with_its_place(
    part: str, item: str, line: int, other: str
) -> None:
    changed = copy.deepcopy(RECORD)
    changed[part][item][line] = other
    assert compare(RECORD, changed) == [
        f"{part}: {item}:\n    -{RECORD[part][item][line]}\n    +{other}"]


@pytest.mark.parametrize("part", RECORD)
def test_what_only_one_record_has_is_named(part: str) -> None:
    more = copy.deepcopy(RECORD)
    more[part]["another"] = ["x"]
    assert compare(RECORD, more) == [f"{part}: another: only in the second"]
    assert compare(more, RECORD) == [f"{part}: another: only in the first"]


def test_another_order_and_a_lost_end_of_line_are_differences() -> None:
    (turned,) = compare({"run ids": {"a.yaml": ["x", "y"]}}, {"run ids": {"a.yaml": ["y", "x"]}})
    assert turned.startswith("run ids: a.yaml:")
    assert len(compare(RECORD, {**RECORD, "tables": {"results.csv": TABLE[:-1]}})) == 1


def test_a_line_that_begins_like_a_header_of_a_diff_is_shown() -> None:
    (said,) = compare({"tables": {"a": ["--", "@@"]}}, {"tables": {"a": ["++", "@@"]}})
    assert said == "tables: a:\n    ---\n    +++"


def test_of_many_changed_lines_the_first_gone_and_come_are_shown() -> None:
    one, two = ([f"{side}{number}" for number in range(50)] for side in "ab")
    (said,) = compare({"tables": {"a": one}}, {"tables": {"a": two}})
    assert "-a0\n" in said and "+b0\n" in said and "b40" not in said
    assert said.endswith("... 88 more")


SCRIPT_TEXT = f"""#SBATCH --comment=fer:001:0123456789abcdef
#SBATCH --output={HOME}/studies/small/slurm/001/%A_%a_0.log
export PYTHONPATH={HOME}/studies/small/slurm/code-0123456789ab
srun --unbuffered /venv/bin/python -u -m fer.cluster.worker {HOME}/studies/small/slurm/001
"""


def test_equal_scripts_of_two_checkouts_have_one_text() -> None:
    other = (SCRIPT_TEXT.replace("side-1", "side-2").replace("0123456789ab", "ba9876543210")
             .replace("fer.cluster.worker", "fer.cluster.worker.main").replace("/venv", "/other"))
    places = {"FER_HOME": HOME.replace("side-1", "side-2"), "python": "/other/bin/python",
              "checkout": "/home/me/fer"}
    assert normalised(SCRIPT_TEXT, PLACES) == normalised(other, places)
    assert "<FER_HOME>/studies/small/slurm/code-<digest>\n" in normalised(other, places)


@pytest.mark.parametrize(("before", "after"), [
    ("#SBATCH --comment=fer:001", "#SBATCH --comment=fer:002"),
    ("_0.log", ".log"), ("%A_%a_0", "%A_%a_1"), ("slurm/001/%A", "slurm/002/%A"),
    ("-u -m", "-m"), ("--unbuffered ", ""), ("-m fer.cluster.worker", "launch/report.py"),
    ("export PYTHONPATH", "export PYTHONHOME"), ("/code-", "/copy-"),
    (f"{HOME}/studies", "/elsewhere/studies"),
])
def test_placeholders_hide_no_change_of_a_script(before: str, after: str) -> None:
    changed = SCRIPT_TEXT.replace(before, after)
    if changed == SCRIPT_TEXT:
        pytest.fail(f"{before!r} is not in the script")
    assert normalised(changed, PLACES) != normalised(SCRIPT_TEXT, PLACES)


def test_scripts_are_what_a_dry_run_prints_between_plan_and_space() -> None:
    printed = "1 runs: 1 train\n\n# array 1: x\n#SBATCH a\n\n# the report\nb\ndisk: at most 1 B"
    assert scripts_in(printed) == "# array 1: x\n#SBATCH a\n\n# the report\nb\n"


def test_names_of_files_are_without_times_hosts_and_processes(tmp_path: Path) -> None:
    for side, (when, host, process) in enumerate([(1795977026, "vm", 12904), (18, "n1.site", 7)]):
        folder = tmp_path / str(side)
        for name in (f"tb/events.out.tfevents.{when}.{host}.{process}.{side}",
                     f"tb/events.out.tfevents.{when}.{host}.{process}.{side + 3}.hparams",
                     f"jobs/{process}_0_log.out", f"jobs/ann/{process}_0_log.out",
                     "checkpoints/step-00000024/state.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        (folder / "tb/run").symlink_to(tmp_path)
    assert file_names(tmp_path / "0") == file_names(tmp_path / "1") == [
        "checkpoints/step-00000024/state.json", "jobs/<process>_0_log.out",
        "jobs/ann/<process>_0_log.out", "tb/events.out.tfevents.<writer>",
        "tb/events.out.tfevents.<writer>.hparams", "tb/run"]


def test_keys_are_those_of_inner_objects_too() -> None:
    assert list(keys_of({"a": 1, "b": {"c": [{"d": 2}, 3]}})) == ["a", "b", "b.c", "b.c.[].d"]


def test_runs_that_differ_in_their_ids_alone_are_numbered() -> None:
    names = ["tiny-lp_ft-lfw-s0-01", "tiny-lp_ft-lfw-s0-02"]
    assert labelled("", names) == {"tiny-lp_ft-lfw-s0": names[0], "tiny-lp_ft-lfw-s0 (2)": names[1]}


@pytest.mark.parametrize("equal", [True, False])
def test_the_exit_code_says_whether_two_records_differ(
    equal: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = RECORD if equal else {**RECORD, "tables": {}}
    for name, content in (("a.json", RECORD), ("b.json", other)):
        (tmp_path / name).write_text(json.dumps(content))
    code = main(["--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert (code, capsys.readouterr().out) == (
        (0, "no difference\n") if equal else (1, "tables: results.csv: only in the first\n"))


@pytest.mark.parametrize("arguments", [[], ["out.json", "--against", "HEAD"]])
def test_what_is_asked_has_to_be_one_thing(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").touch()
    with pytest.raises(SystemExit, match=r"no demp in \*.yaml; there are demo"):
        Side(tmp_path, tmp_path).files("*.yaml", ["demp"])


def test_a_command_that_fails_ends_the_recording_with_what_it_said(tmp_path: Path) -> None:
    side = Side(tmp_path, tmp_path)
    with pytest.raises(SystemExit, match=r"exit code 3\nno data"):
        side.run("-c", "import sys; print('no data'); sys.exit(3)")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_this_checkout_recorded_twice_is_equal_and_every_part_has_something(tmp_path: Path) -> None:
    """What training leaves is recorded once: test_resume tests that it repeats itself."""
    records = []
    for name, more in (("a.json", []), ("b.json", ["--planned"])):
        assert main([str(tmp_path / name), "--study", "paper_drawn", "--recipe", "scratch",
                     "--profile", "devcluster", *more]) == 0
        records.append(json.loads((tmp_path / name).read_text()))
    whole, planned = records
    assert compare({part: whole[part] for part in planned}, planned) == []
    assert planned.keys() == {"data", "run ids", "sbatch"}
    assert whole.keys() == RECORD.keys()
    assert all(lines for items in whole.values() for lines in items.values())
    assert "#SBATCH --gpus-per-node=2" in whole["sbatch"]["devcluster"]
