"""Ray Tune trainable: one trial is one run, one step is one epoch.

A class rather than a function, because Tune does not end a function's thread when it stops a trial;
here a stopped trial has saved, reported it and released its run. The process continues with the
next trial, so torch is imported only once.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.tune import Trainable

from fer.errors import CallerError
from fer.search.fold_trial import FoldScores, pooled_score
from fer.search.messages import LEAVE, End
from fer.search.options import TrialSlots
from fer.search.trial_job import JobTrial
from fer.search.trial_tensorboard import trial_folder, write_trial
from fer.untrusted_io import parse_json

if TYPE_CHECKING:
    from fer.search.thread_trial import ThreadTrial

WORST = {"loss": 1e9}  # score of a failed trial; 0 for the other metrics


class RunTrial(Trainable):
    """One trial, configured by `fer.search.runner.SearchRunner.prepare`."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin with the run of a trial."""
        self._own = config  # Tune changes `config` before it releases a trial
        self._scores = FoldScores(config["metric"], config["select"], config["in_phase"])
        self._worst = WORST.get(config["metric"], 0.0)
        self._curve: list[float] = []
        self._training = self._begin(config)
        self._last: dict[str, Any] = {"epoch": 0, "score": self._worst,
                                      "where": os.environ.get("SLURMD_NODENAME", "")}

    def _begin(self, config: dict[str, Any], known: int = 0) -> "ThreadTrial | JobTrial":
        runs = [Path(run) for run in config["runs"][self._scores.fold]]
        leave = Path(config["folder"]) / LEAVE
        if config["job"]:
            return JobTrial(runs, leave, known, config["over"])
        # imported here: the driver also has this class, and does not import torch
        from fer.search.thread_trial import ThreadTrial

        return ThreadTrial(runs, leave, known)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Continue with another trial in this process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train the next epoch and return its result."""
        event = self._training.next()
        while isinstance(event, End):
            if event.outcome != "done" or not self._begin_next_fold():
                return {**self._last, "outcome": event.outcome, "done": True}
            event = self._training.next()
        self._curve.append(self._scores.after(event.facts))
        self._last |= {"epoch": self._scores.epochs + int(event.facts["epoch"]) + 1,
                       "score": self._curve[-1]}
        if not event.last or self._begin_next_fold():
            return {**self._last, "outcome": "running", "done": False}
        outcome = "done" if self._pool() else "failed"
        self._show()
        return {**self._last, "outcome": outcome, "done": True}

    def _begin_next_fold(self) -> bool:
        """Begin with the next fold, if there is one, once this one's run has been evaluated."""
        if self._scores.fold + 1 >= len(self._own["runs"]):
            return False
        self._training.close()
        self._scores.next_fold(self._last["epoch"], self._worst)
        self._training = self._begin(self._own)
        return True

    def _pool(self) -> bool:
        """Replace the last score of a trial on folds by the pooled one; return whether it can."""
        if len(self._own["runs"]) == 1:
            return True
        self._training.close()
        try:
            pooled = pooled_score([Path(line[-1]) for line in self._own["runs"]],
                                  self._own["metric"])
        except (OSError, ValueError, CallerError):
            return False
        self._curve[-1] = self._last["score"] = pooled
        return True

    def cleanup(self) -> None:
        """Stop the run, unless it has ended, and write its scores to TensorBoard."""
        self._training.close()
        self._show()

    def _show(self) -> None:
        if self._curve:
            own = self._own
            place = trial_folder(Path(own["folder"]), own["number"], own["seed"])
            write_trial(place, own["params"], own["metric"], self._curve)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save what Tune already knows; the run's own checkpoints hold the rest."""
        known = {"last": self._last, "curve": self._curve, **self._scores.to_json()}
        (Path(checkpoint_dir) / "trial.json").write_text(json.dumps(known))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Resume a paused trial after the epochs Tune knows."""
        known = parse_json((Path(checkpoint) / "trial.json").read_text())
        self._training.close()
        self._last, self._curve = known["last"], known["curve"]
        self._scores.restore(known)
        self._training = self._begin(self._own, self._last["epoch"] - self._scores.epochs)


def most_cores(slots: TrialSlots) -> float:
    """Return the Ray cores to assign to a trial so that about `slots.most` run at a time.

    On several nodes at least one trial runs on each.
    """
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    return max(slots.cpus, min(sum(nodes) / slots.most, min(nodes)) if slots.most else 0.0)
