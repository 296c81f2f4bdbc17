"""Who may read and write what was written: the umask says it, for one user and for a group."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import REPOSITORY, launch, toy_arguments
from test_mistakes import said_in_one_line
from test_resume import numbers

from fer.atomic_io import replacing, write_text
from fer.cluster.local_job import make_private
from fer.errors import CallerError
from fer.locks import locked
from fer.study.lease import Lease

Write = Callable[..., Path]
GROUP, USERS = 61_000, (61_001, 61_002)  # nobody's on this machine
needs_root = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "setpriv", "--reuid", "61001", "true"],
                   capture_output=True).returncode != 0, reason="needs root, to be two other users")


@pytest.fixture(params=[0o002, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_published_files_and_locks_follow_the_umask(umask: int, tmp_path: Path) -> None:
    write_text(tmp_path / "text", "x")
    with replacing(tmp_path / "private") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT, 0o600))  # as safetensors does
    Lease(tmp_path / "lease").take()
    with locked(tmp_path / "lock", content=False):
        pass
    assert {path.name: oct(mode(path)) for path in tmp_path.iterdir()} == dict.fromkeys(
        ("text", "private", "lease", "lease.owner.json", "lock"), oct(0o666 & ~umask))


@pytest.mark.parametrize("write", [
    lambda path: write_text(path, "ours"),
    lambda path: replacing(path).__enter__().write_text("ours"),
], ids=["text", "replacing"])
def test_a_link_in_place_of_a_temporary_file_is_not_followed(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    from fer.atomic_io import temporary_name

    victim = tmp_path / "victim"
    victim.write_text("theirs")
    temporary_name(tmp_path / "status.json").symlink_to(victim)
    write(tmp_path / "status.json")
    assert victim.read_text() == "theirs"


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_folder_in_place_of_a_lease_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "lease").mkdir()
    with pytest.raises(CallerError, match="lease: Is a directory"):
        Lease(tmp_path / "lease").take()


@pytest.mark.parametrize("spoil", [
    lambda folder: folder.mkdir(parents=True, mode=0o755),
    lambda folder: (folder.parent.mkdir(), folder.write_text("")),
    lambda folder: (folder.parent.mkdir(), folder.symlink_to("/tmp")),
    lambda folder: (folder.mkdir(parents=True, mode=0o700), os.chown(folder, 65534, -1)),
], ids=["open to others", "a file", "a link", "another's"])
def test_a_folder_for_pickles_that_others_may_write_is_refused(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    try:
        spoil(tmp_path / "jobs/me")
    except PermissionError:
        pytest.skip("needs root, to give a folder to another user")
    with pytest.raises(CallerError, match="mode 700"):
        make_private(tmp_path / "jobs/me")


def test_the_folder_for_pickles_is_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    make_private(tmp_path / "jobs/me")
    make_private(tmp_path / "jobs/me")
    assert mode(tmp_path / "jobs/me") & 0o777 == 0o700


@pytest.mark.parametrize("umask", [0o002, 0o077], indirect=True, ids=oct)
def test_everything_that_a_study_writes_follows_the_umask_but_what_jobs_unpickle(
    umask: int, places: Path, toy_study: Write
) -> None:
    done = launch("sweep", toy_study({"train_on": ["lfw"], "seed": [0]}))
    assert done.returncode == 0, done.stdout + done.stderr
    private = [path for path in places.glob("studies/*/jobs/*")]
    assert [oct(mode(path)) for path in private] == [oct(0o700)]
    given = {places.parent / "cache"}  # before the umask
    wrong = {}
    for root in (places, places.parent / "cache"):
        for path in [root, *root.rglob("*")]:
            if path.is_symlink() or path in given or any(
                    path.is_relative_to(one) for one in private):
                continue
            asked = (0o777 if path.is_dir() else 0o666) & ~umask
            if mode(path) != asked:
                wrong[str(path.relative_to(places.parent))] = oct(mode(path))
    assert not wrong


AS_USER = """
set -e
user=$1 group=$2 closed=$3 python=$4; shift 4
if [ "$closed" ]; then  # in this mount namespace only
    mkdir -p "$TMPDIR/under" && mount --bind "$closed" "$TMPDIR/under"
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$python" && mount --bind "$TMPDIR/under/${python#$closed/}" "$python"
fi
umask 002
exec setpriv --reuid "$user" --regid "$user" --groups "$group" "$@"
"""


def as_user(user: int, command: list[str]) -> list[str]:
    """Return a command that runs another as a user of the group, with umask 002.

    Where this Python lies below a folder that is closed to others, such as /root, it is shown to
    them there, and nothing else of that folder.
    """
    python = Path(sys.base_prefix).resolve()
    closed = next((str(one) for one in reversed(python.parents) if not mode(one) & 0o001), "")
    return ["unshare", "--mount", "sh", "-c", AS_USER, "sh", str(user), str(GROUP), closed,
            str(python), *command]


@dataclass(frozen=True)
class Group:
    """A store that two users share: a folder of their group, with the setgid bit."""

    place: Path
    study: Path

    @property
    def home(self) -> Path:
        return self.place / "home"

    def start(self, user: int, script: str, *arguments: object, inject: str = ""
              ) -> subprocess.Popen[str]:
        own = self.place / str(user)
        env = {**os.environ, "FER_DATA": str(self.place / "data"), "FER_HOME": str(self.home),
               "FER_CACHE": str(self.place / "cache"), "HOME": str(own), "USER": str(user),
               "LOGNAME": str(user), "TMPDIR": str(own), "FER_INJECT": inject,
               "PYTHONPATH": f"{REPOSITORY / 'tests/inject'}:{REPOSITORY}"}
        command = [sys.executable, str(REPOSITORY / "launch" / f"{script}.py"),
                   *map(str, arguments)]
        return subprocess.Popen(as_user(user, command), stdout=subprocess.PIPE, cwd=own, env=env,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)

    def run(self, user: int, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        process = self.start(user, script, *arguments)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.fixture
def group(toy_data: Path, toy_study: Write) -> Iterator[Group]:
    place = Path(tempfile.mkdtemp(prefix="fer-group-"))
    place.chmod(0o755)
    try:
        shutil.copytree(toy_data, place / "data")
        (place / "data").chmod(0o755)
        study = shutil.copy(toy_study({"train_on": ["lfw"], "seed": [0]}), place)
        for name in ("home", "cache"):
            (place / name).mkdir()
            os.chown(place / name, -1, GROUP)
            (place / name).chmod(0o2775)
        for user in USERS:
            (place / str(user)).mkdir()
            os.chown(place / str(user), user, user)
        yield Group(place, Path(study))
    finally:
        shutil.rmtree(place)


@needs_root
@pytest.mark.slow
def test_a_colleague_goes_on_with_a_run_whose_user_was_killed(
    group: Group, places: Path
) -> None:
    first, second = USERS
    process = group.start(first, "sweep", group.study, inject="slow:0.3")
    deadline = time.monotonic() + 300
    while not list(group.home.glob("runs/*/checkpoints/last")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = group.run(second, "sweep", group.study)
    assert done.returncode == 0, done.stdout + done.stderr
    again = group.run(first, "sweep", group.study)
    assert again.returncode == 0 and "nothing to train" in again.stdout, again.stderr
    assert launch("sweep", group.study).returncode == 0
    (ours,), (calm,) = (list(home.glob("runs/*")) for home in (group.home, places))
    assert numbers(ours) == numbers(calm)
    assert json.loads((ours / "status.json").read_text())["restarts"] == 1
    for folder in group.home.glob("studies/toy/jobs/*"):
        assert mode(folder) & 0o777 == 0o700 and folder.name == str(folder.stat().st_uid)
    assert {path.name for path in group.home.glob("studies/toy/jobs/*")} == set(map(str, USERS))


@pytest.mark.slow
@needs_root
def test_a_lease_of_an_early_version_that_is_closed_to_the_group_says_who_opens_it(
    group: Group
) -> None:
    first, second = USERS
    arguments = ["configs/drawn.yaml", *toy_arguments(train__epochs=1, evaluate_on="[lfw/eval]")]
    arguments[0] = str(REPOSITORY / arguments[0])
    assert group.run(first, "train", *arguments).returncode == 0
    (run,) = group.home.glob("runs/*")
    (run / "lease").chmod(0o644)
    (run / "results/lfw/eval.json").unlink()
    said_in_one_line(group.run(second, "train", *arguments), str(run / "lease"),
                     f"belongs to {first}", "chmod g+w")
