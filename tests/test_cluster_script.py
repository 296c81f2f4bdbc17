"""The batch script as text, for each way of asking; golden files show what is submitted."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from fer.cluster.arrays import JobArray, Ref
from fer.cluster.job_shape import Shape
from fer.cluster.profile_files import load_profile, profile_names
from fer.cluster.sbatch import Site, _of_first_rank, array_script, quoted, report_script
from fer.config.profile import Profile
from fer.errors import CallerError

GOLDEN = Path(__file__).parent / "golden"
SITE = Site("paper", Path("/shared/fer/studies/paper/slurm/code-0123456789ab"),
            "/home/me/venv/bin/python", {"FER_HOME": "/shared/fer", "FER_DATA": "/shared/data",
                                         "FER_CACHE": "/shared/cache"})
FOLDER = Path("/shared/fer/studies/paper/slurm/002")
ARRAY = JobArray(2, Shape(2, 4, True, 1, 240), {0: (), 1: (), 5: ()}, corresponds=1)


@pytest.mark.parametrize("name", profile_names())
def test_the_script_of_each_shipped_profile_is_the_golden_one(name: str) -> None:
    profile = load_profile(name)
    text = array_script(ARRAY, FOLDER, "fer:paper/002:ab", profile, SITE, {1: "4711"})
    golden = GOLDEN / f"{name}.sh"
    if os.environ.get("REGENERATE"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_the_report_comes_after_all_jobs_however_they_end() -> None:
    text = report_script(FOLDER, "c", Profile(report_partition="cpu", partition="gpu"), SITE, "1:2")
    assert "#SBATCH --dependency=afterany:1:2" in text and "--partition=cpu" in text
    assert "gpus" not in text and "launch/report.py paper" in text


def test_parents_in_several_arrays_are_named_job_by_job() -> None:
    array = JobArray(3, ARRAY.shape, {0: ()}, after=(Ref(1, 4), Ref(2, 0), "99_7"))
    text = array_script(array, FOLDER, "c", Profile(), SITE, {1: "10", 2: "11"})
    assert "#SBATCH --dependency=afterok:10_4:11_0:99_7" in text


def test_a_cpu_run_asks_for_no_gpu() -> None:
    array = JobArray(1, Shape(1, 2, False, 3, 60), {0: ()})
    text = array_script(array, FOLDER, "c", Profile(cpus_per_gpu=8), SITE, {})
    assert "gpu" not in text.replace("fer.", "") and "#SBATCH --cpus-per-task=3" in text


def test_memory_of_the_ranks_adds_up() -> None:
    text = array_script(ARRAY, FOLDER, "c", Profile(memory_per_gpu="30G"), SITE, {1: "1"})
    assert "#SBATCH --mem=120G" in text


def test_what_a_profile_passes_to_sbatch_wins_over_its_other_keys() -> None:
    profile = Profile(memory="30G", partition="a", sbatch={"mem": "0", "partition": "b"})
    text = array_script(ARRAY, FOLDER, "c", profile, SITE, {1: "1"})
    assert "#SBATCH --mem=0\n" in text and "#SBATCH --partition=b\n" in text
    assert text.count("--mem") == text.count("--partition") == 1


def test_a_single_rank_looks_for_no_port() -> None:
    alone = JobArray(1, Shape(1, 1, True, 1, 60), {0: ()})
    assert "FER_PORT" not in array_script(alone, FOLDER, "c", Profile(), SITE, {})
    assert "FER_PORT" in array_script(ARRAY, FOLDER, "c", Profile(), SITE, {1: "1"})


@pytest.mark.parametrize("value", ["plain", "$HOME/x", 'a "b" c', "back\\slash", "`date`", "it's"])
def test_a_profiles_value_is_expanded_on_the_node_and_stays_else_as_it_is(value: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf %s {quoted(value)}"], capture_output=True,
                          text=True, env={"HOME": "/h", "PATH": os.environ["PATH"]})
    assert done.stdout == value.replace("$HOME", "/h")


@pytest.mark.parametrize("folder", ["/a b/c", "/it's", '/say "x"', "/a%b", "/$HOME"])
def test_paths_reach_the_job_as_they_are(folder: str) -> None:
    text = array_script(ARRAY, Path(folder), "c", Profile(), SITE, {1: "1"})
    line = next(line for line in text.splitlines() if line.startswith("srun"))
    words = shlex.split(line)
    assert folder in words and f"--output={folder.replace('%', '%%')}/%A_%a_%t.log" in words


@pytest.mark.parametrize(("content", "words"), [
    ("partion: gpu\n", ("partion", "did you mean 'partition'", "valid keys")),
    ("gpu_request: both\n", ("gpu_request", "gpus_per_node", "gres")),
    ("memory_per_gpu: lots\n", ("memory_per_gpu",)),
    ("time: tomorrow\n", ("time",)),
    ("sbatch: {array: 0-3}\n", ("sbatch", "array", "set by the launcher")),
    ("signal_delay: 1\n", ("signal_delay", "10")),
    ("- gpu\n", ("keys and values",)),
])
def test_a_mistake_in_a_profile_names_file_key_and_choices(
    content: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_PROFILES", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(CallerError) as caught:
        load_profile("mine")
    for word in ("mine.yaml", *words):
        assert word in str(caught.value)


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(CallerError, match=r"jupiter.*devcluster.*local"):
        load_profile("jupiter")


def test_a_percent_sign_of_a_folder_is_left_alone() -> None:
    assert _of_first_rank("/x/50%%test/%A_%a_%t.log") == "/x/50%%test/%A_%a_0.log"
