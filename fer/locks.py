"""Advisory file locks (`flock`): one process at a time, released by the kernel when it dies.

File systems without them are refused, because two launchers could train the same run. A lock file
would not do: it would outlive its process, and could only be broken by guessing.
"""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.errors import CallerError
from fer.machine import user_label

NOT_THERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of disks without locks


@contextmanager
def locked(path: Path, content: bool = True) -> Iterator[int]:
    """Hold the lock on a file, creating it if missing; yield its descriptor.

    Args:
        content: whether the file will be written, so that read permission is not enough.

    Raises:
        CallerError: the disk has no locks, or the file is another user's and not accessible.
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
    """Raise a `CallerError` if the disk of a folder has no locks.

    Args:
        variable: environment variable that sets the folder.
    """
    if reason := lock_refusal(folder):
        raise CallerError(f"{folder}: {reason}, or set {variable} to another file system")


def lock_refusal(folder: Path) -> str:
    """Return why locks do not work in a folder; empty if they do."""
    with tempfile.TemporaryFile(dir=folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
            return _no_locks(error)
    return ""


def _no_locks(error: OSError) -> str:
    return (f"no file locks here (flock: {error.strerror}), so two launchers could train the same "
            "run: mount it with locks (Lustre: -o flock)")


def open_lock(path: Path, content: bool) -> int:
    """Return a descriptor of a file to lock, creating it if missing; arguments as for `locked`."""
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
        return f"{path}: this user ({user_label(os.geteuid())}) may not write there"
    return (f"{path}: belongs to {user_label(owner)} and is not writable by "
            f"{user_label(os.geteuid())}; {user_label(owner)} can open it with: "
            f"chmod g+w '{path}'")
