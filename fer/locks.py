"""Advisory locks on files (`flock`): one process at a time, and the kernel frees a dead one's.

Not every disk has them, and on one without them nothing can keep two launchers from one run: a lock
of our own (a file that is created or linked) would outlive its process, and would have to be broken
by a guess. So that is refused in one line.
"""

import errno
import fcntl
import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.errors import CallerError

NOT_THERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what disks without locks answer


@contextmanager
def locked(path: Path, content: bool = True) -> Iterator[int]:
    """Hold the lock on a file, created where it is missing; yields its descriptor.

    Args:
        content: whether it will be written too, so that being allowed to read is not enough.

    Raises:
        CallerError: the disk has no locks, or the file is another user's, who has not opened it.
    """
    handle = open_lock(path, content)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
            raise CallerError(f"{path}: {_no_locks(error)}") from None
        yield handle
    finally:
        os.close(handle)  # which unlocks


def check_locks(folder: Path, variable: str) -> None:
    """Raise a `CallerError` where the disk of a folder has no locks.

    Args:
        variable: of the environment, that says where the folder is.
    """
    if reason := lock_refusal(folder):
        raise CallerError(f"{folder}: {reason}, or set {variable} to another file system")


def lock_refusal(folder: Path) -> str:
    """Return why locks do not work in a folder; empty where they do."""
    with tempfile.TemporaryFile(dir=folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
            return _no_locks(error)
    return ""


def user_called(uid: int) -> str:
    """Return the name of a user; the number where nobody knows one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _no_locks(error: OSError) -> str:
    return (f"no file locks here (flock: {error.strerror}), so two launchers could train one run "
            "at a time: have it mounted with them (Lustre: -o flock)")


def open_lock(path: Path, content: bool) -> int:
    """Return a descriptor of a file to lock, created where it is missing; arguments as above."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        if not content and os.access(path, os.R_OK):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        raise CallerError(_closed(path)) from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise CallerError(f"{path}: {error.strerror}") from None


def _closed(path: Path) -> str:
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return f"{path}: this user ({user_called(os.geteuid())}) may not write there"
    return (f"{path}: is {user_called(owner)}'s and closed to {user_called(os.geteuid())}; "
            f"{user_called(owner)} opens it by: chmod g+w '{path}'")
