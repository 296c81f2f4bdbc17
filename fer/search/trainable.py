"""What Ray Tune calls a trainable: one trial is one run, one step is one epoch of it.

Class and not function, since Tune lets the thread of a function run on when it stops a trial; here
a trial that was stopped has saved, said so and let go of its run. The process goes on with the next
trial, so that torch is imported once.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Trainable

from fer.search.messages import LEAVE, End
from fer.search.scores import Score
from fer.search.trial_job import JobTrial
from fer.search.trial_tensorboard import trial_folder, write_trial

if TYPE_CHECKING:
    from fer.search.thread_trial import ThreadTrial

WORST = {"loss": 1e9}  # of a trial that failed; of the other metrics it is 0


class RunTrial(Trainable):
    """One trial. Its configuration is what `fer.search.runner.SearchRunner.prepare` returns."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin with the run of a trial."""
        self._own = config  # Tune changes `config` before it lets go of a trial
        self._score = Score(config["metric"], config["select"])
        self._curve: list[float] = []
        self._training = self._begin(config)
        self._last: dict[str, Any] = {"epoch": 0, "score": WORST.get(config["metric"], 0.0),
                                      "where": os.environ.get("SLURMD_NODENAME", "")}

    def _begin(self, config: dict[str, Any], known: int = 0) -> "ThreadTrial | JobTrial":
        runs, leave = [Path(run) for run in config["runs"]], Path(config["folder"]) / LEAVE
        if config["job"]:
            return JobTrial(runs, leave, known, config["over"])
        # imported here: the driver has this class too, and does without torch
        from fer.search.thread_trial import ThreadTrial

        return ThreadTrial(runs, leave, known)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with another trial in this process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return what the run has reached after its next epoch."""
        event = self._training.next()
        if isinstance(event, End):
            return {**self._last, "outcome": event.outcome, "done": True}
        self._curve.append(self._score.after(event.facts))
        self._last |= {"epoch": int(event.facts["epoch"]) + 1, "score": self._curve[-1]}
        if event.last:
            self._show()
        return {**self._last, "outcome": "done" if event.last else "running", "done": event.last}

    def cleanup(self) -> None:
        """Stop the run, unless it has ended, and show what it reached."""
        self._training.close()
        self._show()

    def _show(self) -> None:
        if self._curve:
            own = self._own
            place = trial_folder(Path(own["folder"]), own["number"], own["seed"])
            write_trial(place, own["params"], own["metric"], self._curve)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep what Tune knows already; the run's own checkpoints hold the rest."""
        known = {"last": self._last, "value": self._score.value, "best": self._score.best,
                 "curve": self._curve}
        (Path(checkpoint_dir) / "trial.json").write_text(json.dumps(known))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on after what Tune knows: a trial that was paused."""
        known = json.loads((Path(checkpoint) / "trial.json").read_text())
        self._training.close()
        self._last, self._curve = known["last"], known["curve"]
        self._score.value, self._score.best = known["value"], known["best"]
        self._training = self._begin(self._own, self._last["epoch"])
