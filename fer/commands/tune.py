"""The command behind `launch/tune.py`: search on this machine or on a cluster."""

from collections.abc import Sequence

from fer.cluster.limits import check_partitions, refuse_impossible, within_limits
from fer.cluster.profile_files import default_cluster, profile_at, use_places
from fer.config.paths import home
from fer.search.options import TuneOptions
from fer.search.run_search import (
    checked_configs,
    console,
    prepare_data,
    read_search,
    refuse_other_search,
    search_folder,
    search_here,
)
from fer.search.slurm_search import checked_profile, submit_search
from fer.search.trial_job import TrialJobs, wanted_by
from fer.study.run_folder import Store


def tune(asked: TuneOptions, cluster: str = "", changes: Sequence[str] = ()) -> int:
    """Search on this machine or on a cluster; return the exit code.

    Args:
        cluster: a profile, `local`, or empty for the default.
        changes: `key=value` of the profile.

    Raises:
        CallerError: a mistake in the search file, the data or the options.
    """
    place = cluster or default_cluster()
    profile = profile_at(place, changes)
    if profile is None:
        return search_here(asked)
    use_places(profile)
    search, maker = read_search(asked)
    store = Store(home())
    if search.resources.ranks > 1:
        refuse_impossible(wanted_by(search.resources), place, profile)
        profile = within_limits(profile, check_partitions(place, profile, search.resources.nodes))
        jobs = TrialJobs(store, search.search, place, profile, search.resources, maker.contents)
        return search_here(asked, trial_jobs=jobs)
    configs, _ = checked_configs(maker)
    profile = checked_profile(search, configs, place, profile)
    refuse_other_search(search_folder(store, search), search, asked.resume)
    prepare_data(configs, maker)
    return submit_search(search, asked, configs, store, place, profile, console)
