"""A search on SLURM: one job that runs all trials, or a local driver with one job per trial.

    studies/<search>/slurm/<number>/   script.sh, asked.json, token, logs

If trials have one process, the search is a job of one or more nodes (`fer.search.search_worker`).
If they have several, each is submitted like a run of a study, and the search itself, which computes
nothing, runs where it was started.
"""

import secrets
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path

from rich.console import Console

from fer.atomic_io import write_json, write_yaml
from fer.cluster.job_shape import Shape
from fer.cluster.limits import check_partitions, refuse_impossible, within_limits
from fer.cluster.sbatch import search_script
from fer.cluster.sbatch_call import submit_script
from fer.cluster.submit import SCRIPTS, next_submission, site_of, submitting
from fer.config.load import dump
from fer.config.paths import REPOSITORY
from fer.config.profile import Profile
from fer.config.run import RunConfig
from fer.config.search import Search
from fer.config.study import Resources, minutes
from fer.errors import CallerError
from fer.search.options import TuneOptions
from fer.study.queue_view import Queue
from fer.study.run_folder import Store
from fer.study.slurm_jobs import read_queue
from fer.study.snapshot import snapshot
from fer.study.submission import Submission


def checked_profile(search: Search, configs: list[RunConfig], place: str, profile: Profile
                    ) -> Profile:
    """Return the profile within the limits of its partitions.

    Raises:
        CallerError: the cluster cannot run the job of the search.
    """
    refuse_impossible(Resources(time=search.resources.time), place, profile)
    profile = within_limits(profile, check_partitions(place, profile, search.resources.job_nodes))
    shape, most = shape_of(search, configs, profile), profile.gpus_per_node
    if shape.gpus and most is not None and shape.gpus_a_rank > most:
        raise CallerError(
            f"resources.slots: trials at a time × GPUs of each = {search.resources.slots} × "
            f"{search.resources.gpus:g} on one node, but a node of {place} has {most} "
            "(gpus_per_node); use more nodes: resources.job_nodes")
    return profile


def submit_search(search: Search, asked: TuneOptions, configs: list[RunConfig], store: Store,
                  place: str,
                  profile: Profile, console: Console) -> int:
    """Submit the job of a search, unless it is already queued; return the exit code.

    Raises:
        CallerError: SLURM refuses it.
    """
    shape = shape_of(search, configs, profile)
    scripts = store.study(search.search) / SCRIPTS
    with submitting(store) as lock:
        jobs = read_queue()
        queue = Queue(store.home, jobs)
        for path in sorted(scripts.glob("[0-9]*")):
            submission = Submission(path)
            submission.adopt(jobs)
            job = queue.job(submission)
            if job is not None and job.may_live:
                doubt = f": {job.reason}" if job.unknown else ""
                console.print(f"search {search.search} is already job {job.id}{doubt}; log: {path}",
                              soft_wrap=True)
                return 0
        submission = next_submission(scripts)
        submission.folder.mkdir(parents=True)
        site = site_of(search.search, snapshot(REPOSITORY, scripts), profile)
        file = submission.folder / "search.yaml"  # a copy, since the original may be edited
        write_yaml(file, dump(search))
        write_json(submission.folder / "asked.json", asdict(replace(
            asked, file=str(file), overrides=(),
            slots=asked.slots or shape.nodes * search.resources.slots)))
        _write_token(submission.folder / "token")
        submit_script(submission, search_script(
            submission.folder, submission.comment, shape, profile, site), place, lock)
    console.print(f"search {search.search} is job {submission.job} on {place}; "
                  f"log: {submission.folder}", soft_wrap=True)
    return 0


def shape_of(search: Search, configs: list[RunConfig], profile: Profile) -> Shape:
    """Return the resources that the job of a search requests on each node, for all its slots."""
    wanted = search.resources
    threads = max(config.compute.threads for config in configs)
    gpus = profile.gpu_request != "none" and any(c.compute.device != "cpu" for c in configs)
    limit = minutes(profile.time) if profile.time else 10**9
    return Shape(wanted.job_nodes, 1, gpus, threads * wanted.slots,
                 min(minutes(wanted.time), limit), ceil(wanted.gpus * wanted.slots))


def _write_token(path: Path) -> None:
    """Write the authentication token of the Ray cluster, readable only by this user."""
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
