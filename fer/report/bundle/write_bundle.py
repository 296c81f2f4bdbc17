"""Writing a bundle: `launch/report.py STUDY --bundle FILE`."""

import hashlib
import platform
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fer.atomic_io import replacing
from fer.config.paths import REPOSITORY
from fer.errors import CallerError
from fer.report.bundle.manifest import FILE, INDEX, BundledRun, Code, File, Manifest
from fer.report.read.provenance import DIRTY, NAMED, mapping
from fer.study.run_folder import Store
from fer.study.snapshot import git_state
from fer.study.study_folder import StudyFolder
from fer.untrusted_io import parse_json

RUN_FILES = ("config.yaml", "status.json", "train.json", "env.json", "metrics.jsonl")
TABLES = ("*.csv", "*.tex", "*.md")  # of the report; the page has pictures of people
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same study gives the same bytes


def write_bundle(study: StudyFolder, store: Store, file: Path) -> str:
    """Write the bundle of a study whose report is up to date; return what was written, in a line.

    Raises:
        CallerError: `file` cannot be written, or the study is too large for one.
    """
    if file.is_dir() or not file.parent.is_dir():
        raise CallerError(f"--bundle {file}: a file in an existing folder is required")
    if file.exists() and not zipfile.is_zipfile(file):
        raise CallerError(f"--bundle {file}: exists and is no bundle; name another file")
    index: dict[str, File] = {}
    try:
        with replacing(file) as temporary, zipfile.ZipFile(
                temporary, "w", zipfile.ZIP_DEFLATED, allowZip64=False) as bundle:
            for name, path in _files(study, store):
                content = path.read_bytes()
                index[name] = File(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                bundle.writestr(_entry(name), content)
            manifest = _manifest(study, store, index)
            bundle.writestr(_entry(INDEX), manifest.model_dump_json(indent=1, by_alias=True))
    except OSError as error:
        if error.filename is None or Path(error.filename).parent != file.parent:
            raise
        raise CallerError(f"--bundle {file}: {error.strerror}") from None
    except zipfile.LargeZipFile:
        raise CallerError(f"--bundle {file}: more than 65,535 files or 4 GB; bundle parts of the "
                          "study as studies of their own") from None
    done = sum(run.state == "done" for run in manifest.runs)
    return (f"bundle: {file}: {done} of {len(manifest.runs)} runs done, "
            f"{file.stat().st_size / 1e6:.1f} MB; it names files and people of the test sets and "
            "has no pictures")


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def _files(study: StudyFolder, store: Store) -> Iterator[tuple[str, Path]]:
    """Yield the name in the bundle and the path of each file that exists."""
    wanted = [study.path / name for name in ("study.yaml", "index.json")]
    wanted += [path for pattern in TABLES
               for path in sorted((study.path / "report").glob(pattern))]
    for entry, folder in study.runs(store):
        wanted += [folder.path / name for name in RUN_FILES]
        for split in dict.fromkeys([*study.study.evaluate_on, f"{entry.train_on}/val"]):
            wanted += [folder.result(split), folder.predictions(split)]
    for path in wanted:
        name = path.relative_to(store.home).as_posix()
        if path.is_file():
            if not FILE.fullmatch(name):
                raise CallerError(f"{path}: a bundle takes names of letters, digits and ._+-@= "
                                  "that begin with neither a dot nor a sign")
            yield name, path


def _manifest(study: StudyFolder, store: Store, index: Mapping[str, File]) -> Manifest:
    runs, environments = list[BundledRun](), dict[str, list[str]]()
    data, weights = dict[str, set[str]](), dict[str, set[str]]()
    for entry, folder in study.runs(store):
        state = "done" if folder.trained else folder.status().state
        runs.append(BundledRun(run=entry.run, run_id=entry.run_id, config_id=entry.config_id,
                               seed=entry.seed, state=state, wanted=entry.wanted))
        facts = json_object(folder.path / "env.json")
        if facts:
            environments.setdefault(environment_of(facts), []).append(entry.run)
        for split, digest in mapping(facts.get("digests")).items():
            place, key = (weights, entry.backbone) if split == "weights" else (data, split)
            place.setdefault(key, set()).add(str(digest))
        for split in study.study.evaluate_on:
            found = json_object(folder.result(split)).get("digest")
            if found:
                data.setdefault(split, set()).add(str(found))
    return Manifest(
        study=study.study.study, code=Code(**git_state(REPOSITORY)), packages=_packages(),
        environments=environments, data=_sorted(data), weights=_sorted(weights), runs=runs,
        files=dict(index))


def environment_of(facts: Mapping[str, Any]) -> str:
    """Return the packages, commit and hardware of a run's `env.json` in one line."""
    packages, git = mapping(facts.get("packages")), mapping(facts.get("git"))
    named = [f"{name} {packages[name]}" for name in NAMED if name in packages]
    dirty = DIRTY if git.get("dirty") else ""
    text = "; ".join((f"Python {facts.get('python')}, {', '.join(named)}",
                      f"commit {str(git.get('commit') or 'unknown')[:12]}{dirty}",
                      f"{facts.get('gpu') or facts.get('cpu')}, {facts.get('world_size')} ranks, "
                      f"precision {facts.get('precision')}"))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)[:1000]


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*NAMED, "scipy", "pandas", "pyarrow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if there is none."""
    try:
        return mapping(parse_json(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _sorted(found: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {key: sorted(values) for key, values in sorted(found.items())}
