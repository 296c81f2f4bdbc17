"""A store at a glance: its studies and searches, and jobs that belong to none of them."""

from collections import Counter
from dataclasses import dataclass

from fer.errors import CallerError, plural
from fer.machine import user_name
from fer.study.orphans import orphaned_rows
from fer.study.queue_view import Queue
from fer.study.run_folder import Store
from fer.study.slurm_jobs import Job
from fer.study.status import rows_of
from fer.study.study_folder import StudyFolder, read_study
from fer.study.submission import SCRIPTS, Submission


@dataclass(frozen=True)
class StudyLine:
    """One study.

    Attributes:
        states: number of runs in each state; empty if the study cannot be read.
        hours: hours that processes worked on its runs, times their ranks.
        error: why it cannot be read; empty if it can.
    """

    study: str
    states: dict[str, int]
    hours: float
    error: str = ""


@dataclass(frozen=True)
class Overview:
    """The studies of a store, the names of its searches, and this user's jobs without either."""

    studies: list[StudyLine]
    searches: list[str]
    strangers: list[Job]
    hours: float

    def lines(self) -> list[str]:
        """Return what is printed."""
        if not (self.studies or self.searches or self.strangers):
            return ["no study or search has been started here"]
        width = max((len(one.study) for one in self.studies), default=0)
        found = [f"{one.study:{width}}  {one.hours:8.2f} h  {one.error or _states(one.states)}"
                 for one in self.studies]
        found += [f"search: python launch/status.py {name}" for name in self.searches]
        found += [f"job {job.id} ({job.state.lower()}) belongs to no study or search here: "
                  f"scancel {job.id}" for job in self.strangers]
        return [*found, f"in all {self.hours:.2f} GPU-hours (on CPUs: hours of each process); a "
                        "run that several studies share counts once"]


def overview(store: Store, queue: Queue) -> Overview:
    """Return what is in a store, the last changed studies last."""
    folders = sorted((path for path in store.home.glob("studies/*") if path.is_dir()),
                     key=lambda path: path.stat().st_mtime)
    lines, hours = [], dict[str, float]()
    for path in folders:
        if not (path / "index.json").is_file():
            continue
        try:
            study = read_study(store, path.name)
        except CallerError as error:
            lines.append(StudyLine(path.name, {}, 0.0, str(error)))
            continue
        own = _hours(study, store)
        hours |= own
        rows = rows_of(study, store, queue=queue) + orphaned_rows(study, store, queue)
        lines.append(StudyLine(path.name, dict(Counter(row.state for row in rows)),
                               sum(own.values())))
    searches = [path.name for path in folders if (path / "search.yaml").is_file()]
    return Overview(lines, searches, _strangers(store, queue), sum(hours.values()))


def _states(states: dict[str, int]) -> str:
    listed = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{plural(sum(states.values()), 'run')}: {listed}"


def _hours(study: StudyFolder, store: Store) -> dict[str, float]:
    """Return run -> hours times ranks, of the runs that anybody worked on."""
    found = {}
    for entry, folder in study.runs(store):
        if seconds := folder.status().seconds:
            found[entry.run] = seconds * (folder.ranks or 1) / 3600
    return found


def _strangers(store: Store, queue: Queue) -> list[Job]:
    """Return this user's live jobs of this project that no folder of the store submitted."""
    comments = {Submission(path).comment
                for path in store.home.glob(f"studies/*/{SCRIPTS}/[0-9]*")}
    known = queue.known.by_id.values() if queue.known.answered else ()
    return [job for job in known if job.live and job.user == user_name()
            and job.comment.startswith("fer:") and job.comment not in comments]
