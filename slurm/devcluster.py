"""A real SLURM on this machine, from Debian's packages: for tests and for trying things.

    python slurm/devcluster.py up        # as root
    eval "$(python slurm/devcluster.py env)"
    sinfo
    python slurm/devcluster.py down

Two pretended nodes with two fake GPUs each, accounting, and two partitions: jobs in `urgent`
preempt those in `main`. Everything lies in one folder and listens on loopback, on ports of its
own; no other SLURM on the machine is touched. It computes on this machine's real cores.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import typer

from fer.cli import run

DEFAULT_FOLDER = Path("/tmp/fer-devcluster")  # short: a socket's path may have 107 bytes
Folder = Annotated[Path, typer.Option(help="Holds everything of this SLURM.")]


def up(
    folder: Folder = DEFAULT_FOLDER,
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Pretended nodes.")] = 2,
    gpus: Annotated[int, typer.Option(min=0, max=16, help="Fake GPUs of each node.")] = 2,
    accounting: Annotated[bool, typer.Option(help="Run slurmdbd and MariaDB, for sacct.")] = True,
    max_array: Annotated[int, typer.Option(min=2, help="SLURM's MaxArraySize.")] = 1001,
    pace: Annotated[str, typer.Option(help="real: SLURM's own waits (a requeued job is held for "
                                           "two minutes); fast: seconds, for tests.")] = "real",
    warn: Annotated[bool, typer.Option(help="Send USR2 at preemption and grant grace; else "
                                            "SIGTERM and soon SIGKILL.")] = True,
    grace: Annotated[int, typer.Option(min=1, help="Seconds between USR2 and the end.")] = 60,
    first_port: Annotated[int, typer.Option(help="First of a row of ports on loopback.")] = 26817,
) -> None:
    """Bring it up; where it is up already, nothing is done."""
    from cluster_files import SLOWNESS, Cluster
    from daemons import bring_up

    from fer.errors import CallerError

    if pace not in SLOWNESS:
        raise CallerError(f"--pace {pace}: choose one of: {', '.join(SLOWNESS)}")
    cores = max(gpus, (os.cpu_count() or 1) // nodes, 1)
    cluster = Cluster(folder.absolute(), nodes, gpus, accounting, max_array, pace, warn, grace,
                      first_port, cores, memory_mb())
    bring_up(cluster)
    print(f"up: {nodes} nodes with {gpus} fake GPUs each; to use it:\n"
          f"export SLURM_CONF='{cluster.slurm_conf}'")


def memory_mb() -> int:
    """Return this machine's memory in MB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def down(folder: Folder = DEFAULT_FOLDER) -> None:
    """Take it down, with every job on it, and remove its folder."""
    from daemons import take_down

    take_down(folder.absolute())


def env(folder: Folder = DEFAULT_FOLDER) -> None:
    """Print the environment to export, for: eval "$(python slurm/devcluster.py env)"."""
    import shlex

    from cluster_files import Cluster

    from fer.errors import CallerError

    conf = Cluster(folder.absolute()).slurm_conf
    if not conf.is_file():
        raise CallerError(f"{folder}: no SLURM there; python slurm/devcluster.py up brings it up")
    print(f"export SLURM_CONF={shlex.quote(str(conf))}")


def install() -> None:
    """Install Debian's packages of SLURM, munge and MariaDB (needs root and apt-get)."""
    from daemons import install_packages

    install_packages()


if __name__ == "__main__":
    run(up, down, env, install)
