"""Environment of one rank of several, from the variables of SLURM or submitit. Pure.

It must be set before Accelerate is initialised. CUDA_VISIBLE_DEVICES is not changed: every rank
sees the job's GPUs on its node and uses the one of its local rank; if SLURM shows each task only
its own GPU (`--gpus-per-task`), that is number 0.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping
from zlib import crc32

from fer.study.job_environment import restart_of_process

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
                  "MASTER_PORT", "GROUP_RANK", "ROLE_RANK", "NODE_RANK")  # of torchrun and others
FIRST_PORT, PORTS = 12_000, 20_000  # below 32768, where the ephemeral ports begin


def slurm_ranks(
    environment: Mapping[str, str], resolves: Callable[[str], bool] | None = None
) -> dict[str, str]:
    """Return the variables of torch.distributed for a task of `srun`; none for a single task.

    Args:
        environment: environment of the task.
        resolves: returns whether a host name has an address; None asks the system.
    """
    world = int(environment["SLURM_NTASKS"])
    if world == 1:
        return {}
    nodes = int(environment["SLURM_JOB_NUM_NODES"])
    first = _first_host(environment["SLURM_JOB_NODELIST"])
    known = (resolves or _resolves)(first)
    return {
        "RANK": environment["SLURM_PROCID"], "LOCAL_RANK": _local_rank(environment),
        "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world // nodes),
        # the node's name need not resolve; srun runs on the first node of the job
        "MASTER_ADDR": first if known else environment["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": environment.get("FER_PORT") or str(job_port(environment)),
    }


def set_ranks(variables: Mapping[str, str]) -> None:
    """Set the variables of a rank in this process; those of the launching shell do not apply."""
    for name in RANK_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(variables)


def outside_job(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment for `sbatch`: without variables of a job or of ranks.

    SBATCH_* variables would override the script (`fer.cluster.profile_files` reads those that a
    profile leaves open).
    """
    kept = {name: value for name, value in environment.items()
            if not name.startswith("SBATCH_") and name not in RANK_VARIABLES}
    if "SLURM_JOB_ID" not in environment:
        return kept
    kept = {name: value for name, value in kept.items()
            if not re.match(r"(SLURM|SLURMD|SRUN|SUBMITIT|PMI|PMIX|FER)_", name)
            and name != "CUDA_VISIBLE_DEVICES"}
    if "SLURM_CONF" in environment:  # identifies the SLURM installation, not the job
        kept["SLURM_CONF"] = environment["SLURM_CONF"]
    return kept


def job_port(environment: Mapping[str, str]) -> int:
    """Return the port that a start of a job tries first; starts close in time differ."""
    restart = restart_of_process(environment)
    cluster = crc32(environment.get("SLURM_CLUSTER_NAME", "").encode())
    return FIRST_PORT + (cluster + int(environment["SLURM_JOB_ID"]) * 31 + restart) % PORTS


def free_port_from(first: int) -> int:
    """Return the first free port from `first` on, in the range of jobs."""
    for step in range(PORTS):
        port = FIRST_PORT + (first - FIRST_PORT + step) % PORTS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    return first


def _local_rank(environment: Mapping[str, str]) -> str:
    local = int(environment["SLURM_LOCALID"])
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return str(local % len(visible) if visible else local)


def _first_host(nodes: str) -> str:
    """Return the first name of a node list such as `n[03-05,9],m1`."""
    prefix, bracket, rest = nodes.partition("[")
    if not bracket or "," in prefix:
        return prefix.split(",")[0]
    inside, _, suffix = rest.partition("]")
    return prefix + inside.split(",")[0].split("-")[0] + suffix.split(",")[0]


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def local_ranks(rank: int, world: int, port: int) -> dict[str, str]:
    """Return the variables for one of several processes on this machine; none for a single one."""
    if world == 1:
        return {}
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


if __name__ == "__main__":  # called by the batch script, which runs on the node of rank 0
    print(free_port_from(job_port(os.environ)))
