"""What one cluster wants to be told: `slurm/profiles/NAME.yaml`, every key optional.

Not for what a run needs (`fer.cluster.arrays`), nor for a script's text (`fer.cluster.script`).
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fer.config.places import REPOSITORY
from fer.config.schema import Count, Frozen
from fer.config.study import TIME_PATTERN
from fer.config.tree import read_tree
from fer.config.validate import validate
from fer.errors import CallerError, choices

DEFAULT = "default"  # names another profile; this user's own, not in the repository
LOCAL = "local"
PLACES = ("FER_DATA", "FER_HOME", "FER_CACHE")
OWN_KEYS = ("array", "comment", "dependency", "nodes", "ntasks-per-node", "output", "error",
            "requeue", "signal", "open-mode", "chdir", "kill-on-invalid-dep")


class Profile(Frozen):
    """One cluster, as `sbatch` and the nodes want it.

    Args:
        partition, account, qos, constraint, reservation, exclude: as in `sbatch`.
        report_partition: for the job that makes the report; needs no GPU.
        gpu_request: how GPUs are asked for: `gpus_per_node` (`--gpus-per-node=2`), `gres`
            (`--gres=gpu:2`), `gpus_per_task` (`--gpus-per-task=1`), `none` (CPU nodes).
        gpu_type: as in `a100`, where the cluster tells GPUs apart.
        gpus_per_node: how many GPUs a node has; a study that wants more is refused.
        cpus_per_gpu: cores for each rank; a run's own threads are the least.
        memory_per_gpu, memory: with unit, as in `32G`: of each rank, or of a node.
        time: the longest that a job may ask for; a longer run goes on in the next job.
        array_parallelism: the most jobs of an array that run at a time.
        signal_delay: seconds before the time limit at which a job is asked to save and leave.
        max_restarts: how often a job is requeued.
        network_interface: for NCCL and gloo, as in `ib0`.
        python: command that starts Python on a node; the interpreter that submits where empty. A
            container goes here: `apptainer exec --nv /images/fer.sif python`.
        setup: shell lines before that: modules, conda.
        environment: variables of the jobs; FER_DATA, FER_HOME and FER_CACHE also hold for the
            launcher.
        sbatch: more `#SBATCH` parameters, long names without dashes.
        srun: more arguments of `srun`.
        scratch: folder on a node's own disk to which packs are copied; may name a variable of the
            job, as in `$TMPDIR`.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    exclude: str | None = None
    report_partition: str | None = None
    gpu_request: Literal["gpus_per_node", "gres", "gpus_per_task", "none"] = "gpus_per_node"
    gpu_type: str | None = None
    gpus_per_node: Count | None = None
    cpus_per_gpu: Count = 1
    memory_per_gpu: Annotated[str | None, Field(pattern=r"^\d+[KMGT]$")] = None
    memory: Annotated[str | None, Field(pattern=r"^\d+[KMGT]$")] = None
    time: Annotated[str | None, Field(pattern=TIME_PATTERN)] = None
    array_parallelism: Count = 256
    signal_delay: Annotated[int, Field(ge=10, le=3600)] = 120
    max_restarts: Annotated[int, Field(ge=0)] = 20
    network_interface: str | None = None
    python: str | None = None
    setup: list[str] = []
    environment: dict[str, str] = {}
    sbatch: dict[str, str | int | bool] = {}
    srun: list[str] = []
    scratch: str | None = None

    @field_validator("sbatch")
    @classmethod
    def _not_our_own(cls, sbatch: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in sbatch:
            if key.lstrip("-").replace("_", "-") in OWN_KEYS:
                raise ValueError(f"'{key}' is set by the launcher; it sets: {choices(OWN_KEYS)}")
        return sbatch


def folder() -> Path:
    """Return the folder of the profiles: `$FER_PROFILES`, else `slurm/profiles`."""
    return Path(os.environ.get("FER_PROFILES") or REPOSITORY / "slurm" / "profiles")


def profile_file(name: str) -> Path:
    """Return the file of a profile; it need not exist."""
    return folder() / f"{name}.yaml"


def profile_names() -> list[str]:
    """Return the names of the profiles that are there."""
    return sorted(path.stem for path in folder().glob("*.yaml") if path.stem != DEFAULT)


def load_profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        CallerError: there is none, or a key or a value in it is wrong.
    """
    path = profile_file(name)
    if name == DEFAULT or not path.is_file():
        raise CallerError(f"no profile '{name}' in {folder()}; there are: "
                          f"{choices([LOCAL, *profile_names()])}")
    return validate(Profile, read_tree(path), str(path))


def default_cluster() -> str:
    """Return where to run when nobody said so: this machine, or what `default.yaml` names.

    A machine that has `sbatch` but no `default.yaml` is used alone, since which partition and
    account to use cannot be guessed.
    """
    path = profile_file(DEFAULT)
    if shutil.which("sbatch") is None or not path.is_file():
        return LOCAL
    tree = read_tree(path)
    if set(tree) != {"profile"} or not isinstance(tree["profile"], str):
        raise CallerError(f"{path}: has one key, profile, with the name of one of: "
                          f"{choices([LOCAL, *profile_names()])}")
    return tree["profile"]


def use_places(profile: Profile) -> None:
    """Let FER_DATA, FER_HOME and FER_CACHE be those of a profile, where the shell says nothing."""
    for name in PLACES:
        if name in profile.environment:
            os.environ.setdefault(name, os.path.expandvars(profile.environment[name]))


def use_places_of(cluster: str) -> None:
    """Do the same for a cluster by name; empty for the default, `local` for no profile."""
    name = cluster or default_cluster()
    if name != LOCAL:
        use_places(load_profile(name))
