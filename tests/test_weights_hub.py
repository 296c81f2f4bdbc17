"""`launch/weights.py fetch hf:ORG/NAME`: pinned, checked, resumed, and one line where it fails.

The hub is a server on loopback that answers as huggingface.co does for the few requests that a
download makes; files come from a second address, as from the hub's content network.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from commands import launch_process
from conftest import launch
from test_mistakes import said_in_one_line

from fer.checksums import beside
from fer.config.backbone import Pretrained
from fer.config.load import load_run
from fer.config.paths import cache, data_root
from fer.config.run_id import run_id
from fer.config.weights_file import HubFile, hub_file, weights_path
from fer.errors import CallerError
from fer.study.inputs import InputDigests

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_SecretOfTheTest"
NAME = "hf:org/net"


@dataclass
class Hub:
    """What the server has, does and was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: {"model.safetensors": CONTENT})
    sha256: str = SHA256
    most: int = 1 << 30  # bytes of one answer
    status: int = 0  # of every answer about the repository
    code: str = ""  # the hub's name of an error
    location: str = ""  # of the content; empty for the usual
    address: str = ""
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Method, path, range and authorization of each request about repositories."""


class Server(ThreadingHTTPServer):
    hub: Hub


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub = self.server.hub  # type: ignore[attr-defined]
        if self.path == "/api/agent-harnesses":  # huggingface_hub asks once a process, of its own
            return self.reply(404, {})
        hub.asked.append((self.command, self.path, self.headers.get("Range", ""),
                          self.headers.get("Authorization", "")))
        path = self.path.partition("?")[0]
        if path.startswith("/content/"):
            self.content(hub, hub.files[path.removeprefix("/content/")])
        elif hub.status:
            self.reply(hub.status, {"X-Error-Code": hub.code, "X-Error-Message": f"no: {TOKEN}"})
        elif path.startswith("/api/models/org/net/tree/"):
            body = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in hub.files]
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
        elif not path.startswith("/org/net/resolve/"):
            self.reply(404, {"X-Error-Code": "RepoNotFound"})
        else:
            revision, _, file = path.removeprefix("/org/net/resolve/").partition("/")
            if revision not in ("main", "v1", COMMIT):
                self.reply(404, {"X-Error-Code": "RevisionNotFound"})
            elif file not in hub.files:
                self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            else:
                port = self.server.server_address[1]
                self.reply(302, {
                    "Location": hub.location or (
                        f"http://localhost:{port}/content/{file}?Signature=abc"),
                    "X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{hub.sha256}"',
                    "X-Linked-Size": str(len(hub.files[file]))})

    def content(self, hub: Hub, content: bytes) -> None:
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(content):
            return self.reply(416, {})
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: hub.most])

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The server, to which HF_ENDPOINT points."""
    made = Server(("127.0.0.1", 0), Handler)
    made.hub = Hub()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    made.hub.address = f"http://127.0.0.1:{made.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", made.hub.address)
    for name, value in (("ENDPOINT", made.hub.address), (  # read from there at import
            "HUGGINGFACE_CO_URL_TEMPLATE",
            f"{made.hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}")):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield made.hub
    made.shutdown()
    thread.join()
    made.server_close()


def files(tmp_path: Path) -> list[str]:
    """Return the files in the cache."""
    top = tmp_path / "cache"
    return sorted(str(one.relative_to(top)) for one in top.rglob("*") if one.is_file())


def fetch(*arguments: str, **environment: str) -> Any:
    return launch("weights", "fetch", *arguments, **environment)


def test_a_file_comes_once_is_checked_and_says_how_to_pin_it(hub: Hub, tmp_path: Path) -> None:
    done = fetch(NAME)
    assert done.returncode == 0, done.stderr
    pinned = f"hf:org/net@{COMMIT}:model.safetensors"
    assert "fetched, 1.3 MB" in done.stdout
    assert f'file: "{pinned}", sha256: {SHA256}' in done.stdout.replace("\n", "")
    for name in (NAME, pinned):
        path = weights_path(tmp_path / "cache", name)
        assert path.read_bytes() == CONTENT and beside(path).is_file()
    assert len(files(tmp_path)) == 4  # by branch and by commit, each with its checksum
    before = len(hub.asked)
    for name in (NAME, pinned):
        again = launch_process("weights", "fetch", name, HF_ENDPOINT="http://127.0.0.1:9")
        assert "already present" in again.stdout, again.stderr
    assert len(hub.asked) == before


def test_the_token_goes_to_the_hub_alone_and_into_no_output(hub: Hub, tmp_path: Path) -> None:
    done = fetch(NAME)
    authorized = {path.split("/")[1]: header for _, path, _, header in hub.asked}
    assert authorized == {"org": f"Bearer {TOKEN}", "content": ""}
    hub.status, hub.code = 401, "GatedRepo"
    refused = fetch(f"{NAME}@v1")
    broken = fetch(f"{NAME}@v1", HF_TOKEN=f"{TOKEN}\N{SNOWMAN}x")
    for one in (done, refused, broken):
        assert TOKEN not in one.stdout + one.stderr and "Signature" not in one.stdout + one.stderr
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*")
                   if path.is_file())


def test_a_download_goes_on_where_it_was_cut(hub: Hub, tmp_path: Path) -> None:
    hub.most = 100_000
    said_in_one_line(fetch(NAME), NAME, "run again")
    assert files(tmp_path) == ["weights/hf/org/net/main/model.safetensors.part"]
    hub.most = 1 << 30
    assert fetch(NAME).returncode == 0
    assert [ranged for method, _, ranged, _ in hub.asked if method == "GET"] == [
        "", "bytes=100000-"]
    assert weights_path(tmp_path / "cache", NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "code", "said"), [
    (401, "GatedRepo", "gated: accept its terms at http://127.0.0.1"),
    (403, "GatedRepo", "gated: accept its terms"),
    (403, "", "gated: accept its terms"),
    (401, "RepoNotFound", "no such repository, or a private one"),
    (401, "", "no such repository, or a private one"),
    (404, "RepoNotFound", "no such repository, or a private one")])
def test_a_repository_that_is_closed_is_one_line(
    hub: Hub, tmp_path: Path, status: int, code: str, said: str
) -> None:
    hub.status, hub.code = status, code
    said_in_one_line(fetch(NAME), NAME, said, "HF_TOKEN")
    assert not files(tmp_path)


@pytest.mark.parametrize(("name", "said"), [
    ("hf:org/other", "no such repository"),
    (f"{NAME}@v9", "no revision 'v9'"),
    (f"{NAME}:weights.bin", "no file 'weights.bin'; there are: model.safetensors")])
def test_what_a_repository_does_not_have_is_one_line(
    hub: Hub, tmp_path: Path, name: str, said: str
) -> None:
    said_in_one_line(fetch(name), "hf:org/", said)
    assert not files(tmp_path)


@pytest.mark.parametrize("environment", [
    {"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}], ids=["refused", "offline"])
def test_no_network_is_one_line(hub: Hub, tmp_path: Path, environment: dict[str, str]) -> None:
    done = launch_process("weights", "fetch", NAME, **environment)
    said_in_one_line(done, NAME, "fetch weights on a machine with network")
    assert not files(tmp_path)


@pytest.mark.parametrize("how", ["pinned", "content"])
def test_another_digest_leaves_nothing(hub: Hub, tmp_path: Path, how: str) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    if how == "content":  # what arrives is not what the hub has announced
        hub.sha256 = other
    done = fetch(NAME, *(["--sha256", other] if how == "pinned" else []))
    said_in_one_line(done, NAME, {"pinned": "the pinned one is",
                                  "content": "the download was deleted"}[how])
    assert not files(tmp_path)


def test_a_redirect_to_a_local_file_is_refused(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    hub.location = f"file://{tmp_path}/secret"
    line = said_in_one_line(fetch(NAME), NAME)
    # huggingface_hub 1 and 2.0 follow it themselves, to no answer
    assert "another protocol" in line or "no such repository" in line
    assert not files(tmp_path)


def test_a_file_larger_than_the_limit_is_not_fetched(hub: Hub, tmp_path: Path) -> None:
    said_in_one_line(fetch(NAME, "--max-gb", "0.001"), NAME, "more than 0.00 GB", "--max-gb")
    assert not files(tmp_path) and not [path for method, path, *_ in hub.asked if method == "GET"]
    url = f"{hub.address}/content/net-{SHA256[:8]}.pth"
    hub.files[f"net-{SHA256[:8]}.pth"] = CONTENT
    said_in_one_line(fetch(url, "--max-gb", "0.001"), url, "--max-gb")
    assert not files(tmp_path)
    assert fetch(url).returncode == 0


def test_a_url_needs_a_digest_in_its_name_or_in_the_study(hub: Hub, tmp_path: Path) -> None:
    hub.files["net.pt"] = CONTENT
    url = f"{hub.address}/content/net.pt"
    said_in_one_line(fetch(url), url, "--sha256")
    assert fetch(url, "--sha256", SHA256).returncode == 0
    assert weights_path(tmp_path / "cache", url).read_bytes() == CONTENT


@pytest.mark.parametrize("name", [
    "hf:net", "hf:org/net@", "hf:org/net:../x", "hf:org/../net", "hf:org/net:/etc/passwd", "hf:",
    "hf:org/net@../..:x", "https://host", "https://host/a?token=x", "https://host/../a.pth"])
def test_a_malformed_name_is_one_line(name: str, tmp_path: Path) -> None:
    said_in_one_line(fetch(name, FER_CACHE=str(tmp_path)), name)
    assert not list(tmp_path.iterdir())


def test_names_of_the_hub_have_a_place_each() -> None:
    assert hub_file("hf:timm/a.b_c") == HubFile("timm/a.b_c", "main", "model.safetensors")
    assert hub_file("hf:o/n@refs/pr/1:a/b.pt") == HubFile("o/n", "refs/pr/1", "a/b.pt")
    names = ["hf:o/n", "hf:o/n@v1", "hf:o/n@v1:a/b.pt", "hf:o/n:a/b.pt", "https://h:1/a.pt", "a.pt"]
    places = {weights_path(Path("/c"), name) for name in names}
    assert len(places) == len(names) and all(str(one).startswith("/c/weights/") for one in places)
    assert weights_path(Path("/c"), "/abs/w.pth") == Path("/abs/w.pth")


# ----- a study that names a file of the hub


def pinned_study(**more: str) -> dict[str, Any]:
    return {"recipe": "imagenet_full", "train_on": "lfw", "backbone": "resmasking_tiny",
            "backbone.pretrained": {"source": "file", "file": NAME, **more}}


def test_planning_refuses_another_file_than_the_pinned_one(places: Path) -> None:
    path = weights_path(cache(), NAME)
    digests = InputDigests(data_root(), cache())
    with pytest.raises(CallerError, match=r"pretrained weights are missing.*fetch STUDY"):
        digests.weights(NAME, SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert digests.weights(NAME, SHA256) == digests.weights(NAME)
    with pytest.raises(CallerError, match=r"main/model.safetensors: its SHA-256 is .* pins 0000"):
        digests.weights(NAME, "0" * 64)


def test_a_pin_is_not_part_of_the_run_id(places: Path) -> None:
    path = weights_path(cache(), NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    ids = set()
    for more in ({}, {"sha256": SHA256}):
        config = load_run("configs/drawn.yaml", pinned_study(**more))
        ids.add(run_id(config, config_inputs(config)))
    assert len(ids) == 1


def config_inputs(config: Any) -> Any:
    from fer.config.run import Inputs

    return Inputs(digests={"weights": InputDigests(data_root(), cache()).weights(
        config.backbone.pretrained.file, config.backbone.pretrained.sha256)})


def test_a_pin_is_a_whole_digest() -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        Pretrained(source="file", file=NAME, sha256="abc")
    with pytest.raises(ValueError, match="not the weights of a run"):
        Pretrained(source="run", base="x.yaml", sha256=SHA256)


def test_a_study_fetches_what_it_pins(hub: Hub, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(json.dumps({
        "schema": 1, "study": "starts", "base": "configs/drawn.yaml",
        "grid": {"backbone": ["resmasking_tiny"], "recipe": ["lp_ft"], "train_on": ["lfw"],
                 "seed": [0]},
        "set": {"backbone.pretrained": {"source": "file", "file": NAME, "sha256": SHA256}},
        "evaluate_on": ["lfw/eval"]}))
    assert "fetched" in fetch(str(study)).stdout
    weights_path(tmp_path / "cache", NAME).write_bytes(b"other")
    beside(weights_path(tmp_path / "cache", NAME)).unlink()
    said_in_one_line(fetch(str(study)), "model.safetensors", "another file")
