"""Checkpoints as people have them: wrapped, prefixed, whole modules, beside anything; and hostile.

Each file is written as a project of the field writes it. None of the hostile ones runs anything.
"""

import argparse
import collections
import enum
import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fer.config.backbone import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.checkpoint_import import find_foreign
from fer.models.classifier import Classifier
from fer.models.weights import load_pretrained

CLASSES = ("negative", "neutral", "positive")


class Stage(enum.Enum):
    """Something that training code keeps in a checkpoint."""

    LAST = 2


class Metrics:
    """An object of training code."""

    def __init__(self) -> None:
        self.best, self.history = np.float64(0.5), [np.float32(0.1)]


def tiny(seed: int = 0) -> Classifier:
    """Return a small network with random weights."""
    torch.manual_seed(seed)
    return registry.build(Backbone(name="x", arch="cbam_tiny", input_size=48), CLASSES)


def state(seed: int = 0, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the state dict of `tiny`, with a prefix."""
    return {prefix + key: value for key, value in tiny(seed).net.state_dict().items()}


def optimizer() -> dict[str, object]:
    """Return the state of an Adam that has taken a step."""
    net = nn.Linear(2, 2)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    adam.step()
    return adam.state_dict()


class Lightning(nn.Module):
    """As a LightningModule holds its network."""

    def __init__(self) -> None:
        super().__init__()
        self.model = tiny().net


BESIDE = {"epoch": 3, "optimizer": optimizer(), "args": argparse.Namespace(lr=1e-3),
          "acc": np.float64(0.5), "path": Path("/x"), "stage": Stage.LAST, "metrics": Metrics(),
          "rng": np.random.RandomState(0).get_state(), "counter": collections.Counter("ab")}
WRAPPED = {
    **{key: lambda key=key: {key: state(), **BESIDE} for key in (
        "state_dict", "model_state_dict", "model", "net", "network", "ema", "ema_state_dict",
        "state_dict_ema", "teacher", "student", "backbone", "encoder", "weights")},
    "nested": lambda: {"checkpoint": {"models": {"model": state(), "epoch": 1}}, **BESIDE},
    "beside": lambda: {**state(), **BESIDE},
    "average and model": lambda: {"model": state(1), "model_ema": state(), **BESIDE},
    "teacher and student": lambda: {"student": state(1), "teacher": state()},
    "module.": lambda: state(prefix="module."),
    "module.module.": lambda: state(prefix="module.module."),
    "_orig_mod.": lambda: {"model": state(prefix="_orig_mod.module.")},
    "model.": lambda: {"state_dict": state(prefix="model."), "pytorch-lightning_version": "2"},
    "backbone.": lambda: {"state_dict": {**state(prefix="backbone."),
                                         "head.fc.weight": torch.ones(3, 4)}, "meta": {}},
    "student.encoder.": lambda: {**state(prefix="student.encoder."),
                                 "teacher.encoder.conv1.weight": torch.zeros(1)},
    "whole module": lambda: tiny().net,
    "whole module in a dict": lambda: {"net": tiny().net, **BESIDE},
    "whole module in parallel": lambda: nn.DataParallel(tiny().net),
    "lightning module": Lightning,
    "parameters": lambda: {key: nn.Parameter(value, requires_grad=value.is_floating_point())
                           for key, value in state().items()},
    "ordered": lambda: {"state_dict": collections.OrderedDict(state()), **BESIDE},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_checkpoint_gives_the_weights_that_are_in_it(
    kind: str, zipped: bool, tmp_path: Path
) -> None:
    torch.save(WRAPPED[kind](), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    model = tiny(7)
    report = load_pretrained(model, tmp_path / "w.pth", keep_head=True)
    for key, value in state().items():
        assert torch.equal(model.net.state_dict()[key], value), key
    assert "all tensors loaded" in str(report) or "unexpected" in str(report)


def test_a_report_says_where_the_weights_were(tmp_path: Path) -> None:
    torch.save({"ema": state(prefix="module.model."), **BESIDE}, tmp_path / "w.pth")
    report = load_pretrained(tiny(7), tmp_path / "w.pth", keep_head=True)
    assert str(report) == (
        "read under 'ema', without the prefix 'module.model.'; all tensors loaded")


def test_half_precision_strides_and_shared_storages_come_back(tmp_path: Path) -> None:
    shared = torch.arange(12.0)
    tensors = {"a": shared[2:8].view(2, 3).t(), "b": shared, "c": torch.ones(3, dtype=torch.half),
               "d": torch.tensor(5), "e": torch.empty(0, 4), "f": torch.ones(2).bfloat16(),
               "g": torch.tensor([True, False])}
    for zipped in (True, False):
        torch.save({"model": tensors, "args": argparse.Namespace()}, tmp_path / "w.pth",
                   _use_new_zipfile_serialization=zipped)
        found = find_foreign(tmp_path / "w.pth").tensors
        assert found.keys() == tensors.keys()
        for key, value in tensors.items():
            assert torch.equal(found[key], value) and found[key].dtype == value.dtype


# --- hostile --------------------------------------------------------------------------------------


class Calls:
    """Unpickling this calls a function with arguments."""

    def __init__(self, function: object, *arguments: object, then: object = None) -> None:
        self.reduced = (function, arguments) if then is None else (function, arguments, then)

    def __reduce__(self) -> object:
        return self.reduced


def raw(*opcodes: bytes) -> bytes:
    """Return a pickle of protocol 2."""
    return b"\x80\x02" + b"".join(opcodes) + b"."


def hostile(canary: Path) -> dict[str, object]:
    """Return objects, or bytes of a pickle, that would make a file if anything were run."""
    touch = f"open({str(canary)!r}, 'w')"
    name = str(canary).encode()
    return {
        "os.system": Calls(os.system, f"touch {canary}"),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "subprocess": Calls(subprocess.Popen, ["touch", str(canary)]),
        "Path.touch": Calls(Path.touch, canary),
        "getattr": Calls(getattr, canary, "touch"),
        "nested": Calls(dict, Calls(eval, f"[(1, {touch})]")),
        "setstate": Calls(argparse.Namespace, then={"x": Calls(eval, touch)}),
        "stack global": raw(b"\x8c\x08builtins\x8c\x04eval\x93", b"X", struct.pack(
            "<I", len(touch)), touch.encode(), b"\x85R"),
        "inst": raw(b"(X", struct.pack("<I", len(touch)), touch.encode(), b"ibuiltins\neval\n"),
        "obj": raw(b"(cbuiltins\neval\nX", struct.pack("<I", len(touch)), touch.encode(), b"o"),
        "newobj": raw(b"cpathlib\nPath\nX", struct.pack("<I", len(name)), name, b"\x85\x81",
                      b"cpathlib\nPath.touch\n\x86R"),
        "build of a class": raw(b"ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__",
                                b"cbuiltins\neval\nsb"),
        "rebuild type": raw(b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\neval\nN(X",
                            struct.pack("<I", len(touch)), touch.encode(), b"tNtR"),
        "persistent": raw(b"X", struct.pack("<I", len(touch)), touch.encode(), b"Q"),
    }


KINDS = tuple(hostile(Path("/nowhere/x")))


def with_pickle(content: bytes, path: Path) -> None:
    """Write a zip of `torch.save` whose pickle is `content`."""
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, content if name.endswith("data.pkl") else part)


@pytest.mark.parametrize("format", ["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_pickle_runs_nothing(kind: str, format: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "w.pth"
    content = hostile(canary)[kind]
    if not isinstance(content, bytes):
        content = pickle.dumps({"model": {**state(), "x": content}}, protocol=2) if (
            format == "zip") else content
    if isinstance(content, bytes) and format == "zip":
        with_pickle(content, path)
    elif isinstance(content, bytes):
        stream = io.BytesIO()
        for part in (0x1950A86A20F9469CFC6C, 1001, {}):
            pickle.dump(part, stream, protocol=2)
        path.write_bytes(stream.getvalue() + content)
    else:
        torch.save({"model": state(), "x": content}, path, _use_new_zipfile_serialization=False)
    try:
        found = find_foreign(path)
    except CallerError as error:
        assert "\n" not in str(error)
    else:  # the tensors beside it are lifted
        assert found.tensors.keys() == state().keys() and format == "legacy"
    assert not canary.exists()


def test_the_canary_of_the_tests_dies_where_code_is_run(tmp_path: Path) -> None:
    for kind in ("os.system", "eval", "stack global", "inst", "obj"):
        canary = tmp_path / kind.replace(" ", "-")
        content = hostile(canary)[kind]
        pickle.loads(content if isinstance(content, bytes) else pickle.dumps(content))
        assert canary.exists(), kind


def test_reading_imports_nothing_that_a_pickle_names(tmp_path: Path) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    with_pickle(raw(b"cevil_module\nthing\n", b"X\x01\x00\x00\x00a\x85R"), tmp_path / "w.pth")
    with pytest.raises(CallerError):
        find_foreign(tmp_path / "w.pth")
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("content", [
    pickle.dumps([None] * 1_000_000, protocol=2),
    raw(b"]", *[b"q\x00(h\x00h\x00l"] * 5000),  # lists of lists, twice as many at each level
    raw(b"]" * 100_000, b"a" * 99_999),
    raw(b"c" + b"a" * 100_000 + b"\nb\n)R"),
], ids=["a million entries", "shared lists", "deep", "a long name"])
def test_a_large_pickle_is_refused_soon(content: bytes, tmp_path: Path) -> None:
    with_pickle(content, tmp_path / "w.pth")
    begin = time.process_time()
    with pytest.raises(CallerError) as error:
        find_foreign(tmp_path / "w.pth")
    assert time.process_time() - begin < 5 and len(str(error.value)) < 600


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with pytest.raises(CallerError, match="save never writes"):
        find_foreign(tmp_path / "w.pth")


def test_a_storage_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {}):
        pickle.dump(part, stream, protocol=2)
    stream.write(raw(b"cargparse\nNamespace\n)R0(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
                     b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x08", struct.pack("<q", 10**12),
                     b"NtQ"))
    (tmp_path / "w.pth").write_bytes(stream.getvalue())
    with pytest.raises(CallerError):
        find_foreign(tmp_path / "w.pth")
