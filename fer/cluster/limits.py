"""Limits of a cluster: array sizes, partitions, time limits, and jobs that could never start."""

from collections import Counter
from dataclasses import dataclass

from fer.cluster.profile_files import profile_file
from fer.cluster.sbatch import REPORT_MINUTES
from fer.config.profile import Profile
from fer.config.study import Resources, minutes
from fer.errors import CallerError, choices
from fer.study.slurm_client import SlurmUnavailable, ask, cluster_config

DEFAULT_MAX_ARRAY = 1001
MANY = 1000  # nodes, if sinfo prints a rounded number


def max_array_size() -> int:
    """Return the cluster's MaxArraySize; array indices are below it."""
    found = cluster_config().get("MaxArraySize", "")
    return int(found) if found.isdigit() else DEFAULT_MAX_ARRAY


@dataclass(frozen=True)
class Partitions:
    """Partitions of a cluster.

    Attributes:
        nodes: name -> number of nodes.
        minutes: name -> maximum time limit; missing if there is none.
        default: the cluster's default; empty if there is none.
    """

    nodes: dict[str, int]
    minutes: dict[str, int]
    default: str = ""

    def longest(self, wanted: str | None) -> int | None:
        """Return the longest time limit among wanted partitions, in minutes; None if unlimited.

        Args:
            wanted: comma-separated names; None for the default.
        """
        found = [self.minutes.get(name) for name in (wanted or self.default).split(",")]
        limits = [one for one in found if one is not None]
        return max(limits) if len(limits) == len(found) else None


def read_partitions(place: str) -> Partitions:
    """Return the partitions of a cluster.

    Raises:
        SlurmUnavailable: SLURM does not respond.
    """
    listing = ask(["sinfo", "--noheader", "--format=%P %D %l"])
    if listing is None:
        raise SlurmUnavailable(f"profile {place}: SLURM does not respond; for details: "
                               f"python launch/doctor.py --cluster {place}")
    return parse_sinfo(listing)


def parse_sinfo(listing: str) -> Partitions:
    """Return the partitions of `sinfo --noheader --format='%P %D %l'`."""
    nodes: Counter[str] = Counter()  # a partition has one line per state of its nodes
    limits: dict[str, int] = {}
    default = ""
    for line in listing.splitlines():
        name, count, limit = line.split()
        default = name.rstrip("*") if name.endswith("*") else default
        name = name.rstrip("*")
        nodes[name] += int(count) if count.isdigit() else MANY  # such as 1.2K
        if limit[:1].isdigit():  # not `infinite`
            limits[name] = minutes(limit if ":" in limit else f"{limit}:00")
    return Partitions(dict(nodes), limits, default)


def check_partitions(place: str, profile: Profile, nodes: int = 1) -> Partitions:
    """Return the partitions, if those of the profile exist and are large enough.

    Args:
        nodes: nodes of one job. SLURM itself may accept a job larger than its partition, which
            then waits forever.

    Raises:
        CallerError: they do not, or are not.
    """
    found = read_partitions(place)
    for key in ("partition", "report_partition"):
        for name in (getattr(profile, key) or "").split(","):
            if name and name not in found.nodes:
                raise CallerError(f"{profile_file(place)}: {key}: no partition '{name}' on "
                                  f"this cluster; there are: {choices(found.nodes)}")
    wanted = (profile.partition or found.default).split(",")
    most = max(found.nodes.get(name, 0) for name in wanted)
    if wanted != [""] and nodes > most:
        raise CallerError(f"resources: a job needs {nodes} nodes, but partition "
                          f"{' or '.join(wanted)} of {place} has {most}")
    return found


def report_minutes(profile: Profile, found: Partitions) -> int:
    """Return the time limit of the report's job, within that of its partition."""
    most = found.longest(profile.report_partition or profile.partition)
    return min(REPORT_MINUTES, most or REPORT_MINUTES)


def within_limits(profile: Profile, found: Partitions) -> Profile:
    """Return a profile whose time is no longer than its partitions allow.

    A job that asks for more than the limit waits forever (PartitionTimeLimit).
    """
    most = found.longest(profile.partition)
    if most is None or (profile.time and minutes(profile.time) <= most):
        return profile
    return profile.model_copy(update={"time": f"{most}:00"})


def refuse_impossible(resources: Resources, place: str, profile: Profile) -> None:
    """Raise a `CallerError` for resources that no job of a cluster can get.

    These are more GPUs than a node has, or a time limit shorter than the signal delay.
    """
    gpus, most = resources.gpus * resources.runs_at_once, profile.gpus_per_node
    if minutes(resources.time) * 60 <= profile.signal_delay:
        raise CallerError(f"resources.time: {resources.time} is not longer than signal_delay of "
                          f"{place}, {profile.signal_delay} s: jobs would exit as they begin")
    if most is not None and gpus > most:
        raise CallerError(f"resources.gpus: {gpus} on one node, but a node of {place} has {most} "
                          f"(gpus_per_node); use " + (
                              "fewer: resources.runs_at_once" if resources.runs_at_once > 1 else
                              "more nodes: resources.nodes"))
