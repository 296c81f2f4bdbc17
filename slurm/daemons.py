"""Starts and ends the daemons of the single-machine SLURM, and only those that it started.

Every daemon writes its process id below the cluster's folder; what is ended is a process with
such an id whose command line names that folder.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from cluster_files import Cluster, gres_conf, slurm_conf, slurmdbd_conf

from fer.errors import CallerError

PACKAGES = ("slurm-wlm", "slurmdbd", "mariadb-server", "munge")
TOOLS = ("slurmctld", "slurmd", "munged")
ACCOUNTING_TOOLS = ("slurmdbd", "mariadbd", "mariadb-install-db")
FOLDERS = ("etc", "run", "log", "state", "spool", "dev", "mysql")
NULL_DEVICE = os.makedev(1, 3)
PATIENCE_S = 60.0


def missing_requirement(accounting: bool = True) -> str:
    """Return why no SLURM can be brought up here; empty where it can."""
    if os.geteuid() != 0:
        return "a SLURM on this machine needs root"
    needed = TOOLS + (ACCOUNTING_TOOLS if accounting else ())
    absent = [tool for tool in needed if shutil.which(tool, path=_path()) is None]
    if absent:
        return (f"{', '.join(absent)} not installed; python slurm/devcluster.py install "
                f"(apt-get install {' '.join(PACKAGES)})")
    return ""


def install_packages() -> None:
    """Install what is missing with apt-get; a `CallerError` says why it cannot be done."""
    if not missing_requirement():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CallerError("installing SLURM needs root and apt-get; the tests of the cluster side "
                          "are skipped without it")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"],
                    ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise CallerError(f"{' '.join(command[:2])} failed: {' '.join(last)}")


def bring_up(cluster: Cluster) -> None:
    """Start what is not running; a cluster that is up already is left as it is.

    Raises:
        CallerError: root or packages are missing, a port is taken, another cluster with other
            settings lies in the folder, or a daemon does not answer.
    """
    if reason := missing_requirement(cluster.accounting):
        raise CallerError(reason)
    record = cluster.folder / "cluster.json"
    wanted = {**asdict(cluster), "folder": str(cluster.folder)}
    if record.is_file() and json.loads(record.read_text()) != wanted:
        raise CallerError(f"{cluster.folder}: a SLURM with other settings is there; take it down "
                          "first: python slurm/devcluster.py down --folder ...")
    if not record.is_file():
        _refuse_taken_ports(cluster)
        _write_files(cluster)
        record.write_text(json.dumps(wanted))  # from here on the ports may be this cluster's own
    _start_munge(cluster)
    if cluster.accounting:
        _start_accounting(cluster)
    _start_slurm(cluster)


def take_down(folder: Path) -> None:
    """End the daemons and the jobs of the cluster in `folder` and remove the folder."""
    if not folder.is_dir():
        return
    if not (folder / "etc" / "slurm.conf").is_file():
        raise CallerError(f"{folder}: no SLURM of this project lies there; nothing was removed")
    for name in ("slurmctld", "slurmdbd"):
        end(folder, name)
    end_jobs(folder)
    for path in (folder / "run").glob("slurmd-*.pid"):
        end(folder, path.stem)
    for name in ("mariadbd", "munged"):
        end(folder, name)
    shutil.rmtree(folder)


def end_jobs(folder: Path) -> None:
    """End the step daemons below `folder`, and what runs under them."""
    import psutil

    for process in psutil.process_iter(["name", "cmdline"]):
        if "slurmstepd" not in (process.info["name"] or ""):
            continue
        with suppress(psutil.NoSuchProcess):
            spool = [p for p in process.open_files() if p.path.startswith(f"{folder}/")]
            if not spool:
                continue
            for child in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def _refuse_taken_ports(cluster: Cluster) -> None:
    for number in range(3 + cluster.nodes):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", cluster.port(number)))
            except OSError:
                raise CallerError(f"port {cluster.port(number)} is taken; choose others with "
                                  "--first-port") from None


def _write_files(cluster: Cluster) -> None:
    folder = cluster.folder
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o755, exist_ok=True)
    for name in cluster.node_names:
        (folder / "spool" / name).mkdir(exist_ok=True)
    for device in cluster.gpu_devices:
        if not device.exists():
            os.mknod(device, 0o666 | stat.S_IFCHR, NULL_DEVICE)
    _write(folder / "etc" / "munge.key", secrets.token_bytes(128), 0o600)
    _write(folder / "etc" / "slurmdbd.conf",
           slurmdbd_conf(cluster, secrets.token_hex(16)).encode(), 0o600)
    _write(folder / "etc" / "gres.conf", gres_conf(cluster).encode(), 0o644)
    _write(cluster.slurm_conf, slurm_conf(cluster).encode(), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)


def _start_munge(cluster: Cluster) -> None:
    run = cluster.folder / "run"
    if running(cluster.folder, "munged"):
        return
    _call(["munged", f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid",
           f"--key-file={cluster.folder}/etc/munge.key", f"--seed-file={run}/munged.seed",
           f"--log-file={cluster.folder}/log/munged.log", "--force"])
    _wait("munged", cluster, lambda: (run / "munge.socket").exists())


def _start_accounting(cluster: Cluster) -> None:
    folder = cluster.folder
    data, run = folder / "mysql", folder / "run"
    connect = ["mariadb", "--no-defaults", f"--socket={run}/mysql.socket", "--user=root", "-e"]
    if not (data / "mysql").is_dir():
        _call(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root",
               "--auth-root-authentication-method=normal", "--skip-test-db"])
    if not running(folder, "mariadbd"):
        _spawn(cluster, "mariadbd", [
            "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={run}/mysql.socket",
            f"--port={cluster.port(2)}", "--bind-address=127.0.0.1", "--user=root",
            f"--pid-file={run}/mariadbd.pid", "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=2", "--innodb-lock-wait-timeout=900",
            f"--tmpdir={run}"])
        _wait("mariadbd", cluster, lambda: _try([*connect, "select 1"]))
        password = next(line.split("=", 1)[1] for line in
                        (folder / "etc/slurmdbd.conf").read_text().splitlines()
                        if line.startswith("StoragePass="))
        _call([*connect, f"create user if not exists slurm@'%' identified by '{password}'; "
                         f"create user if not exists slurm@localhost identified by '{password}'; "
                         "create database if not exists slurm; "
                         "grant all on slurm.* to slurm@'%'; "
                         "grant all on slurm.* to slurm@localhost"])
    if not running(folder, "slurmdbd"):
        _call(["slurmdbd"], SLURM_CONF=str(folder / "etc/slurm.conf"))
        add = ["sacctmgr", "-i", "add", "cluster", cluster.name]
        known = ["sacctmgr", "-n", "-P", "list", "cluster", "format=cluster"]
        _wait("slurmdbd", cluster, lambda: _said(known, cluster) is not None)
        if cluster.name not in (_said(known, cluster) or "").split():
            _call(add, SLURM_CONF=str(cluster.slurm_conf))


def _start_slurm(cluster: Cluster) -> None:
    conf = str(cluster.slurm_conf)
    if not running(cluster.folder, "slurmctld"):
        _call(["slurmctld", "-f", conf])
    for node in cluster.node_names:
        start_node(cluster, node)
    _wait("slurmctld", cluster, lambda: len(
        [line for line in (_said(["sinfo", "-h", "-N", "-p", "main", "-o", "%T"], cluster)
                           or "").split() if line in ("idle", "mixed", "allocated")]
    ) == cluster.nodes)


def start_node(cluster: Cluster, node: str) -> None:
    """Start the slurmd of a node, if it is not running."""
    if not running(cluster.folder, f"slurmd-{node}"):
        _call(["slurmd", "-N", node, "-f", str(cluster.slurm_conf)])


def process_id(folder: Path, name: str) -> int | None:
    """Return the id of a daemon of the cluster in `folder` that is running."""
    try:
        number = int((folder / "run" / f"{name}.pid").read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    environment = ""
    with suppress(OSError):
        environment = Path(f"/proc/{number}/environ").read_bytes().decode(errors="replace")
    return number if str(folder) in command or f"{folder}/etc" in environment else None


def running(folder: Path, name: str) -> bool:
    """Whether a daemon of the cluster in `folder` runs."""
    return process_id(folder, name) is not None


def end(folder: Path, name: str, how: signal.Signals = signal.SIGTERM) -> None:
    """End a daemon of the cluster in `folder`; one that does not listen is killed."""
    number = process_id(folder, name)
    if number is None:
        return
    os.kill(number, how)
    deadline = time.monotonic() + 15
    while running(folder, name):
        if time.monotonic() > deadline:
            os.kill(number, signal.SIGKILL)
        time.sleep(0.05)


def _call(command: Sequence[str], **environment: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PATH": _path(), **environment})
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CallerError(f"{' '.join(command[:3])} ended with {done.returncode}: {' '.join(said)}")


def _spawn(cluster: Cluster, name: str, command: Sequence[str]) -> None:
    """Start a daemon that does not go to the background by itself."""
    with open(cluster.folder / "log" / f"{name}.log", "ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                         start_new_session=True, env={**os.environ, "PATH": _path()})


def _try(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _said(command: Sequence[str], cluster: Cluster) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True,
                          env={**os.environ, "SLURM_CONF": str(cluster.slurm_conf)})
    return done.stdout if done.returncode == 0 else None


def _wait(name: str, cluster: Cluster, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            log = cluster.folder / "log" / f"{name}.log"
            tail = log.read_text(errors="replace").splitlines()[-1:] if log.is_file() else []
            raise CallerError(f"{name} does not answer after {PATIENCE_S:.0f} s; log: {log}: "
                              f"{' '.join(tail)}")
        time.sleep(0.1)
