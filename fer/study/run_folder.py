"""Run folders, the source of truth about runs: names of their files, and how each is read.

Each file has one writer: the launcher writes `config.yaml` and `submit.json`, the job the others.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fer.atomic_io import write_json, write_yaml
from fer.config.load import dump
from fer.config.run import RunConfig
from fer.config.selection import of_store
from fer.config.validate import validate
from fer.config.yaml_io import read_tree
from fer.errors import CallerError
from fer.study.expand import Run
from fer.study.lease import Lease
from fer.study.run_records import Environment, Status, parse_submit
from fer.study.slurm_jobs import JobIdentity
from fer.study.submission import Submission
from fer.untrusted_io import NotRegular, parse_json, read_bytes, read_json, record


class RunFolder:
    """One folder under `runs/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lease = Lease(path / "lease", self.sent_to)

    @property
    def name(self) -> str:
        """Name of the folder, which ends with the run id."""
        return self.path.name

    @property
    def run_id(self) -> str:
        """The run id, taken from the folder's name."""
        return self.path.name.rsplit("-", 1)[1]

    @cached_property
    def config(self) -> RunConfig:
        """The resolved configuration.

        Raises:
            CallerError: it is missing, or from another version of the project.
        """
        return self._read_config()

    def refuse_other_version(self) -> None:
        """Raise a `CallerError` if this version cannot read the configuration."""
        if (self.path / "config.yaml").is_file():
            self._read_config()

    def _read_config(self) -> RunConfig:
        file = self.path / "config.yaml"
        tree = read_tree(file)
        if tree.get("schema") != 1:
            raise CallerError(f"{file}: written by another version (schema "
                              f"{tree.get('schema')!r}, this one reads 1); move the folder away")
        return validate(RunConfig, of_store(tree), str(file))

    def status(self) -> Status:
        """Return the last status of the job; `pending` if none is readable.

        Unknown fields from other versions are ignored.
        """
        try:
            return record(Status, read_json(self.path / "status.json"))
        except (FileNotFoundError, NotRegular, ValueError):
            return Status()

    def write_status(self, status: Status) -> None:
        """Publish `status.json`."""
        write_json(self.path / "status.json", asdict(status))

    @property
    def submitted(self) -> dict[str, Any]:
        """What the launcher wrote on submission; empty if the run was not submitted."""
        try:
            return parse_submit(read_bytes(self.path / "submit.json"))
        except (FileNotFoundError, NotRegular, ValueError):
            return {}

    @property
    def ranks(self) -> int | None:
        """The number of ranks that trained it last; None if that is not recorded."""
        try:
            found = record(Environment, read_json(self.path / "env.json")).world_size
        except (FileNotFoundError, NotRegular, ValueError):
            return None
        return found if found > 0 else None

    def sent_to(self) -> JobIdentity | None:
        """Return the SLURM job that the run was last submitted to, if any."""
        sent = self.submitted
        if "submission" not in sent:
            return None
        home = self.path.parents[1]
        return Submission(home / sent["submission"]).identity(int(sent["index"]))

    @property
    def trained(self) -> bool:
        """Whether training has ended and its final record is on disk."""
        return os.path.isfile(f"{self.path}/train.json")

    def predictions(self, split: str) -> Path:
        """Return the path of the predictions on `split` (`lfw/eval`)."""
        return self.path / "predictions" / f"{split}.parquet"

    def result(self, split: str) -> Path:
        """Return the path of the metrics on `split`."""
        return self.path / "results" / f"{split}.json"

    def evaluated(self, split: str, digest: str) -> bool:
        """Return whether a result exists for exactly this content of `split`."""
        try:  # strings, not Path objects: called for every run and split of a study
            content = parse_json(read_bytes(f"{self.path}/results/{split}.json"))
        except (FileNotFoundError, NotRegular, ValueError):
            return False
        return (isinstance(content, dict) and content.get("digest") == digest
                and os.path.isfile(f"{self.path}/predictions/{split}.parquet"))

    @property
    def cancel_asked(self) -> bool:
        """Whether a stop was requested (`launch/status.py --cancel`)."""
        return (self.path / "cancel").exists()

    @property
    def stop_asked(self) -> bool:
        """Whether a search stopped this run, which is trained by a separate job."""
        return (self.path / "stop").exists()

    def ask_to_stop(self) -> None:
        """Request the job that trains this run to stop early, even if it has not begun."""
        before = self.status()
        (self.path / "stop").touch()
        if (now := self.status()) != before and now.state in ("stopped", "done"):
            self.forget_stop()  # it has ended since: only a later job would read the request

    def forget_stop(self) -> None:
        """Withdraw the stop request."""
        (self.path / "stop").unlink(missing_ok=True)

    @property
    def needs_retry(self) -> bool:
        """Whether the run failed or was cancelled, and waits for `--retry`."""
        return self.cancel_asked or self.status().state in ("failed", "cancelled")

    def reopen(self, queued: bool = False) -> None:
        """Make a failed or cancelled run ready to retry from its last checkpoint.

        Args:
            queued: its job is still in the queue and will do it; else the job is over.

        Raises:
            LeaseTaken: a process still works on it; nothing is changed.
        """
        self.lease.take()
        (self.path / "cancel").unlink(missing_ok=True)
        for file in self.path.glob("logs/hung-*.txt"):
            file.unlink()
        self.forget_stop()
        if not queued:
            (self.path / "submit.json").unlink(missing_ok=True)
        self.write_status(replace(self.status(), state="pending", ended=False, stalls=0, error="",
                                  traceback=""))
        self.lease.release()

    def register(self, run: Run, submit: dict[str, Any]) -> None:
        """Write the launcher's files: the configuration once, `submit.json` each time.

        Raises:
            CallerError: the existing configuration is from another version, and is kept.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.forget_stop()
        file = self.path / "config.yaml"
        if not file.is_file() or self._read_config() != run.config:  # only labels have changed
            write_yaml(file, dump(run.config))
        self.lease.keep_sender()
        submit = {"run_id": run.id, "config_id": run.config_id, "time": time.time(), **submit}
        write_json(self.path / "submit.json", submit)

    def unregister(self, before: Mapping[str, Any]) -> None:
        """Restore `submit.json`, because the submission was refused.

        Args:
            before: its content before `register`.
        """
        if before:
            write_json(self.path / "submit.json", dict(before))
        else:
            (self.path / "submit.json").unlink(missing_ok=True)


class Store:
    """All run folders under `$FER_HOME/runs`, shared by all studies."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs = home / "runs"

    def folder(self, run: Run) -> RunFolder:
        """Return the folder of a run; a folder with the same id but another name is the same run.
        """
        path = self.runs / run.name
        if path.is_dir():
            return RunFolder(path)
        return RunFolder(self._by_id.get(run.id, path))

    def by_id(self, run_id: str) -> RunFolder | None:
        """Return the folder of the run with this id; None if there is none."""
        path = self._by_id.get(run_id)
        return RunFolder(path) if path else None

    @property
    def names(self) -> frozenset[str]:
        """Names of the existing run folders, from a single directory listing."""
        try:
            return frozenset(os.listdir(self.runs))
        except FileNotFoundError:
            return frozenset()

    @cached_property
    def _by_id(self) -> dict[str, Path]:
        """Run folders by id, from one listing: runs are kept when a recipe is renamed."""
        if not self.runs.is_dir():
            return {}
        return {path.name.rsplit("-", 1)[-1]: path for path in sorted(self.runs.iterdir())}

    def study(self, name: str) -> Path:
        """Return the folder of a study."""
        return self.home / "studies" / name

    def __iter__(self) -> Iterator[RunFolder]:
        if self.runs.is_dir():
            yield from (RunFolder(path) for path in sorted(self.runs.iterdir()) if path.is_dir())
