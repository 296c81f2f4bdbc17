"""The doors of what is beside the runs of a store: checkpoints, packs, caches, facts, bundles."""

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from fer.atomic_io import write_json
from fer.data import mask_types
from fer.data.digest import file_digests
from fer.data.faces import framing_record
from fer.data.layout import Picture
from fer.data.metadata import read_facts, read_people
from fer.data.pack import DamagedPack, Pack
from fer.data.pack_builder import build_pack
from fer.errors import CallerError
from fer.inference.model_source import find_models
from fer.models import registry
from fer.report.bundle.read_bundle import Bundle
from fer.report.bundle.write_bundle import write_bundle
from fer.report.read.load_results import load_results
from fer.report.read.report_cache import ReportCache
from fer.report.study_report import runs_of
from fer.study.queue_view import Queue
from fer.study.slurm_poll import _recent
from fer.study.status import rows_of
from fer.train import features
from fer.train.checkpoint import Checkpoints, load_weights
from fer.train.checkpoint_manifest import seal
from fer.train.train_state import Best, Progress
from fer.transfer.model_inspection import anatomies, refuse_misfits
from fuzz.doors import Door
from fuzz.written_store import CLASSES, JOBS, WrittenStore, write_image

STOPS = (CallerError,)


def cache_doors(written: WrittenStore) -> list[Door]:
    """Return the doors of checkpoints, packs and caches, which are written beside the runs."""
    return [*_checkpoints(written), *_packs(written.store.home / "cache"), *_caches(written),
            *_facts(written.store.home / "data"), *_exported(written)]


def _door(place: Path, read: Callable[[], object], documented: tuple[type[Exception], ...] = (),
          tree: bool = True, name: str = "") -> Door:
    return Door(name or place.name, lambda path: read(), (place.read_bytes(),), documented, place,
                tree)


def _checkpoints(written: WrittenStore) -> list[Door]:
    config = written.runs[0].config
    model = registry.build(config.backbone, CLASSES)
    kept = Checkpoints(written.done.path / "checkpoints", keep=2)
    kept.save(Progress(step=3, finished=True, best=Best(0.5, step=3, epoch=1)), model, None)
    folder = kept.path(3)

    def resealed() -> None:
        """Load weights whose checksum somebody made anew."""
        seal_again(folder)
        load_weights(kept.best(), registry.build(config.backbone, CLASSES))

    return [
        _door(folder / "manifest.json", lambda: (kept.newest(), kept.best()), STOPS),
        _door(folder / "state.json", lambda: (seal_again(folder), kept.newest()), STOPS),
        _door(kept.folder / "best", lambda: (seal_again(folder), kept.best()), STOPS, tree=False,
              name="pointer"),
        _door(folder / "model.safetensors", resealed, STOPS, tree=False, name="best weights"),
    ]


def seal_again(folder: Path) -> None:
    """Write the manifest of a checkpoint anew, as somebody who changes its files would."""
    (folder / "manifest.json").unlink()
    seal(folder)


def _packs(cache: Path) -> list[Door]:
    pictures = []
    for number in range(6):
        path = cache / f"{number}.png"
        write_image(path, number)
        pictures.append(Picture("lfw", "train", f"train/neutral/{number}.png", path, number % 3,
                                "A"))
    folder = cache / "packs/lfw-train-16-0"
    build_pack(pictures, CLASSES, 16, folder, "0" * 32, workers=1)

    def opened() -> None:
        pack = Pack.open(folder)
        assert pack.intact in (True, False)
        pack.notes("lfw/train")

    return [_door(folder / name, opened, (DamagedPack,), name.endswith("json"), f"pack {name}")
            for name in ("meta.json", "pixels.npy", "labels.npy", "index.parquet")]


def _caches(written: WrittenStore) -> list[Door]:
    def rows() -> None:
        rows_of(written.study, written.store, queue=Queue(written.store.home, JOBS))

    def report() -> None:
        memory = ReportCache(written.folder)
        load_results(written.study.study, runs, memory)
        memory.save()

    runs, _ = runs_of(written.study, written.store)
    report()
    cache = written.store.home / "cache"
    config = written.runs[0].config
    other_code = patch("fer.transfer.model_inspection._code", lambda: "")  # not the shipped one
    with other_code:
        anatomy = anatomies([config], cache)
    folder = cache / "pictures"
    write_image(folder / "a.png", 0)
    os.utime(folder / "a.png", (0, 0))  # digests of new files are not kept
    file_digests([folder / "a.png"], cache)
    (record,) = (cache / "digests").glob("*.json")
    write_json(cache / "framing.json", {"0" * 32: "faces fill half of the picture"})
    digest = mask_types.keep_types({"lfw/a": "cloth", "lfw/b": "surgical"}, cache)
    write_json(cache / "queue.json", {
        "time": 0.0, "jobs": [{"id": "7", "state": "RUNNING"}], "answered": True,
        "cluster": "here", "private": False, "accounting": False})
    np.save(cache / "features.npy", np.zeros((1, 2, 3), np.float32))

    def recent() -> None:
        with patch("time.time", return_value=1.0):
            _recent(cache / "queue.json")

    def inspected() -> None:
        with other_code, patch("fer.transfer.model_inspection._ask", lambda asked: anatomy):
            refuse_misfits([config], cache)
            assert anatomies([config], cache)[0]["bytes"] < 1e9

    results, tables = (written.folder / f"cache.{name}.parquet" for name in ("results",
                                                                           "predictions"))
    return [
        _door(written.folder / "cache.parquet", rows, tree=False),
        _door(results, report, tree=False),
        _door(tables, report, tree=False),
        _door(cache / "anatomy.json", inspected, STOPS),
        _door(record, lambda: file_digests([folder / "a.png"], cache), name="digests"),
        _door(cache / "framing.json", lambda: framing_record.recall(cache, [folder / "a.png"])),
        _door(cache / f"mask_types/{digest}.json", lambda: mask_types.kept_types(
            digest, cache, ["lfw/a", "lfw/b"]), name="mask types"),
        _door(cache / "queue.json", recent),
        _door(cache / "features.npy", lambda: features._open(cache / "features.npy", 1, 2),
              tree=False),
    ]


def _facts(top: Path) -> list[Door]:
    top.mkdir()
    (top / "pictures.csv").write_text("file,identity,pose\ntrain/a.png,A_B,left\n")
    write_json(top / "dataset.json", {"people": {"train": "names"}})
    return [_door(top / "pictures.csv", lambda: read_facts(top), STOPS, tree=False),
            _door(top / "dataset.json", lambda: read_people(top), STOPS)]


def _exported(written: WrittenStore) -> list[Door]:
    exported = written.store.home / "exported"
    exported.mkdir()
    write_json(exported / "preprocessing.json", {
        "name": "x", "precision": "float32", "calibration": {
            "temperature": 1.0, "threshold": 0.5, "accuracy": 0.9, "n": 20, "split": "lfw/val"}})
    bundle = written.store.home / "bundle.zip"
    write_bundle(written.study, written.store, bundle)

    def compared() -> None:
        opened = Bundle(bundle)
        for run in opened.manifest.runs:
            for split in opened.results(run.run):
                opened.predictions(run.run, split)
            opened.json(f"runs/{run.run}/env.json")

    return [_door(exported / "preprocessing.json", lambda: find_models(str(exported)), STOPS),
            _door(bundle, compared, STOPS, tree=False)]
