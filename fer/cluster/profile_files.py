"""Cluster profiles: their files, which one to use, and the folders they set.

Not for their content (`fer.config.profile`), nor for a script's text (`fer.cluster.sbatch`).
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer.config.paths import REPOSITORY
from fer.config.profile import Profile
from fer.config.validate import validate
from fer.config.yaml_io import parse_overrides, read_tree, set_key
from fer.errors import CallerError, choices

DEFAULT = "default"  # names another profile; local to this user, not in the repository
LOCAL = "local"
SHELL = {"partition": "SBATCH_PARTITION", "account": "SBATCH_ACCOUNT", "qos": "SBATCH_QOS",
         "constraint": "SBATCH_CONSTRAINT", "reservation": "SBATCH_RESERVATION"}
PLACES = ("FER_DATA", "FER_HOME", "FER_CACHE")


def folder() -> Path:
    """Return the folder of the profiles: `$FER_PROFILES`, else `slurm/profiles`."""
    return Path(os.environ.get("FER_PROFILES") or REPOSITORY / "slurm" / "profiles")


def profile_file(name: str) -> Path:
    """Return the file of a profile; it need not exist."""
    return folder() / f"{name}.yaml"


def profile_names() -> list[str]:
    """Return the names of the existing profiles."""
    return sorted(path.stem for path in folder().glob("*.yaml") if path.stem != DEFAULT)


def load_profile(name: str, changes: Sequence[str] = ()) -> Profile:
    """Return the profile of that name.

    Args:
        changes: `key=value` of the command line, such as `partition=debug`.

    Raises:
        CallerError: it does not exist, or has a wrong key or value.
    """
    path = profile_file(name)
    if name == DEFAULT or not path.is_file():
        raise CallerError(f"no profile '{name}' in {folder()}; there are: "
                          f"{choices([LOCAL, *profile_names()])}")
    tree = read_tree(path, as_text=True)
    for key, value in parse_overrides(changes, as_text=True).items():
        set_key(tree, key, value)
    place = f"{path} with --set {' '.join(changes)}" if changes else str(path)
    return _with_shell(validate(Profile, tree, place))


def _with_shell(profile: Profile, shell: Mapping[str, str] = os.environ) -> Profile:
    """Return a profile with what it leaves open from the SBATCH_* variables of the shell.

    They are written into the scripts, so that a dry run shows them; `sbatch` itself does not see
    them.
    """
    found = {key: value for key, name in SHELL.items()
             if getattr(profile, key) is None and (value := shell.get(name))}
    more = {"sbatch": {**profile.sbatch, "export": shell["SBATCH_EXPORT"]}} if (
        shell.get("SBATCH_EXPORT") and "export" not in profile.sbatch) else {}
    return profile.model_copy(update={**found, **more}) if found or more else profile


def profile_at(place: str, changes: Sequence[str] = ()) -> Profile | None:
    """Return the profile of a place; None for this machine.

    Args:
        place: `local` or the name of a profile.
        changes: as for `load_profile`.

    Raises:
        CallerError: as `load_profile`, or there are changes for this machine.
    """
    if place != LOCAL:
        return load_profile(place, changes)
    if changes:
        raise CallerError("--set changes a profile: add --cluster NAME")
    return None


def default_cluster() -> str:
    """Return where to run by default: this machine, or the profile that `default.yaml` names.

    Without `default.yaml`, this machine is used even if it has `sbatch`, because partition and
    account cannot be guessed.
    """
    path = profile_file(DEFAULT)
    if shutil.which("sbatch") is None or not path.is_file():
        return LOCAL
    tree = read_tree(path)
    if set(tree) != {"profile"} or not isinstance(tree["profile"], str):
        raise CallerError(f"{path}: has one key, profile, with the name of one of: "
                          f"{choices([LOCAL, *profile_names()])}")
    return tree["profile"]


def use_places(profile: Profile) -> None:
    """Set FER_DATA, FER_HOME and FER_CACHE from a profile, unless set in the shell."""
    for name in PLACES:
        if name in profile.environment:
            os.environ.setdefault(name, os.path.expandvars(profile.environment[name]))


def use_places_of(cluster: str) -> None:
    """Apply `use_places` for a cluster by name; empty for the default, `local` for no profile."""
    name = cluster or default_cluster()
    if name != LOCAL:
        use_places(load_profile(name))
