"""`launch/weights.py fetch`: whole files with their published checksum, resumed where cut off."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import launch
from test_mistakes import said_in_one_line

from fer.checksums import beside
from fer.config.blocks import block_names, load_backbone
from fer.errors import CallerError
from fer.models.fetch import fetch, provide, published
from fer.models.published import Published
from fer.study.starting_weights import files_of

CONTENT = bytes(range(256)) * 5000


class Server(ThreadingHTTPServer):
    """Serves files on loopback; notes the ranges asked for, and cuts answers off when told to."""

    files: dict[str, bytes]
    ranges: list[str]
    most: int


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        content, asked = server.files.get(self.path), self.headers.get("Range", "")
        server.ranges.append(asked)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.most])

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.files, made.ranges, made.most = {}, [], 1 << 30
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def source(server: Server, content: bytes = CONTENT, name: str = "w.pth") -> Published:
    server.files[f"/{name}"] = content
    return Published(f"http://127.0.0.1:{server.server_port}/{name}", "sha256",
                     hashlib.sha256(CONTENT).hexdigest()[:8])


def test_a_file_comes_with_its_checksum_and_is_not_asked_for_twice(
        server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "weights/w.pth"
    assert "1.3 MB" in fetch(source(server), target, lambda *done: seen.append(done))
    assert target.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))
    assert target.with_name("w.pth.sha256").read_text() == (
        f"{hashlib.sha256(CONTENT).hexdigest()}  w.pth\n")
    backbone = load_backbone("resnet18")  # whose file it is taken for, as it is there
    assert provide(backbone, target) == "already present" and len(server.ranges) == 1
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(CallerError, match="its content has changed"):
        provide(backbone, target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["w.pth", "w.pth.sha256"]


def test_a_download_goes_on_where_it_was_cut_off(server: Server, tmp_path: Path) -> None:
    server.most = 100_000
    with pytest.raises(CallerError, match=r"interrupted after|IncompleteRead"):
        fetch(source(server), tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists()
    server.most = 1 << 30
    fetch(source(server), tmp_path / "w.pth")
    assert server.ranges == ["", "bytes=100000-"] and (tmp_path / "w.pth").read_bytes() == CONTENT


def test_another_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="its sha256 is"):
        fetch(source(server, CONTENT[:-1]), tmp_path / "w.pth")
    assert not list(tmp_path.iterdir())


def test_the_weights_in_a_zip_are_unpacked(server: Server, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as packed:
        packed.writestr("w-0123.pth", CONTENT)
    zipped = source(server, (tmp_path / "made.zip").read_bytes(), "w.pth.zip")
    fetch(zipped, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_damaged_zip_is_one_line_and_fetched_from_its_beginning_the_next_time(
    server: Server, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("w-0123.pth", CONTENT)
    whole = (tmp_path / "made.zip").read_bytes()
    damaged = bytearray(whole)
    damaged[300:400] = bytes(100)
    with pytest.raises(CallerError, match="damaged zip"):
        fetch(source(server, bytes(damaged), "w.pth.zip"), tmp_path / "w.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["made.zip"]
    fetch(source(server, whole, "w.pth.zip"), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_file_by_hand_stays_and_an_empty_one_does_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, target = load_backbone("resnet18"), tmp_path / "w.pth"
    monkeypatch.setattr("fer.models.fetch.published", lambda _: source(server))
    target.write_bytes(b"mine")
    assert "not the published file" in provide(backbone, target)
    assert target.read_bytes() == b"mine" and not beside(target).exists()
    target.write_bytes(CONTENT)
    assert "with the published checksum" in provide(backbone, target) and beside(target).exists()
    beside(target).unlink()
    target.write_bytes(b"")
    assert "fetched" in provide(backbone, target) and target.read_bytes() == CONTENT


@pytest.mark.parametrize(("name", "found"), [
    ("torchvision/resnet18", "resnet18-f37072fd.pth"), ("pytorchcv/resnet18", "resnet18-"),
    ("torchvision/resnet18x", None), ("pytorchcv/resnet18x", None)])
def test_networks_of_libraries_are_published_under_their_own_names(
    name: str, found: str | None
) -> None:
    if found is not None:
        assert found in published(load_backbone(name)).url
        return
    with pytest.raises(CallerError, match="no weights are published"):
        published(load_backbone(name))


def test_an_inline_backbone_with_a_file_of_its_own_is_nobodys() -> None:
    mine = load_backbone("resnet18").model_copy(update={"name": "mine"})
    with pytest.raises(CallerError, match="is not published"):
        published(mine)


def test_a_missing_file_and_no_network_are_one_line(server: Server, tmp_path: Path) -> None:
    gone = Published(f"http://127.0.0.1:{server.server_port}/none.pth", "sha256", "0")
    with pytest.raises(CallerError, match="404"):
        fetch(gone, tmp_path / "w.pth")
    with pytest.raises(CallerError, match=r"fetch weights on a machine with network"):
        fetch(Published("http://127.0.0.1:9/w.pth", "sha256", "0"), tmp_path / "w.pth")


def test_every_backbone_that_wants_a_file_knows_where_it_is_published() -> None:
    for name in block_names("backbone"):
        backbone = load_backbone(name)
        if backbone.pretrained is None or backbone.pretrained.source != "file":
            continue
        if name == "resattnet56":  # pytorchcv has its code, and weights of none
            with pytest.raises(CallerError, match="no weights are published"):
                published(backbone)
            continue
        found = published(backbone)
        assert found.url.startswith("https://") and len(found.checksum) >= 8, name
    assert published(load_backbone("resmasking_dropout1")).url.endswith("resnet34-b627a593.pth")


def test_a_study_names_its_files_once() -> None:
    found = files_of(["sweeps/paper.yaml", "vgg19"])
    assert [backbone.name for backbone in found.values()] == [
        "resmasking_dropout1", "cbam_resnet50", "vgg19", "mobilenet_w1"]
    assert list(files_of(["torchvision/resnet18"])) == ["torchvision-resnet18.pth"]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    said_in_one_line(launch("weights", "fetch", "resnet99"), "resnet99", "resnet18")
    said_in_one_line(launch("weights", "fetch", "resmasking_tiny"), "resmasking_tiny", "no weights")
