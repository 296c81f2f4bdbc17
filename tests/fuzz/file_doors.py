"""The doors of files that a user names: pictures, archives, tables, weights, studies."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fer.annotate.label_log import read_log
from fer.config.backbone import Backbone
from fer.config.yaml_io import parse_yaml
from fer.data.decode import decode, thumbnail
from fer.data.ingest.archive import read_archive
from fer.data.ingest.folders import Structure
from fer.data.ingest.label_map import read_labels
from fer.data.ingest.picture_table import read_rows
from fer.data.ingest.pixel_csv import read_pixels
from fer.evaluate.predictions import DamagedFile, Predictions, read_predictions, write_predictions
from fer.models import registry
from fer.models.checkpoint_import import read_foreign
from fer.models.weights import load_model, save_weights
from fer.study.run_records import Status
from fer.untrusted_io import parse_json, record
from fuzz.doors import Door

CLASSES = ("negative", "neutral", "positive")
REPOSITORY = Path(__file__).resolve().parents[2]


def file_doors(folder: Path) -> list[Door]:
    """Return the doors; `folder` is for files that are written to be read back."""
    labels, numbers = read_labels("", CLASSES), read_labels("fer2013", CLASSES)
    studies = [path.read_bytes() for path in (*REPOSITORY.glob("sweeps/*.yaml"),
                                              *REPOSITORY.glob("configs/**/*.yaml"))]
    status = json.dumps({"state": "running", "step": 3, "metric": 0.5, "notes": ["a"]}).encode()
    table = b"file,label,person\nimg/a.png,negative,A_B\n\"img/b,c.png\",neutral,\n"
    pixels = f"emotion,pixels,Usage\n3,{' '.join(['7'] * 64)},Training\n".encode()
    log = b"".join(json.dumps({"number": number, "round": "first", "picture": "a.png",
                               "label": "neutral"}).encode() + b"\n" for number in (1, 2))
    return [
        Door("YAML", lambda path: parse_yaml(path.read_text(errors="replace"), "f"),
             tuple(studies), tree=True),
        Door("JSON", lambda path: record(Status, parse_json(path.read_bytes())), (status,),
             (ValueError,), tree=True),
        Door("pictures", lambda path: (decode(path), decode(path, 32), thumbnail(path)),
             tuple(_pictures()), ()),
        Door("archives", lambda path: _all_of(path, labels), tuple(_archives()),),
        Door("tables", lambda path: read_rows(path), (table, table.replace(b",", b";"))),
        Door("pixels", lambda path: read_pixels(path, numbers), (pixels,)),
        Door("weights", load_model, (_ours(folder),)),
        Door("checkpoints", read_foreign, tuple(_foreign())),
        Door("predictions", read_predictions, (_predictions(folder),), (DamagedFile,)),
        Door("labels", read_log, (log,), tree=True),
    ]


def _all_of(path: Path, labels: object) -> None:
    incoming = read_archive(path, labels, Structure())  # type: ignore[arg-type]
    for item in incoming.items:
        item.copy(path.with_name("member"))


def _pictures() -> Iterator[bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)
    image = Image.fromarray(noise)
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"),
                       ("PNG", "P"), ("PNG", "RGBA"), ("GIF", "P"), ("WEBP", "RGB"),
                       ("TIFF", "RGB"), ("TIFF", "1"), ("BMP", "RGB")):
        stream = io.BytesIO()
        image.convert(mode).save(stream, kind)
        yield stream.getvalue()


def _archives() -> Iterator[bytes]:
    content = next(_pictures())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for cls in CLASSES:
                archive.writestr(f"S/train/{cls}/a.jpg", content)
        yield stream.getvalue()


def _ours(folder: Path) -> bytes:
    model = registry.build(Backbone(name="x", arch="cbam_tiny", input_size=48), CLASSES)
    save_weights(model, folder / "w.safetensors")
    return (folder / "w.safetensors").read_bytes()


def _foreign() -> Iterator[bytes]:
    state = {"conv.weight": torch.ones(3, 2), "module.fc.bias": torch.zeros(2)}
    for zipped in (True, False):
        stream = io.BytesIO()
        torch.save({"net": state, "acc": 0.5}, stream, _use_new_zipfile_serialization=zipped)
        yield stream.getvalue()


def _predictions(folder: Path) -> bytes:
    table = Predictions([f"s/t/{n}.jpg" for n in range(20)], [f"P{n}" for n in range(20)],
                        np.arange(20) % 3, np.ones((20, 3), np.float32), CLASSES)
    write_predictions(folder / "p.parquet", table)
    return (folder / "p.parquet").read_bytes()
