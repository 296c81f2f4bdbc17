"""All checks in order: this machine, the cluster, the file systems, the study."""

from collections.abc import Iterator, Sequence

from fer.cluster.doctor.file_systems import check_disk, check_study
from fer.cluster.doctor.finding import Finding, ok
from fer.cluster.doctor.hardware import check_machine
from fer.cluster.doctor.slurm import check_slurm
from fer.cluster.profile_files import default_cluster, profile_at, use_places
from fer.config.load import load_study
from fer.config.paths import cache, home
from fer.config.study import Resources
from fer.errors import CallerError


def examine(study_file: str, cluster: str, changes: Sequence[str] = (),
            with_probe: bool = False) -> Iterator[Finding]:
    """Yield each finding as soon as it is known.

    Args:
        study_file: a study to check; empty for none.
        cluster: a profile, `local`, or empty for the default.
        changes: `key=value` of the profile.
        with_probe: whether to submit a job that tries a node.

    Raises:
        CallerError: the profile or study does not exist.
    """
    place = cluster or default_cluster()
    profile = profile_at(place, changes)
    if with_probe and profile is None:
        raise CallerError("--probe submits a job: add --cluster NAME")
    study = load_study(study_file) if study_file else None
    if profile is not None:
        use_places(profile)
    yield from check_machine()
    if profile is not None:
        yield from check_slurm(place, profile, study.resources if study else Resources(),
                               with_probe)
    else:
        yield ok("cluster", "local: this machine; --cluster NAME checks a profile")
    yield from check_disk("FER_HOME", home())
    yield from check_disk("FER_CACHE", cache())
    if study is not None:
        yield from check_study(study)
