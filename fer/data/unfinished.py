"""A pack that is being built: chunks that are done stay done when the builder is killed.

One builder at a time works in it (`fer.data.pack.only_builder`). What was written is in the memory
of this machine's kernel, so it counts until the machine starts again; elsewhere it is made anew.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer.boot import boot_id
from fer.data.rows import Failures

JOURNAL = "journal.jsonl"


class Unfinished:
    """The folder of a pack in the making, with a journal of the chunks in it.

    Attributes:
        folder: where its files are written.
        done: first row of a chunk -> its rows that cannot be used.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        self.done: dict[int, Failures] = {}
        self._journal = folder / JOURNAL
        first = {**plan, "boot": boot_id()}
        lines = self._lines()
        if not lines or lines[0] != first or lines[-1].get("closed"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._add(first)
            return
        for line in lines[1:]:
            self.done[line["start"]] = {int(row): why for row, why in line["failed"].items()}

    def note(self, start: int, failed: Failures) -> None:
        """Note that a chunk is written."""
        self.done[start] = failed
        self._add({"start": start, "failed": failed})

    def close(self) -> None:
        """Note that rows move from here on: what is killed after that begins anew."""
        self._add({"closed": True})

    def _add(self, line: Mapping[str, Any]) -> None:
        with open(self._journal, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """Return the whole lines of the journal; one that was cut short is left out."""
        try:
            text = self._journal.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = text.split("\n")[:-1]
        return [json.loads(line) for line in lines]


@contextmanager
def unfinished(folder: Path, plan: Mapping[str, Any]) -> Iterator[Unfinished]:
    """Yield the unfinished pack; when the block ends well it becomes `folder`.

    Interrupted or killed, it stays for the next builder; any error removes it.

    Args:
        plan: what is built; an unfinished pack of another plan is removed.
    """
    place = folder.with_name(f".{folder.name}.unfinished")
    place.parent.mkdir(parents=True, exist_ok=True)
    pack = Unfinished(place, plan)
    try:
        yield pack
        (place / JOURNAL).unlink()
        try:
            os.rename(place, folder)
        except OSError:
            if not folder.is_dir():  # else another builder published it, where locks do not hold
                raise
            shutil.rmtree(place, ignore_errors=True)
    except KeyboardInterrupt:
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
