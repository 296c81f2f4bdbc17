"""What tests start as one or more gloo ranks, in processes of their own: not a test itself.

    samples RUN_FOLDER RECORD [STOP_AFTER_STEPS]
    gradient MICRO_BATCH OUT [typed | joint | consistency | distill]
    statistics OUT

The rank that LAGGING_RANK names sees a disk on which nothing written lately has arrived.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
import torch._dynamo
from torch import nn

from fer.config.recipe import Pair
from fer.config.run import Compute, Loss
from fer.data.batches import Batch, TrainBatches
from fer.data.sampler import share
from fer.study.lease import Lease
from fer.study.run_folder import RunFolder
from fer.train import checkpoint
from fer.train.distributed import average_batch_norm, leave_group, open_session
from fer.train.losses import (
    BothViews,
    Distillation,
    Objective,
    WeightedCrossEntropy,
    backward,
    class_weights,
)
from fer.train.run_tasks import Task, run_task


def lag() -> None:
    """Have this rank see a disk on which nothing that was written lately has arrived."""
    shown, verify = [0], checkpoint.verify

    def verified(folder: Path) -> None:
        shown[0] += 1
        if shown[0] < 4:
            raise checkpoint.Damaged(f"{folder}: not here yet")
        verify(folder)

    checkpoint.verify = verified
    checkpoint.Checkpoints.steps = lambda self: []  # type: ignore[method-assign]
    RunFolder.trained = property(lambda self: False)  # type: ignore[assignment]
    RunFolder.evaluated = lambda self, *_: False  # type: ignore[method-assign]


def samples(folder: Path, record: Path, stop_after: int) -> None:
    """Train a run and record which samples and pixels each step of this rank saw."""
    original, seen = TrainBatches.batch, []

    def recording(self: TrainBatches, epoch: int, step: int) -> Batch:
        batch = original(self, epoch, step)
        pixels = [round(float(image.double().sum()), 6) for image in batch.images]
        if batch.second is not None:
            pixels = [[*pair] for pair in zip(
                pixels, [round(float(image.double().sum()), 6) for image in batch.second],
                strict=True)]
        seen.append([epoch, step, batch.start, batch.indices.tolist(), pixels])
        if len(seen) > stop_after:
            record.write_text(json.dumps(seen))
            os._exit(9)  # as kill -9: nothing is tidied up
        return batch

    TrainBatches.batch = recording  # type: ignore[method-assign]
    with open_session(Compute(device="cpu")) as session:
        if session.first:
            Lease(folder / "lease").take()
        session.wait()
        run_task(Task(folder), session)
    record.write_text(json.dumps(seen))


def gradient(micro_batch: int, out: Path, kind: str) -> None:
    """Write the gradient of one global batch of 32 with class weights, from this rank's share.

    `typed`: each picture has a weight of its own, as where types of masks weigh the same.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    images, second = torch.randn(2, 32, 3, 2, 2)
    labels = torch.arange(32) % 3 % 2 + (torch.arange(32) > 28)
    if kind == "typed":
        labels = torch.eye(3)[labels] * torch.rand(32, 1)
    loss = WeightedCrossEntropy(class_weights(Loss(class_weights=(4.0, 0.9, 0.6)), [1, 1, 1]), 0.1,
                                torch.device("cpu"))
    with open_session(Compute(device="cpu")) as session:
        start, stop = share(0, 32, session.rank, session.world)
        distributed = session.wrap(model)
        batch = Batch(images[start:stop], labels[start:stop], np.arange(start, stop), start,
                      labels.numpy(), second[start:stop])
        objective = Objective(loss)
        if kind in ("joint", "consistency"):
            objective = BothViews(loss, Pair(how=kind, weight=1.5, temperature=2.0))
        elif kind == "distill":
            objective = Distillation(loss, Pair(how=kind, weight=1.5),
                                     lambda images: images.flatten(1)[:, :3])
        part = backward(session, distributed, objective, batch, micro_batch or None)
        total = session.all_reduce_sum(part)
        if session.first:
            gradients = [p.grad.flatten().numpy() for p in model.parameters()]
            np.save(out, np.concatenate([*gradients, [float(total)]]))


def statistics(out: Path) -> None:
    """Average the batch-norm of a layer that all ranks share and of one that is each rank's own."""
    torch.manual_seed(0)
    frozen, own = nn.BatchNorm2d(500).eval(), nn.BatchNorm2d(4)
    frozen.running_mean.normal_()
    frozen.running_var.uniform_()
    before = frozen.running_mean.clone(), frozen.running_var.clone()
    with open_session(Compute(device="cpu")) as session:
        own.running_mean.fill_(float(session.rank))
        for _ in range(3):
            average_batch_norm(nn.Sequential(frozen, own), session)
        if session.first:
            kept = [torch.equal(*pair) for pair in zip(
                before, (frozen.running_mean, frozen.running_var), strict=True)]
            out.write_text(json.dumps({"kept": kept, "mean": own.running_mean.tolist()}))
        session.wait()


def main(arguments: list[str]) -> None:
    """Do what the command line says, as the rank of the environment."""
    if os.environ.get("RANK", "0") == os.environ.get("LAGGING_RANK"):
        lag()
    if arguments[0] == "samples":
        samples(Path(arguments[1]), Path(f"{arguments[2]}.{os.environ.get('RANK', '0')}"),
                int(arguments[3]) if len(arguments) > 3 else 2**31)
    elif arguments[0] == "statistics":
        statistics(Path(arguments[1]))
    else:
        gradient(int(arguments[1]), Path(arguments[2]), (*arguments[3:], "plain")[0])
    leave_group()


def begin(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Be a rank: with this environment, and all output in a file."""
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    main(arguments)
