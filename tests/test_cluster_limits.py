"""Time limits, refusals and text values of a profile on the way to `sbatch`: no daemons."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fer.cluster import sbatch_call, submit
from fer.cluster.arrays import JobArray
from fer.cluster.dist_env import outside_job
from fer.cluster.job_shape import Shape
from fer.cluster.limits import parse_sinfo, report_minutes, within_limits
from fer.cluster.profile_files import load_profile
from fer.cluster.sbatch import Site, array_script, report_script
from fer.cluster.sbatch_call import Refused
from fer.cluster.submit import Submitter
from fer.config.profile import Profile
from fer.config.run import Data
from fer.config.yaml_io import parse_overrides, parse_yaml
from fer.study.run_folder import Store
from fer.study.slurm_jobs import Jobs

SITE = Site("paper", Path("/code"), "python")
SHAPE = Shape(1, 1, True, 1, 60)
LISTING = "gpu* 4 1-00:00:00\ngpu* 2 1-00:00:00\nshort 2 30:00\nlong 1K infinite\n"


def test_partitions_are_read_with_their_limits() -> None:
    found = parse_sinfo(LISTING)
    assert (found.nodes, found.default) == ({"gpu": 6, "short": 2, "long": 1000}, "gpu")
    assert [found.longest(name) for name in (None, "short", "short,gpu", "gpu,long")] == [
        1440, 30, 1440, None]


@pytest.mark.parametrize(("time", "partition", "expected"), [
    (None, "short", "30:00"), ("4:00:00", "short", "30:00"), ("10:00", "short", "10:00"),
    ("4:00:00", "long", "4:00:00"), (None, "long", None), ("2-00:00:00", None, "1440:00")])
def test_no_job_asks_for_more_time_than_its_partition_gives(
    time: str | None, partition: str | None, expected: str | None
) -> None:
    profile = within_limits(Profile(time=time, partition=partition), parse_sinfo(LISTING))
    assert profile.time == expected


def test_the_report_is_a_small_job_that_starts_where_the_study_waits_for_whole_nodes() -> None:
    profile = Profile(partition="gpu", qos="big", constraint="nvlink", memory="500G",
                      report_partition="short", account="a", exclude="n9", cpus_per_gpu=16,
                      srun=["--mpi=pmix"],
                      sbatch={"exclusive": True, "hint": "nomultithread", "mail-type": "FAIL"})
    minutes = report_minutes(profile, parse_sinfo(LISTING))
    text = report_script(Path("/x"), "c", profile, SITE, "1", minutes)
    for line in ("--time=30", "--partition=short", "--account=a", "--mem=4G", "--exclude=n9",
                 "--mail-type=FAIL", "--cpus-per-task=1"):
        assert f"#SBATCH {line}\n" in text
    for word in ("qos", "nvlink", "exclusive", "500G", "hint", "gpus", "pmix"):
        assert word not in text
    assert report_minutes(Profile(), parse_sinfo(LISTING)) == 60


def test_values_of_a_profile_reach_sbatch_as_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_PROFILES", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(
        "account: 0123\nqos: 1e3\ncpus_per_gpu: 8\ntime: 8:00:00\npartition: off\n"
        "sbatch: {begin: 16:30, wckey: 1_000, contiguous: false, nice: 100, exclusive: true,\n"
        "         deadline: 2026-12-01, comment-x: yes}\nenvironment: {A: 0o17, B: true}\n")
    text = array_script(JobArray(1, SHAPE, {0: ()}), Path("/x"), "c", load_profile("mine"), SITE,
                        {})
    for line in ("account=0123", "qos=1e3", "partition=off", "begin=16:30", "wckey=1_000",
                 "nice=100", "exclusive", "deadline=2026-12-01", "comment-x=yes",
                 "cpus-per-task=8"):
        assert f"#SBATCH --{line}\n" in text
    assert "contiguous" not in text
    assert 'export A="0o17"' in text and 'export B="true"' in text


@pytest.mark.parametrize(("typed", "value"), [
    ("16:30", "16:30"), ("8:00:00", "8:00:00"), ("0123", "0123"), ("1_000", "1_000"),
    ("2026-99-99", "2026-99-99"), ("0b11", "0b11"), ("12", 12), ("-3", -3), ("0", 0),
    ("1e-4", 1e-4), ("1.", 1.0), ("true", True), ("no", "no"), ("0x1f", 31), ("~", None)])
def test_numbers_are_those_of_yaml_1_2(typed: str, value: object) -> None:
    found = parse_yaml(f"key: {typed}", "x")["key"]
    assert found == value and type(found) is type(value)
    assert parse_overrides([f"resources.time={typed}"]) == {"resources.time": value}


def test_the_shell_s_sbatch_variables_are_in_the_script_or_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_PROFILES", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("partition: gpu\n")
    shell = {"SBATCH_ACCOUNT": "mine", "SBATCH_PARTITION": "cpu", "SBATCH_EXPORT": "NONE",
             "SBATCH_TIMELIMIT": "1", "RANK": "3", "MASTER_ADDR": "x"}
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    profile = load_profile("mine")
    text = array_script(JobArray(1, SHAPE, {0: ()}), Path("/x"), "c", profile, SITE, {})
    for line in ("account=mine", "partition=gpu", "export=NONE", "time=60"):
        assert f"#SBATCH --{line}\n" in text
    assert not shell.keys() & outside_job().keys()
    assert "export SLURM_EXPORT_ENV=ALL" in text


class Accepts:
    """Stands for `sbatch` on a cluster that takes so many jobs and refuses more."""

    def __init__(self, most: int, limit: bool = True) -> None:
        self.most, self.limit, self.calls = most, limit, 0

    def __call__(self, submission, place, lock):  # type: ignore[no-untyped-def]
        self.calls += 1
        size = len(submission.indices) if (submission.folder / "jobs.json").exists() else 1
        if size > self.most:
            submission.discard()
            raise Refused("AssocMaxSubmitJobLimit", self.limit)
        self.most -= size
        return str(self.calls)


@pytest.mark.parametrize(("sizes", "most", "sent"), [
    ([6], 6, 6), ([6], 7, 6), ([6], 3, 3), ([7], 4, 3), ([5], 0, 0), ([2, 4], 4, 4), ([2, 4], 3, 3),
    ([1, 1, 1], 2, 2)])
def test_as_many_jobs_are_submitted_as_a_limit_allows(
    sizes: list[int], most: int, sent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepts = Accepts(most)
    submitter, arrays, folders = submitting(sizes, accepts, tmp_path, monkeypatch)
    done = submitter.submit(arrays)
    assert len(done.runs) == sent and done.wanted == sum(sizes)
    assert bool(done.limit) == (most < sum(sizes) + 1)  # the report is a job too
    queued = [folder for folder in folders if folder.submitted]
    assert len(queued) == sent
    assert all((tmp_path / one.submitted["submission"] / "job.json").exists() for one in queued)


def test_a_refusal_for_good_says_how_much_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitter, arrays, folders = submitting([2, 3], Accepts(2, limit=False), tmp_path, monkeypatch)
    with pytest.raises(Refused, match="2 of 5 runs are submitted; the same command submits the"):
        submitter.submit(arrays)
    assert sum(bool(folder.submitted) for folder in folders) == 2


def submitting(sizes, sbatch, home, monkeypatch):  # type: ignore[no-untyped-def]
    """Return a submitter whose `sbatch` is a stand-in, arrays of these sizes, their folders."""
    for module in (submit, sbatch_call):
        monkeypatch.setattr(module, "sbatch", sbatch)
    monkeypatch.setattr(sbatch_call, "cluster_name", lambda: "c")
    monkeypatch.setattr("fer.study.run_folder.dump", lambda config: {"schema": 1})
    monkeypatch.setattr("fer.study.run_folder.RunFolder._read_config", lambda folder: None)
    store = Store(home)
    arrays = []
    for number, size in enumerate(sizes, 1):
        jobs = {index: (SimpleNamespace(evaluate=(), run=SimpleNamespace(
            id=f"{number}{index}", config_id="", name=f"r-{number}{index}", config=None)),)
            for index in range(size)}
        arrays.append(JobArray(number, SHAPE, jobs))
    folders = [store.folder(steps[0].run) for array in arrays for steps in array.jobs.values()]
    return Submitter(store, "toy", {}, Data(), "test", Profile(), Path("/code"), 0,
                     Jobs(cluster="c")), arrays, folders
