"""Ray's HyperBand as searches use it: no trial waits for ever, whatever becomes of the others."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from fer.config.search import Scheduler
from fer.search.ray_searcher import RaySearcher
from fer.search.schedulers import largest_bracket, scheduler_of

EPOCHS, SLOTS = 9, 2


@dataclass(eq=False)
class FakeTrial:
    """What the scheduler asks of a trial, and the epoch after which it ends of itself."""

    number: int
    ends: int = EPOCHS
    status: str = Trial.PENDING
    epoch: int = 0
    is_saving: bool = False
    trial_id: str = ""


@dataclass
class FakeController:
    """Stands in for Tune's: starts, trains and pauses trials as the scheduler wants it."""

    scheduler: Any
    left: list[FakeTrial]
    trials: list[FakeTrial] = field(default_factory=list)

    def stop_trial(self, trial: FakeTrial) -> None:
        """As Tune's, for a trial that is paused."""
        assert trial.status == Trial.PAUSED
        self.scheduler.on_trial_remove(self, trial)
        trial.status = Trial.TERMINATED

    def fill(self) -> None:
        """Propose as far as there may be trials that are not begun, and start what can run."""
        while True:
            pending = sum(one.status == Trial.PENDING for one in self.trials)
            while self.left and pending < largest_bracket(EPOCHS, 3):
                self.trials.append(self.left.pop(0))
                self.scheduler.on_trial_add(self, self.trials[-1])
                pending += 1
            if sum(one.status == Trial.RUNNING for one in self.trials) >= SLOTS:
                return
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is None:
                return
            chosen.status = Trial.RUNNING

    def train(self, trial: FakeTrial) -> None:
        """Train a trial for an epoch."""
        trial.epoch += 1
        result = {"epoch": trial.epoch, "score": trial.number * trial.epoch % 7}
        if trial.epoch >= trial.ends:
            trial.status = Trial.TERMINATED
            self.scheduler.on_trial_complete(self, trial, result)
            return
        action = self.scheduler.on_trial_result(self, trial, result)
        if action == TrialScheduler.STOP:
            self.scheduler.on_trial_complete(self, trial, result)
        trial.status = {TrialScheduler.PAUSE: Trial.PAUSED, TrialScheduler.STOP: Trial.TERMINATED,
                        TrialScheduler.CONTINUE: Trial.RUNNING}[action]


@pytest.mark.parametrize("seed", range(40))
def test_no_trial_waits_for_ever_when_others_fail_between_two_rungs(seed: int) -> None:
    chance = random.Random(seed)
    trials = [FakeTrial(number, chance.choice([EPOCHS] * 3 + [chance.randint(1, EPOCHS)]))
              for number in range(17)]
    scheduler = scheduler_of(Scheduler(name="hyperband", reduction=3), EPOCHS)
    assert scheduler.set_search_properties("score", "max")
    controller = FakeController(scheduler, trials.copy())
    controller.fill()
    while running := [one for one in controller.trials if one.status == Trial.RUNNING]:
        controller.train(chance.choice(running))
        controller.fill()
    assert {one.status for one in trials} == {Trial.TERMINATED}
    assert sum(one.epoch for one in trials) < sum(one.ends for one in trials)  # it stopped some


@pytest.mark.parametrize(("epochs", "reduction"), [
    (9, 3), (20, 3), (50, 2), (6, 2), (1, 3), (81, 3)])
def test_the_largest_bracket_is_the_largest_that_ray_makes(epochs: int, reduction: int) -> None:
    scheduler = scheduler_of(Scheduler(name="hyperband", reduction=reduction), epochs)
    assert scheduler.set_search_properties("score", "max")
    controller = FakeController(scheduler, [])
    for number in range(400):
        scheduler.on_trial_add(controller, FakeTrial(number))
    sizes = {bracket._n0 for band in scheduler._hyperbands for bracket in band if bracket}
    assert max(sizes) == largest_bracket(epochs, reduction)


class Heard:
    """A source that notes what it is told."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, float | None, bool]] = []

    def propose(self, number: int, before: Any) -> dict[str, Any]:
        return {"optim.lr": number + 1.0}

    def hear(self, number: int, epoch: int, score: float) -> None:
        pass

    def end(self, number: int, score: float | None, stopped: bool) -> None:
        self.ends.append((number, score, stopped))


def test_a_paused_trial_that_is_dropped_was_stopped_and_did_not_fail() -> None:
    heard = Heard()
    proposals = RaySearcher(heard, lambda number: None, lambda number, chosen: chosen,
                            lambda: False)
    for name in "abc":
        proposals.suggest(name)
    proposals.on_trial_result("a", {"epoch": 1, "score": 0.5, "outcome": "running"})
    proposals.on_trial_complete("a")  # so Tune says it of a trial that is paused
    proposals.on_trial_complete("b")  # one that never began
    proposals.on_trial_complete("c", {"score": 0.7, "outcome": "done"})
    assert heard.ends == [(0, 0.5, True), (1, None, False), (2, 0.7, False)]
