"""Features of a frozen body, computed once and shared by every run on the file system.

The cache key covers everything that determines the values: body weights, pictures, views and
arithmetic. Not used for pictures that are augmented differently in each epoch.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from fer.atomic_io import replacing
from fer.config.run import RunConfig
from fer.config.run_id import NUMERICS, scientific
from fer.data.array_file import map_array
from fer.data.pack import only_builder
from fer.data.pixels import RESIDENT_FRACTION, Indices, Source
from fer.data.sampler import share
from fer.models.classifier import Classifier
from fer.study.disk_space import disk_refusals_named
from fer.train.distributed import Session
from fer.untrusted_io import NotRegular

VERSION = 1
BATCH, GPU_BATCH = 32, 256  # pictures in a forward pass, independent of the run's batch size,
# which may change the last bit. On a core, maps of 64 exceed the cache: 1.5x the time a picture.
WAIT_SECONDS = 0.5  # between two checks whether another process has computed them
POLL = 16  # batches between two checks whether to continue
MOST_BYTES = 50e9  # of all files; the least recently used are removed first
LEAST_AGE = 3 * 86400.0  # seconds since last use: a job may have a younger file mapped

Pictures = Callable[[Indices, int], Tensor]
"""Maps indices into a source and a view to pictures as `Classifier.forward` takes them."""


class Features:
    """The features of a source's pictures in each view."""

    def __init__(self, rows: NDArray[np.float32], device: torch.device) -> None:
        """Args:
        rows: float32 (views, n, …), memory-mapped.
        device: of the rows that `take` returns; all rows are moved there if they fit.
        """
        self.shape = rows.shape
        self.device = device
        self._rows = rows.reshape(-1, *rows.shape[2:])
        self._there = self._on_gpu()

    def take(self, indices: Indices, views: NDArray[np.int64] | int = 0) -> Tensor:
        """Return rows, float32 (N, …) on the device, for indices int64 (N,) and views."""
        places = views * self.shape[1] + indices
        if self._there is not None:
            return self._there.index_select(0, torch.from_numpy(places).to(self.device))
        return torch.from_numpy(np.take(self._rows, places, axis=0)).to(self.device)

    def _on_gpu(self) -> Tensor | None:
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        fits = self._rows.nbytes <= RESIDENT_FRACTION * free
        return torch.from_numpy(np.array(self._rows)).to(self.device) if fits else None


@dataclass(frozen=True)
class Body:
    """A model of which only the head is trained, with what else its features depend on."""

    model: Classifier
    config: RunConfig
    session: Session

    def head_is_last(self, picture: Tensor) -> bool:
        """Return whether the head's output is the logits; some networks pool after the head.

        Args:
            picture: (1, 3, size, size).
        """
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                logits = self.model.classify(self.model.features(picture))
                whole = self.model(picture)
        finally:
            self.model.train(training)
        return logits.shape == whole.shape and torch.allclose(logits, whole, rtol=1e-3, atol=1e-4)

    def key(self, source: Source, views: int) -> str:
        """Return the cache key of the features of a source in `views` views."""
        train = self.config.train
        content: dict[str, Any] = {
            "version": VERSION, "numerics": NUMERICS, "body": self._digest(),
            "backbone": scientific(self.model.backbone),
            "packs": [(pack.digest, pack.n) for pack in source.packs], "views": views,
            "compute": scientific(self.config.compute), "device": self.session.device.type}
        if source.drawn:
            content["drawn"] = source.drawn
        if self.session.device.type != "cpu":
            content["determinism"] = self.config.compute.determinism
        if views > 1:
            # features of training pictures do not depend on what validation pictures wear
            masks = None if train.masks is None else scientific(
                train.masks.model_copy(update={"on_validation": False}))
            content |= {"augment": train.augment, "masks": masks}
        if views > 1 or source.drawn:
            # augmentation and masks are drawn by uids, which depend on the pictures' names
            uids = xxhash.xxh3_128(b"".join(pack.uids.tobytes() for pack in source.packs))
            content["uids"] = uids.hexdigest()
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _digest(self) -> str:
        """Return the XXH3-128 of all weights and buffers except the head's."""
        state, head = xxhash.xxh3_128(), self.model.head_keys
        for name, tensor in self.model.net.state_dict().items():
            if name not in head:
                state.update(name.encode())
                state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return state.hexdigest()


def ensure_features(
    body: Body, source: Source, pictures: Pictures, views: int, cache: Path,
    between: Callable[[], object] = lambda: None,
) -> Features | None:
    """Return the features of a source, computed by all ranks together if missing.

    One run per file system computes them; the others wait for it and keep calling `between`.
    Returns None if the head's output is not the logits of the network.

    Args:
        pictures: returns the body's input, `pictures(indices, view)`.
        cache: `$FER_CACHE`.
        between: called periodically by all ranks together; may raise.
    """
    session = body.session
    path = cache / "features" / f"{body.model.backbone.name}-{body.key(source, views)}.npy"
    while True:
        if (found := _known(path, views, source.n, session)) is not None:
            return Features(found, session.device)
        lock = only_builder(path, wait=False) if session.first else contextlib.nullcontext(True)
        with lock as held:
            if not session.any_rank(not held)[0]:
                found = _known(path, views, source.n, session)
                if found is None and not body.head_is_last(pictures(np.arange(1), 0)):
                    return None
                if found is None:
                    found = _compute(body, source, pictures, views, between)
                    if session.first:
                        with disk_refusals_named(cache):
                            _write(path, found)
                        _make_room(path)
                return Features(found, session.device)
        between()
        time.sleep(WAIT_SECONDS)


def _known(path: Path, views: int, n: int, session: Session) -> NDArray[np.float32] | None:
    """Return the mapped file if every rank sees it; caches may be local to a node."""
    rows = _open(path, views, n)
    return None if session.any_rank(rows is None)[0] else rows


def _write(path: Path, rows: NDArray[np.float32]) -> None:
    with replacing(path, durable=True) as temporary, open(temporary, "wb") as handle:
        np.save(handle, rows)


def _open(path: Path, views: int, n: int) -> NDArray[np.float32] | None:
    """Return the mapped file and mark it as used; None if missing or of another shape."""
    try:
        rows = map_array(path)
        with contextlib.suppress(OSError):  # another user's file in a shared cache
            os.utime(path)
    except (FileNotFoundError, NotRegular, ValueError):
        return None
    fits = rows.shape[:2] == (views, n) and rows.dtype == np.float32
    return np.asarray(rows) if fits else None


def _compute(body: Body, source: Source, pictures: Pictures, views: int,
             between: Callable[[], object]) -> NDArray[np.float32]:
    """Return features float32 (views, n, …) on every rank: one forward pass per picture/view."""
    session, model = body.session, body.model
    size = BATCH if session.device.type == "cpu" else GPU_BATCH
    batches = [(view, start) for view in range(views) for start in range(0, source.n, size)]
    shares = [share(0, len(batches), rank, session.world) for rank in range(session.world)]
    parts: list[Tensor] = []
    training = model.training
    model.eval()
    try:
        for number in range(max(stop - start for start, stop in shares)):
            first, last = shares[session.rank]
            if first + number < last:
                view, start = batches[first + number]
                some = np.arange(start, min(start + size, source.n))
                with torch.inference_mode(), session.accelerator.autocast():
                    rows = model.features(pictures(some, view)).float()
                parts.append(rows.cpu() if session.world == 1 else rows)
            if (number + 1) % POLL == 0:
                between()
    finally:
        model.train(training)
    sizes = [sum(min(size, source.n - start) for _, start in batches[first:last])
             for first, last in shares]
    if not parts:  # more ranks than batches: an empty part of the right shape
        with torch.inference_mode(), session.accelerator.autocast():
            parts.append(model.features(pictures(np.arange(1), 0))[:0].float())
    whole = session.gather_rows(torch.cat(parts), sizes).cpu().numpy()
    return whole.reshape(views, source.n, *whole.shape[1:])


def _make_room(kept: Path) -> None:
    """Remove the least recently used files, except `kept`, until the total is small enough."""
    def stat(path: Path) -> os.stat_result | None:
        try:
            return path.stat()
        except FileNotFoundError:  # removed by another process
            return None

    found = [(one.st_mtime, one.st_size, path) for path in kept.parent.glob("*.npy")
             if (one := stat(path)) is not None]
    total = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        if total <= MOST_BYTES:
            return
        if path != kept and time.time() - used > LEAST_AGE:
            path.unlink(missing_ok=True)
            total -= size
