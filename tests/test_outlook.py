"""When a queue on this machine looks again: at once where there is news, else ever more seldom."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from test_local_queue import runs_of

from fer.cluster.local_poll import PollInterval
from fer.study.expand import Run
from fer.study.run_folder import Store


def finished(store: Store, runs: list[Run]) -> None:
    for run in runs:
        folder = store.folder(run).path
        folder.mkdir(parents=True)
        (folder / "train.json").write_text("{}")


def opened_below(folder: Path, look: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many run folders are looked into."""
    from fer.study import run_folder as store

    seen = set()
    original = store.RunFolder.trained.fget

    def trained(self: Any) -> bool:
        seen.add(self.path)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(store.RunFolder, "trained", property(trained))
        look()
    return len(seen)


def test_finished_runs_are_read_once_and_again_where_their_folder_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, runs = Store(tmp_path), runs_of(6)
    finished(store, runs[:5])
    outlook = PollInterval(store, runs, {})
    outlook.look()
    assert opened_below(tmp_path, outlook.look, monkeypatch) == 0
    (store.folder(runs[0]).path / "train.json").unlink()
    store.folder(runs[0]).path.rmdir()
    assert [step.action for step in outlook.look()] == ["train", *["done"] * 4, "train"]


def test_a_queue_that_waits_looks_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlook = PollInterval(Store(tmp_path), runs_of(2), {})
    now = [1000.0]
    monkeypatch.setattr("fer.cluster.local_poll.time.monotonic", lambda: now[0])
    looks = []
    while now[0] < 1100:
        if outlook.due([]):
            looks.append(now[0])
            outlook.look()
        now[0] += 0.25
    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert pauses == sorted(pauses) and pauses[0] <= 1 and pauses[-1] == 8


def test_a_run_of_ours_that_begins_or_is_trained_is_looked_at_at_once(tmp_path: Path) -> None:
    store, runs = Store(tmp_path), runs_of(2)
    outlook = PollInterval(store, runs, {})
    outlook.due(runs)
    outlook.look()
    assert not outlook.due(runs)
    folder = store.folder(runs[0])
    folder.path.mkdir(parents=True)
    folder.lease.take()
    assert outlook.due(runs) and not outlook.due(runs)
    (folder.path / "train.json").write_text("{}")
    assert outlook.due(runs)
