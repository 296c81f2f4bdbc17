"""Conversion of a plan into array jobs: runs per job, order and dependencies. Pure.

Jobs of one shape form one array, the longest critical path first. A parent has its own job, because
others wait for it, or is side by side with other parents. Not for the text of a script
(`fer.cluster.sbatch`).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fer.cluster.job_shape import Shape, shape_of
from fer.config.compatibility import probe_kind
from fer.config.study import Resources
from fer.study.expand import Run
from fer.study.plan import Step

Seconds = Callable[[Run], float | None]
MOST_ALIKE = 32  # probes of one frozen backbone per job, each with its own checkpoints
TO_SUBMIT = ("train", "evaluate", "wait")


@dataclass(frozen=True)
class Ref:
    """Reference to a job of the same submission, by array number and job index."""

    array: int
    index: int


@dataclass(frozen=True)
class JobArray:
    """One call of `sbatch`.

    Attributes:
        number: from 1, in the order of submission.
        jobs: array index -> steps of that job, in sequence.
        corresponds: number of the array whose job with the same index each job waits for.
        after: jobs that all jobs of this array wait for; a string is the id of an earlier job.
    """

    number: int
    shape: Shape
    jobs: Mapping[int, tuple[Step, ...]]
    corresponds: int | None = None
    after: tuple[Ref | str, ...] = ()

    @property
    def runs(self) -> int:
        """Number of runs."""
        return sum(len(steps) for steps in self.jobs.values())

    @property
    def indices(self) -> str:
        """The indices in the format of `sbatch --array`: `0-17` or `0,3,5`."""
        numbers = sorted(self.jobs)
        if numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 1:
            return f"{numbers[0]}-{numbers[-1]}"
        return ",".join(map(str, numbers))


@dataclass(frozen=True)
class Dispatch:
    """The array jobs of a plan, and the steps that must wait for a process outside SLURM."""

    arrays: tuple[JobArray, ...]
    left: tuple[Step, ...] = ()


def make_arrays(
    steps: Sequence[Step], resources: Resources, seconds: Seconds, max_array: int,
    limit: str | None = None,
) -> Dispatch:
    """Return the array jobs that execute a plan.

    Args:
        steps: the plan, parents first.
        seconds: returns the expected duration of a run, None if unknown.
        max_array: the cluster's MaxArraySize; indices are below it.
        limit: maximum time of a job, in SLURM's format.
    """
    pending = {step.run.id: step for step in steps if step.action in TO_SUBMIT}
    elsewhere = {step.run.id: step.job for step in steps if step.job}
    orphans = _without_parent(steps, pending, elsewhere)
    pending = {key: step for key, step in pending.items() if key not in orphans}
    maker = _Maker(pending, elsewhere, resources, _way_to_the_end(pending, seconds), max_array,
                   limit)
    for level in _levels(pending):
        maker.add(level)
    return Dispatch(tuple(maker.arrays), tuple(orphans.values()))


def _without_parent(
    steps: Sequence[Step], pending: Mapping[str, Step], elsewhere: Mapping[str, str]
) -> dict[str, Step]:
    """Return the steps that wait for a run without a SLURM job."""
    trained = {step.run.id for step in steps if step.action in ("done", "evaluate")}
    orphans: dict[str, Step] = {}
    for key, step in pending.items():  # parents first, so one pass is enough
        if any(parent not in trained and parent not in elsewhere
               and (parent not in pending or parent in orphans) for parent in step.run.parents):
            orphans[key] = step
    return orphans


def _way_to_the_end(pending: Mapping[str, Step], seconds: Seconds) -> dict[str, float]:
    """Return the time from a run's start to the end of its last descendant.

    A run of unknown duration counts as the median of the others.
    """
    known = {key: found for key, step in pending.items()
             if (found := seconds(step.run)) is not None}
    usual = sorted(known.values())[len(known) // 2] if known else 1.0
    way = {key: known.get(key, usual) for key in pending}
    for key, step in reversed(list(pending.items())):
        for parent in step.run.parents:
            if parent in way:
                way[parent] = max(way[parent], known.get(parent, usual) + way[key])
    return way


def _levels(pending: Mapping[str, Step]) -> list[list[Step]]:
    level: dict[str, int] = {}
    for key, step in pending.items():
        level[key] = max((level[p] + 1 for p in step.run.parents if p in level), default=0)
    found: list[list[Step]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for key, step in pending.items():
        found[level[key]].append(step)
    return found


class _Maker:
    """Builder of the arrays, level by level, that records the position of each run."""

    def __init__(
        self, pending: Mapping[str, Step], elsewhere: Mapping[str, str], resources: Resources,
        way: Mapping[str, float], max_array: int, limit: str | None,
    ) -> None:
        self.elsewhere, self.resources, self.way = elsewhere, resources, way
        self.max_array, self.limit = max_array, limit
        self.awaited = Counter(parent for step in pending.values() for parent in step.run.parents)
        self.placed: dict[str, Ref] = {}
        self.arrays: list[JobArray] = []

    def add(self, level: Sequence[Step]) -> None:
        """Add the steps of one level, which are independent of each other."""
        groups: dict[tuple[Shape, tuple[Ref | str, ...]], list[Step]] = defaultdict(list)
        for step in level:
            shape = shape_of(step.run, self.resources, self.limit)
            groups[shape, self._refs(step)].append(step)
        for shape, group in self._by_parent_array(groups).items():
            for array, children in group.items():
                self._add_children(shape, array, children)
        for (shape, refs), steps in groups.items():
            self._add_jobs(shape, self._packed(steps), refs)

    def _refs(self, step: Step) -> tuple[Ref | str, ...]:
        found: list[Ref | str] = []
        for parent in step.run.parents:
            if parent in self.placed:
                found.append(self.placed[parent])
            elif parent in self.elsewhere:
                found.append(self.elsewhere[parent])
        return tuple(found)

    def _by_parent_array(
        self, groups: dict[tuple[Shape, tuple[Ref | str, ...]], list[Step]]
    ) -> dict[Shape, dict[int, dict[int, list[Step]]]]:
        """Remove the groups with one parent in an array from `groups`: shape -> array -> index."""
        found: dict[Shape, dict[int, dict[int, list[Step]]]] = defaultdict(
            lambda: defaultdict(dict))
        for shape, refs in list(groups):
            if len(refs) == 1 and isinstance(refs[0], Ref):
                steps = groups.pop((shape, refs))
                found[shape][refs[0].array][refs[0].index] = steps
        return found

    def _add_children(self, shape: Shape, array: int, children: Mapping[int, list[Step]]) -> None:
        """Add the children of one array's runs, in as few arrays as their parents allow.

        Either one array per job number, whose jobs correspond to those of the parents, or one
        array per parent.
        """
        packed = {index: self._packed(steps) for index, steps in children.items()}
        most = max(len(jobs) for jobs in packed.values())
        if len(children) <= most:
            for index, jobs in packed.items():
                self._add_jobs(shape, jobs, (Ref(array, index),))
            return
        for number in range(most):
            self._put(shape, {index: jobs[number] for index, jobs in packed.items()
                              if number < len(jobs)}, corresponds=array)

    def _add_jobs(self, shape: Shape, jobs: Sequence[tuple[Step, ...]],
                  after: tuple[Ref | str, ...]) -> None:
        for start in range(0, len(jobs), self.max_array):
            self._put(shape, dict(enumerate(jobs[start : start + self.max_array])), after=after)

    def _packed(self, steps: Sequence[Step]) -> list[tuple[Step, ...]]:
        """Return jobs of at most `runs_per_job` runs and of similar duration, longest first.

        Probes of one frozen backbone share a job, where they train together in the time of one.
        """
        lanes = self.resources.runs_at_once
        most = self.resources.runs_per_job * lanes
        parents = self._sorted(step for step in steps if self.awaited[step.run.id])
        alone = [tuple(parents[start : start + lanes]) for start in range(0, len(parents), lanes)]
        alike, others = gather_alike([step for step in steps if not self.awaited[step.run.id]],
                                     most_alike(most, self.resources.ranks))
        jobs = [*alone, *alike, *pack(self._sorted(others), most,
                                      lambda step: self.way[step.run.id])]
        return sorted(jobs, key=lambda job: -sum(self.way[step.run.id] for step in job))

    def _sorted(self, steps: Iterable[Step]) -> list[Step]:
        return sorted(steps, key=lambda step: -self.way[step.run.id])  # stable: ties in study order

    def _put(self, shape: Shape, jobs: Mapping[int, tuple[Step, ...]],
             corresponds: int | None = None, after: tuple[Ref | str, ...] = ()) -> None:
        number = len(self.arrays) + 1
        self.arrays.append(JobArray(number, shape, jobs, corresponds, after))
        for index, steps in jobs.items():
            for step in steps:
                self.placed[step.run.id] = Ref(number, index)


def most_alike(runs_per_job: int, ranks: int) -> int:
    """Return the number of probes of one frozen backbone per job; on one rank they train jointly.
    """
    return max(runs_per_job, MOST_ALIKE) if ranks == 1 else runs_per_job


def gather_alike(steps: Sequence[Step], most: int
                 ) -> tuple[list[tuple[Step, ...]], list[Step]]:
    """Return jobs of two to `most` runs that train together, and the remaining steps."""
    groups: dict[str, list[Step]] = defaultdict(list)
    for step in steps if most > 1 else ():
        if step.action != "evaluate" and (kind := probe_kind(step.run.config)):
            groups[kind].append(step)
    jobs = [tuple(group[start : start + most]) for group in groups.values()
            for start in range(0, len(group), most) if len(group) - start > 1]
    taken = {step.run.id for job in jobs for step in job}
    return jobs, [step for step in steps if step.run.id not in taken]


def pack(steps: Sequence[Step], most: int, weight: Callable[[Step], float]
         ) -> list[tuple[Step, ...]]:
    """Return the steps in as few jobs of at most `most` as possible, of similar weight.

    Args:
        steps: heaviest first; each goes to the lightest job with room (Graham's LPT rule).
    """
    count = -(-len(steps) // most)
    jobs: list[list[Step]] = [[] for _ in range(count)]
    heap = [(0.0, number) for number in range(count)]
    for step in steps:
        load, number = heapq.heappop(heap)
        jobs[number].append(step)
        if len(jobs[number]) < most:
            heapq.heappush(heap, (load + weight(step), number))
    return [tuple(job) for job in jobs]
