"""The doors of a store's files: each is read by all that `status`, `report`, `sweep --dry-run` and
`evaluate` do with it, in this process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast
from unittest.mock import patch

from fer.cluster.cancel import cluster_of
from fer.cluster.estimate import History
from fer.errors import CallerError
from fer.evaluate.predictions import DamagedFile
from fer.inference.model_scores import score_run
from fer.report.analysis import analyse
from fer.report.page.gallery import attentions
from fer.report.read.load_results import load_results
from fer.report.read.provenance import provenance
from fer.report.read.report_cache import ReportCache
from fer.report.read.run_files import ReportRun, read_curve
from fer.report.study_report import runs_of
from fer.search.scores import lines_of
from fer.search.trial_record import Record
from fer.study.changed_inputs import lines_again
from fer.study.file_cache import Texts
from fer.study.folds import validation_predictions
from fer.study.grad_cam_runs import best_runs, not_drawn
from fer.study.inputs import InputDigests
from fer.study.orphans import orphaned_rows
from fer.study.overview import _hours, overview
from fer.study.queue_view import Queue, look
from fer.study.slurm_jobs import Job, Jobs
from fer.study.snapshot import git_state
from fer.study.status import rows_of
from fer.study.status_view import table_lines
from fer.study.study_folder import read_tuned
from fer.study.submission import Submission
from fer.study.trained_runs import find_runs
from fer.train.tensorboard import final_metrics
from fuzz.cache_doors import cache_doors
from fuzz.doors import Door
from fuzz.written_store import JOBS, SPLITS, WrittenStore, write_store


def store_doors(home: Path) -> list[Door]:
    """Return the doors of the files of a store, which is written to `home`."""
    written = write_store(home)
    stops = (CallerError,)  # the command ends in one line
    done, working, slurm = written.done.path, written.working.path, written.folder / "slurm/001"

    def door(place: Path, *reads: Callable[[WrittenStore], object],
             documented: tuple[type[Exception], ...] = (), tree: bool = True) -> Door:
        def read(path: Path) -> None:
            for one in reads:
                one(written)
        name = place.relative_to(home).as_posix().removeprefix("studies/fuzzed/")
        name += " alone" if documented == stops else ""
        for folder, short in ((done, "done"), (working, "working")):
            name = name.replace(folder.relative_to(home).as_posix(), short)
        return Door(name, read, (place.read_bytes(),), documented, place, tree)

    return [
        door(done / "status.json", status, planned, timed),
        door(done / "submit.json", planned, timed, sent),
        door(done / "env.json", hours, timed, again, methods),
        door(done / "train.json", maps),
        door(done / "metrics.jsonl", curve),
        door(done / "results/real/test.json", planned, measured, final),
        door(done / "results/real/test.json", scored, documented=stops),
        door(done / "predictions/real/test.parquet", measured, tree=False),
        door(done / "predictions/lfw/val.parquet", validation, documented=(DamagedFile,),
             tree=False),
        door(done / "attention/index.json", maps),
        door(done / "config.yaml", timed, again, methods),
        door(done / "config.yaml", configured, documented=stops),
        door(working / "status.json", status, planned),
        door(working / "submit.json", status, planned, sent),
        door(working / "lease", status, planned),
        door(working / "lease.owner.json", status, sent),
        door(slurm / "jobs.json", status, ends),
        door(slurm / "jobs.json", work, documented=stops),
        door(slurm / "job.json", status, planned, sent),
        door(slurm / "ended.json", status, ends),
        door(written.folder / "index.json", whole_store),
        door(written.folder / "index.json", status, documented=stops),
        door(written.folder / "study.yaml", whole_store),
        door(written.folder / "study.yaml", status, documented=stops),
        door(written.folder / "trials.json", trials, documented=stops),
        door(written.folder / "best.json", tuned, documented=stops),
        door(written.folder / "code/.snapshot.json", code),
        *cache_doors(written),
    ]


def queues(written: WrittenStore) -> list[Queue]:
    """Return a queue that has the job of the second run, and one that has forgotten it."""
    comment = Submission(written.folder / "slurm/001").comment
    live = Job("7_0", "RUNNING", comment=comment, user="somebody", nodes="n1", time_left="1:00:00")
    return [Queue(written.store.home, JOBS),
            Queue(written.store.home, Jobs({live.id: live}, cluster="here"))]


@contextmanager
def alone() -> Iterator[None]:
    """Read no cache and ask no SLURM, in a block: both would take most of the time."""
    with (patch("fer.study.file_cache._load", lambda file: {}), patch.object(Texts, "save"),
          patch("fer.study.queue_view.read_accounting", lambda ids: Jobs()),
          patch("fer.study.lease.read_queue", Jobs)):
        yield


def status(written: WrittenStore) -> None:
    """Read as `launch/status.py STUDY` does, without a cache."""
    with alone():
        for queue in queues(written):
            rows = rows_of(written.study, written.store, queue=queue)
            rows += orphaned_rows(written.study, written.store, queue)
            assert not any("\x1b" in line for line in table_lines(rows, 100, colour=False))


def whole_store(written: WrittenStore) -> None:
    """Read as `launch/status.py` does."""
    with alone():
        "\n".join(overview(written.store, queues(written)[0]).lines())


def hours(written: WrittenStore) -> None:
    """Read how long runs took."""
    _hours(written.study, written.store)


def planned(written: WrittenStore) -> None:
    """Read what is done, as `launch/sweep.py --dry-run` does."""
    with alone():
        for queue in queues(written):
            look(written.store, written.runs, SPLITS, queue)


def timed(written: WrittenStore) -> None:
    """Read how long runs took, for an estimate."""
    History(written.store, contents()).seconds(written.runs[0])


def again(written: WrittenStore) -> None:
    """Read why a run is trained again."""
    lines_again(written.runs, written.store, contents())


def contents() -> InputDigests:
    """Return a stand-in for the pictures on disk."""
    class Known:
        def pictures(self, split: str, data: object) -> int:
            return 5

    return cast(InputDigests, Known())


def sent(written: WrittenStore) -> None:
    """Read where runs were submitted."""
    cluster_of(written.study, written.store)
    for folder in written.store:
        folder.sent_to()
        folder.lease.held(JOBS)


def work(written: WrittenStore) -> None:
    """Read as a job does."""
    Submission(written.folder / "slurm/001").work_of(0)


def ends(written: WrittenStore) -> None:
    """Read and complete the record of a job's end."""
    Submission(written.folder / "slurm/001").record_ends(JOBS)


def reported(written: WrittenStore) -> list[ReportRun]:
    """Return the runs as `launch/report.py` reads them."""
    with alone():
        return runs_of(written.study, written.store)[0]


def measured(written: WrittenStore) -> None:
    """Read results and predictions, and compute the statistics of a report."""
    found = load_results(written.study.study, _runs(written), ReportCache(written.folder))
    analyse(written.study.study, found)


def methods(written: WrittenStore) -> None:
    """Read software, hardware and settings for a report."""
    provenance(_runs(written), ReportCache(written.folder))


def maps(written: WrittenStore) -> None:
    """Read the Grad-CAM maps of a report, and which runs have them."""
    attentions(_runs(written))
    not_drawn(best_runs(written.study, written.store), ("lfw/eval", "mlfw/eval"))


@cache
def _runs(written: WrittenStore) -> list[ReportRun]:
    return reported(written)


def curve(written: WrittenStore) -> None:
    """Read a learning curve, as the report and a search do."""
    lines_of(written.done.path)
    read_curve(_runs(written)[0], ReportCache(written.folder))


def final(written: WrittenStore) -> None:
    """Read results for TensorBoard."""
    final_metrics(written.done.path / "results")


def scored(written: WrittenStore) -> None:
    """Read as a model card does."""
    score_run(written.done, lambda sample: {})


def validation(written: WrittenStore) -> None:
    """Read the predictions that calibrate a run."""
    validation_predictions(written.done)


def configured(written: WrittenStore) -> None:
    """Read as `launch/evaluate.py` does."""
    for folder in find_runs(written.store, ["*"]):
        assert folder.config.backbone


def trials(written: WrittenStore) -> None:
    """Read the trials of a search."""
    list(Record(written.folder))


def tuned(written: WrittenStore) -> None:
    """Read the best configuration of a search."""
    read_tuned([written.folder.name], written.folder.parent)


def code(written: WrittenStore) -> None:
    """Read the commit of a snapshot."""
    git_state(written.folder / "code")
