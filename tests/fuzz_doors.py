"""Damaged bytes at every door of this project but a store's (`hostile_store.py`).

    python tests/fuzz_doors.py --inputs 10000 --seed 1

A door may return something, or raise what it documents. Anything else is printed, as is a read that
takes over two seconds, or 500 MB more than any before it.
"""

import argparse
import io
import json
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from fer.errors import CallerError
from fer.evaluate.predictions import DamagedFile, Predictions, read_predictions, write_predictions
from fer.models import registry
from fer.models.checkpoint_import import read_foreign
from fer.models.weights import load_model, save_weights
from fer.plain_text import has_controls, without_controls
from fer.study.run_folder import Status
from fer.untrusted_io import parse_json, record

CLASSES = ("negative", "neutral", "positive")
REPOSITORY = Path(__file__).resolve().parents[1]
MOST_S, MOST_MB = 2.0, 500
EXTREMES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\x7f",
            b"\x00\x00\x00\x80", b"9" * 40, b"[" * 200, b"-1", b"\n", b'"', b",", b"nan",
            b"\x1b[2J")
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Door:
    """What reads a kind of file, whole files of the kind, and the errors that it documents."""

    name: str
    read: Read
    samples: tuple[bytes, ...]
    documented: tuple[type[Exception], ...] = (CallerError,)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return content with one to four changes: bits, cuts, extreme numbers, repeats, noise."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(changed) + 1)
        kind = draw.randrange(5)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[place:place + draw.choice((1, 8, 200, len(changed)))]
        elif kind == 2:
            extreme = draw.choice(EXTREMES)
            changed[place:place + len(extreme)] = extreme
        elif kind == 3:
            changed[place:place] = changed[max(0, place - 64):place] * draw.choice((1, 3, 50))
        else:
            changed[place:place] = draw.randbytes(draw.randint(1, 16))
    return bytes(changed)


def doors(folder: Path) -> list[Door]:
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
             tuple(studies)),
        Door("JSON", lambda path: record(Status, parse_json(path.read_bytes())), (status,),
             (ValueError,)),
        Door("pictures", lambda path: (decode(path), decode(path, 32), thumbnail(path)),
             tuple(_pictures()), ()),
        Door("archives", lambda path: _all_of(path, labels), tuple(_archives()),),
        Door("tables", lambda path: read_rows(path), (table, table.replace(b",", b";"))),
        Door("pixels", lambda path: read_pixels(path, numbers), (pixels,)),
        Door("weights", load_model, (_ours(folder),)),
        Door("checkpoints", read_foreign, tuple(_foreign())),
        Door("predictions", read_predictions, (_predictions(folder),), (DamagedFile,)),
        Door("labels", read_log, (log,)),
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


def fuzzed(door: Door, folder: Path, inputs: int, seed: int) -> Iterator[str]:
    """Yield what goes wrong at a door over a number of inputs, each a line."""
    draw = random.Random(f"{door.name} {seed}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(inputs):
        path = folder / f"{number % 8}.bin"
        path.unlink(missing_ok=True)
        path.write_bytes(mutated(draw.choice(door.samples), draw))
        begin, problem = time.process_time(), ""
        try:
            door.read(path)
        except door.documented as error:
            if isinstance(error, CallerError) and has_controls(one_line_of(error)):
                problem = f"not one line: {str(error)[:200]!r}"
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        took, now = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if took > MOST_S:
            problem = f"took {took:.1f} s"
        if now - peak > MOST_MB * 1024:
            problem, peak = f"took {(now - peak) // 1024} MB", now
        if problem:
            yield f"{door.name}, input {number} of seed {seed}: {problem}"


def one_line_of(error: CallerError) -> str:
    """Return what a script prints of an error."""
    return without_controls(str(error))


def main() -> int:
    """Print the findings of each door; return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="at each door")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    total = 0
    with tempfile.TemporaryDirectory() as name:
        for door in doors(Path(name)):
            begin, found = time.monotonic(), 0
            for line in fuzzed(door, Path(name), asked.inputs, asked.seed):
                found += 1
                print(line, flush=True)
            print(f"{door.name:12} {asked.inputs} inputs, {found} findings, "
                  f"{time.monotonic() - begin:.0f} s", flush=True)
            total += found
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
