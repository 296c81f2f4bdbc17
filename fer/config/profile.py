"""Cluster profiles: the keys of `slurm/profiles/NAME.yaml`, all optional.

Reading the files is in `fer.cluster.profile_files`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fer.config.base import Count, Frozen, NotNegative
from fer.config.study import TIME_PATTERN
from fer.errors import choices

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

OWN_KEYS = ("array", "comment", "dependency", "nodes", "ntasks-per-node", "output", "error",
            "requeue", "signal", "open-mode", "chdir", "kill-on-invalid-dep")


class Profile(Frozen):
    """The settings of one cluster for `sbatch` and the nodes.

    Args:
        partition, account, qos, constraint, reservation, exclude: as in `sbatch`.
        report_partition: for the job that builds the report; needs no GPU.
        gpu_request: how GPUs are requested: `gpus_per_node` (`--gpus-per-node=2`), `gres`
            (`--gres=gpu:2`), `gpus_per_task` (`--gpus-per-task=1`), `none` (CPU nodes).
        gpu_type: for example `a100`, if the cluster distinguishes GPU types.
        gpus_per_node: number of GPUs of a node; a study that requests more is refused.
        cpus_per_gpu: cores for each rank; never fewer than the run's threads.
        memory_per_gpu, memory: with unit, such as `32G`: of each rank, or of a node.
        time: maximum time limit of a job; a longer run continues in the next job.
        array_parallelism: maximum number of concurrent jobs of an array.
        signal_delay: seconds before the time limit at which save and exit is requested.
        max_restarts: how often a job is requeued.
        hang_minutes: minutes without a step after which a job is ended as hung and restarted once;
            more where the run's own pauses are long; 0 for never.
        network_interface: for NCCL and gloo, such as `ib0`.
        python: command that starts Python on a node; default: the interpreter that submits. May be
            a container: `apptainer exec --nv /images/fer.sif python`.
        setup: shell lines that run before it: modules, conda.
        environment: variables of the jobs; FER_DATA, FER_HOME and FER_CACHE also apply to the
            launcher.
        sbatch: additional `#SBATCH` parameters, long names without dashes; `true` for options
            without a value, `false` to leave one out.
        srun: additional arguments of `srun`.
        scratch: node-local folder to which packs are copied; may name a variable of the job, such
            as `$TMPDIR`.
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
    hang_minutes: NotNegative = 10
    network_interface: str | None = None
    python: str | None = None
    setup: list[str] = []
    environment: dict[VariableName, str] = {}
    sbatch: dict[str, str | bool] = {}
    srun: list[str] = []
    scratch: str | None = None

    @field_validator("sbatch", mode="before")
    @classmethod
    def _flags(cls, sbatch: Any) -> Any:
        """`true` is an option without a value, `false` leaves it out; all else is text."""
        if not isinstance(sbatch, Mapping):
            return sbatch
        plain = {key: str(value).lower() if isinstance(value, bool) else
                 str(value) if isinstance(value, int) else value for key, value in sbatch.items()}
        return {key: True if value == "true" else value for key, value in plain.items()
                if value != "false"}

    @field_validator("sbatch")
    @classmethod
    def _not_our_own(cls, sbatch: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in sbatch:
            if key.lstrip("-").replace("_", "-") in OWN_KEYS:
                raise ValueError(f"'{key}' is set by the launcher; it sets: {choices(OWN_KEYS)}")
        return sbatch
