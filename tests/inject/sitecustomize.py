"""Faults for the tests, put into the Python of a job by its PYTHONPATH.

FER_INJECT names them, separated by spaces, each with arguments after colons:
    slow:SECONDS            every training step takes at least so long
    raise:RANK:STEP         a rank raises at its step
    hang:RANK:STEP          a rank waits for ever at a step, but not after a restart
    hang:RANK:STEP:always   also after a restart
    fork:COUNT              children that inherit the signal handlers, as loader processes do
    weights:FOLDER          each rank writes a digest of its weights after the last step
    exit:STEP               the process vanishes at a step of its own start, without a word
    exit:STEP:killed        the same, by SIGKILL
    plain                   reports have no figures: no fault, but quick
    die                     every process of a job of this machine is killed as it begins
    memory:BYTES            what a rank of a job of this machine may map
    unlocked:WHERE          `flock` is not there, as on some disks: in `all` processes or in a `job`
"""

import errno
import fcntl
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import time


def faults() -> dict[str, list[str]]:
    return {name: rest for name, *rest in
            (word.split(":") for word in os.environ.get("FER_INJECT", "").split())}


def patch(train) -> None:
    from fer.data.batches import TrainBatches

    asked, steps, original = faults(), [0], TrainBatches.batch

    def batch(self, epoch, step):
        steps[0] += 1
        rank = os.environ.get("RANK", "0")
        if "slow" in asked:
            time.sleep(float(asked["slow"][0]))
        if "raise" in asked and asked["raise"] == [rank, str(steps[0])]:
            raise RuntimeError("injected: this rank raises")
        if "exit" in asked and steps[0] > int(asked["exit"][0]):
            if asked["exit"][1:]:
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(9)
        if "hang" in asked and asked["hang"][:2] == [rank, str(steps[0])] and (
                asked["hang"][2:] or not os.environ.get("SLURM_RESTART_COUNT")):
            time.sleep(3600)
        if "fork" in asked and steps[0] == 1:
            for _ in range(int(asked["fork"][0])):
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
        return original(self, epoch, step)

    TrainBatches.batch = batch  # type: ignore[method-assign]
    if "weights" in asked:
        facts = train.average_batch_norm

        def average_batch_norm(model, session):
            facts(model, session)
            import xxhash

            digest = xxhash.xxh3_64()
            for value in model.state_dict().values():
                digest.update(value.detach().cpu().numpy().tobytes())
            name = f"{asked['weights'][0]}/{session.rank}"
            with open(name, "w") as handle:
                handle.write(f"{digest.hexdigest()} {session.device} "
                             f"{os.environ.get('LOCAL_RANK')} "
                             f"{os.environ.get('CUDA_VISIBLE_DEVICES')}")

        train.average_batch_norm = average_batch_norm


def leave_out_figures(build) -> None:
    if "plain" in faults():
        build._figures = lambda *_: {}


PATCHES = {"fer.train.trainer": patch, "fer.report.build_report": leave_out_figures}


class Hook(importlib.abc.MetaPathFinder):
    """Patches modules when they are imported."""

    def find_spec(self, name, path, target=None):
        change = PATCHES.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


def begin() -> None:
    asked, rank = faults(), "SUBMITIT_LOCAL_JOB_ID" in os.environ
    if "die" in asked and os.environ.get("SUBMITIT_EXECUTOR") == "local":
        os.kill(os.getpid(), signal.SIGKILL)
    if "memory" in asked and rank:
        most = int(asked["memory"][0])
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if "unlocked" in asked and (rank or asked["unlocked"] == ["all"]):
        def flock(*_):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        fcntl.flock = flock


if os.environ.get("FER_INJECT"):
    begin()
    sys.meta_path.insert(0, Hook())
