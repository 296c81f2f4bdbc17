"""Distributed training of one run: Accelerate's process group, device and collectives.

Everything distributed goes through a `Session`, so the training loop is the same for one process
and for many. Accelerate handles process group, device, DDP, autocast, backward, clipping and
gathering. It does not handle sample order, learning rate, random numbers or checkpoints. Torch's
generators are seeded statelessly, like all randomness in this package.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import broadcast_object_list
from torch import nn

from fer.config.run import Compute
from fer.data.stable_hash import key
from fer.errors import CallerError

# Accelerate reads these before WORLD_SIZE on CPU nodes; some MPI installations leave them set
MPI_VARIABLES = ("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")

Found = TypeVar("Found")


class Session:
    """One process's view of the group: `rank` of `world`, its device, and the collectives."""

    def __init__(self, accelerator: Accelerator, compute: Compute) -> None:
        self.accelerator = accelerator
        self.compute = compute
        self.device: torch.device = accelerator.device
        self.rank: int = accelerator.process_index
        self.world: int = accelerator.num_processes

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes the files."""
        return self.rank == 0

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` over the ranks, on every rank."""
        if self.world == 1:
            return values
        return self.accelerator.reduce(values, reduction="sum")

    def any_rank(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether any rank set it; every rank must call it."""
        if self.world == 1:
            return flags
        counts = self.all_reduce_sum(torch.tensor(flags, dtype=torch.int32, device=self.device))
        return tuple(bool(count) for count in counts.tolist())

    def from_first(self, ask: Callable[[], Found]) -> Found:
        """Return the first rank's result of `ask` on every rank; only the first rank calls it.

        Used for reads from disk, which may lag behind on another node. Every rank must call it.
        """
        if self.world == 1:
            return ask()
        found = [ask() if self.first else None]
        broadcast_object_list(found)
        return cast(Found, found[0])

    def gather_rows(self, rows: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        """Return the rows of all ranks (own count x C), concatenated, on every rank.

        Args:
            sizes: number of rows per rank.
        """
        if self.world == 1:
            return rows
        longest = max(sizes)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        stacked = self.accelerator.gather(padded)
        return torch.cat([stacked[r * longest : r * longest + n] for r, n in enumerate(sizes)])

    def wait(self) -> None:
        """Wait until every rank has called this."""
        self.accelerator.wait_for_everyone()

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return `model` prepared for training: on the device, in DDP if there are several ranks.

        `requires_grad` must be final: a new phase calls this again on the bare model.
        """
        if self.world == 1:
            return model  # autocast is applied around the forward pass
        with warnings.catch_warnings():  # Accelerate passes the older name of a torch argument
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return self.accelerator.prepare_model(model)

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Return the bare model from the result of `wrap`."""
        if self.world == 1:
            return model
        bare = self.accelerator.unwrap_model(
            model, keep_fp32_wrapper=False, keep_torch_compile=False)
        self.accelerator.free_memory()
        return bare


@contextmanager
def open_session(compute: Compute) -> Iterator[Session]:
    """Yield the session of this process; reset Accelerate's singletons afterwards.

    Raises:
        CallerError: CUDA is requested but not available.
    """
    for variable in MPI_VARIABLES:
        os.environ.pop(variable, None)
    cpu = compute.device == "cpu" or not torch.cuda.is_available()
    torch.backends.cudnn.benchmark = compute.determinism == "fast"
    if compute.device == "cuda" and cpu:
        raise CallerError("compute.device: 'cuda' requested, but torch sees no GPU; "
                          "set compute.device=cpu, or check nvidia-smi")
    if cpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"  # otherwise every rank is a main process
    torch.set_num_threads(compute.threads)
    _reset_singletons()
    with _determinism(compute):
        accelerator = Accelerator(
            cpu=cpu,
            mixed_precision="bf16" if compute.precision == "bf16" else "no",
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        _check_world(accelerator)
        _refuse_silent_local_batch_norm(accelerator, compute)
        try:
            yield Session(accelerator, compute)
        finally:
            if not cpu:  # garbage collection takes 0.2 s, longer than a small run
                accelerator.free_memory()
            _reset_singletons()


def leave_group() -> None:
    """Destroy the process group once every rank has called this; without one, do nothing.

    A group that is destroyed at interpreter exit may abort slower ranks and so fail a job that has
    finished its work.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _reset_singletons() -> None:
    """Allow the next run in this process to use another precision; keep the process group."""
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()
    GradientState._reset_state()


def _check_world(accelerator: Accelerator) -> None:
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    initialised = torch.distributed.is_available() and torch.distributed.is_initialized()
    actual = torch.distributed.get_world_size() if initialised else 1
    assert accelerator.num_processes == expected == actual, (
        f"Accelerate sees {accelerator.num_processes} processes, torch.distributed {actual}, "
        f"WORLD_SIZE says {expected}")


def _refuse_silent_local_batch_norm(accelerator: Accelerator, compute: Compute) -> None:
    """Raise if batch-norm would silently be local: the run id implies synchronised batch-norm."""
    cpu_ranks = accelerator.num_processes > 1 and accelerator.device.type == "cpu"
    if cpu_ranks and compute.device != "cpu" and compute.batch_norm == "sync":
        raise CallerError("compute.device: torch sees no GPU here, and ranks on CPUs cannot "
                          "synchronise batch-norm; set compute.device=cpu or "
                          "compute.batch_norm=local, either of which is part of the run id")


@contextmanager
def _determinism(compute: Compute) -> Iterator[None]:
    if compute.determinism == "fast":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before: Any = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def synchronised_batch_norm(model: nn.Module, session: Session) -> tuple[nn.Module, str]:
    """Return the model with batch-norm as configured for several ranks, and a log line."""
    if session.world == 1:
        return model, ""
    if session.compute.batch_norm == "local":
        return model, "batch-norm is local to each rank, as configured"
    if session.device.type != "cuda":
        return model, ("batch-norm stays local to each rank: PyTorch synchronises it on GPUs only, "
                       "and these ranks are CPU processes")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model), "batch-norm is synchronised over ranks"


def average_batch_norm(model: nn.Module, session: Session) -> None:
    """Average the running statistics over the ranks before they are read or saved.

    Computed as the first rank's value plus the mean difference from it: statistics that are equal
    on all ranks (frozen layers) stay bitwise identical, unlike with sum / world.
    """
    if session.world == 1:
        return
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            first = session.all_reduce_sum(buffer if session.first else torch.zeros_like(buffer))
            buffer.copy_(first + session.all_reduce_sum(buffer - first) / session.world)


def seed_torch(seed: int, *numbers: int) -> None:
    """Seed torch's generators of the CPU and of GPUs in use from (seed, numbers).

    Same effect as `torch.manual_seed`, which costs a millisecond per step before a GPU has been
    used: it then records a stack trace at every call.
    """
    value = key(seed, *numbers) >> 1
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
