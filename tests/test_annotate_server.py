"""The labelling page's server lets nobody in who does not have the address that was printed."""

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from annotation import TOKEN, Served, served, started, write_pictures
from PIL import Image

from fer.annotate.guard import MOST_BYTES
from fer.annotate.server import picture_id, rendered
from fer.annotate.shown_picture import suggested_box
from fer.data.faces import detector
from fer.data.faces.detector import Face

ENDPOINTS = [("GET", "/"), ("GET", "/picture/{id}"), ("GET", "/box/{id}"), ("POST", "/state"),
             ("POST", "/label"), ("POST", "/undo"), ("GET", "/nothing"), ("POST", "/"),
             ("OPTIONS", "/label"), ("GET", "/docs"), ("GET", "/openapi.json")]
RIGHT = {"X-Token": TOKEN}
JSON = {"Content-Type": "application/json"}
WRONG: dict[str, list[dict[str, str]]] = {
    "token": [{}, {"X-Token": "wrong"}, {"X-Token": TOKEN[:-1]}, {"X-Token": f"{TOKEN}x"},
              {"X-Token": "é"}, {"Cookie": f"token={TOKEN}"}, {"Authorization": f"Bearer {TOKEN}"}],
    "host": [{**RIGHT, "Host": host} for host in (
        "", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0",
        "localhost@evil.example", "[::2]:80")],
    "origin": [{**RIGHT, **one} for one in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"})]}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = write_pictures(tmp_path_factory.mktemp("faces"), 5)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder.parent / "secret.jpg").write_bytes((folder / "p0/pic00.jpg").read_bytes())
    with served(started(folder), "Look at the *brows*. <script>alert(1)</script>") as running:
        yield running


def shown(page: Served, annotator: str = "ada") -> dict:
    status, state = page.post("/state", {"annotator": annotator})
    assert status == 200
    return state


def answer(page: Served, annotator: str, **changes: object) -> tuple[int, dict]:
    state = shown(page, annotator)
    return page.post("/label", {"annotator": annotator, "revision": state["revision"],
                                "picture": state["picture"], "label": "neutral", **changes})


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("group", ["token", "host", "origin"])
def test_no_endpoint_answers_without_token_host_and_origin(
    page: Served, method: str, path: str, group: str
) -> None:
    place = path.format(id=shown(page)["picture"])
    body = json.dumps({"annotator": "eve", "revision": 0}).encode() if method == "POST" else None
    before = sorted(page.project.store.rglob("*"))
    for headers in WRONG[group]:
        status, content, _ = page.request(method, place, body, {**JSON, **headers})
        assert status in (403, 400), (headers, content)  # 400: uvicorn itself wants a Host
        assert b"neutral" not in content and not content.startswith((b"\xff\xd8", b"{"))
    assert sorted(page.project.store.rglob("*")) == before


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:8000", "LOCALHOST", "[::1]:80"])
def test_a_tunnel_may_have_another_port(page: Served, host: str) -> None:
    status, content, headers = page.request("GET", f"/?token={TOKEN}", headers={
        "Host": host, "Origin": f"http://{host}"})
    assert status == 200 and b"positive" in content
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("name", [
    "../secret.jpg", "..%2fsecret.jpg", "%2e%2e/secret.jpg", "p0/pic00.jpg", "p0%2Fpic00.jpg",
    "/etc/passwd", "%2Fetc%2Fpasswd", "..\\secret.jpg", "0" * 24, "", "%00", "%ff", "annotations"])
def test_no_name_of_a_file_is_taken_from_a_request(page: Served, name: str) -> None:
    for kind in ("picture", "box"):
        status, content, _ = page.request("GET", f"/{kind}/{name}", headers=RIGHT)
        assert status == 404 and not content.startswith(b"\xff\xd8")
    state = shown(page)
    status, refusal = page.post("/label", {"annotator": "ada", "revision": state["revision"],
                                           "picture": name, "label": "neutral"})
    assert status == 409 and "another tab" in refusal["error"]


@pytest.mark.parametrize("path", ["/state", "/label", "/undo", "/", "/picture/x"])
@pytest.mark.parametrize("how", ["said", "chunked", "negative"])
def test_a_large_upload_is_refused_before_it_is_read(page: Served, path: str, how: str) -> None:
    head = {"said": f"Content-Length: {100 * 2**20}", "chunked": "Transfer-Encoding: chunked",
            "negative": "Content-Length: -5"}[how]
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as link:
        link.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Token: {TOKEN}\r\n"
                     f"Content-Type: application/json\r\n{head}\r\n\r\n".encode())
        sent, part = 0, b"x" * 2**16
        try:
            while how == "chunked" and sent < 100 * 2**20:
                link.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                sent += len(part)
            status = link.recv(100).split(b" ")[1]
        except ConnectionError:
            status = b"413"
    assert status in {"said": (b"413",), "chunked": (b"411", b"413"),
                      "negative": (b"400", b"413")}[how]
    assert sent < 50 * 2**20
    assert shown(page)["total"] == 7


@pytest.mark.parametrize(("path", "body", "kind", "status"), [
    ("/label", b"{}", "application/json", 422), ("/label", b"nonsense", "application/json", 422),
    ("/label", b"", "application/json", 422), ("/label", b"[]", "application/json", 422),
    ("/state", b'{"annotator": 5}', "application/json", 422),
    ("/state", b'{"annotator": "../x"}', "application/json", 422),
    ("/state", b'{"annotator": "ada", "more": 1}', "application/json", 422),
    ("/state", b'{"annotator": "ada"}', "text/plain", 415),
    ("/state", b"annotator=ada", "application/x-www-form-urlencoded", 415),
    ("/state", b'{"annotator": "' + b"a" * 300 + b'"}', "application/json", 422),
    ("/state", b'{"annotator": "\\ud800"}', "application/json", 422),
    ("/undo", b'{"annotator": "new", "revision": 0}', "application/json", 422),
    ("/undo", b'{"annotator": "new", "revision": 1e400}', "application/json", 422),
    ("/label", b'{"annotator": "a", "revision": 0, "picture": "", "label": "neutral", '
     b'"seconds": NaN}', "application/json", 422),
    ("/label", b"x" * (MOST_BYTES + 1), "application/json", 413)])
def test_what_the_page_does_not_send_is_refused(page: Served, path: str, body: bytes, kind: str,
                                                status: int) -> None:
    got, content, _ = page.request("POST", path, body, {**RIGHT, "Content-Type": kind})
    assert got == status, content
    assert b"Traceback" not in content and len(content) < 500


def test_an_answer_is_on_disk_when_the_response_comes_and_two_tabs_do_not_overwrite(page: Served
                                                                                    ) -> None:
    first = shown(page, "cleo")
    body = {"annotator": "cleo", "revision": first["revision"], "picture": first["picture"],
            "label": "positive", "mask_type": "cloth", "pose": "left", "tags": ["a", " b ", ""],
            "seconds": 2}
    status, after = page.post("/label", body)
    line = json.loads(page.project.log_path("cleo").read_text().splitlines()[-1])
    assert status == 200 and after["done"] == 1 and after["revision"] == 1
    assert (line["label"], line["tags"], line["seconds"]) == ("positive", ["a", "b"], 2.0)
    assert page.post("/label", {**body, "label": "negative"})[0] == 409  # the other tab
    status, back = page.post("/undo", {"annotator": "cleo", "revision": 1})
    assert status == 200 and back["before"]["label"] == "positive"
    assert back["picture"] == first["picture"] and back["done"] == 0
    assert len(page.project.log_path("cleo").read_text().splitlines()) == 2


def test_annotators_see_nothing_of_each_other(page: Served) -> None:
    before = shown(page, "dora")
    for _ in range(3):
        assert answer(page, "emil")[0] == 200
    assert shown(page, "dora") == before and before["done"] == 0
    assert page.post("/state", {"annotator": "EMIL"})[0] == 422
    text = page.request("GET", "/", headers=RIGHT)[1]
    assert b"emil" not in text and b"p0/" not in text  # a folder may tell a label


def test_pictures_are_sent_as_jpeg_and_broken_ones_say_so(page: Served) -> None:
    whole, broken = picture_id("p0/pic00.jpg"), picture_id("broken.jpg")
    status, content, headers = page.request("GET", f"/picture/{whole}?token={TOKEN}")
    assert status == 200 and headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(content)).size == (40, 40)
    status, content, _ = page.request("GET", f"/picture/{broken}?token={TOKEN}")
    assert status == 415 and b"not an image" in content
    assert page.request("GET", f"/box/{broken}?token={TOKEN}")[0] == 415


def test_the_suggested_box_is_the_largest_face_or_the_middle_of_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_pictures(tmp_path / "faces", 2)
    points = np.zeros((5, 2))
    monkeypatch.setattr(detector, "find_faces", lambda picture: [
        Face((3.04, 4, 30, 35), points, 0.9), Face((0, 0, 9, 9), points, 0.9)])
    for available, box in ((False, [10, 10, 30, 30]), (True, [3, 4, 30, 35])):
        monkeypatch.setattr(detector, "is_available", lambda: available)  # noqa: B023
        suggested_box.cache_clear()
        with served(started(folder, boxes=True)) as running:
            for picture in running.project.pictures:
                status, content, _ = running.request("GET", f"/box/{picture_id(picture)}",
                                                     headers=RIGHT)
                assert status == 200
                assert json.loads(content) == {"size": [40, 40], "box": box}


def test_a_later_round_shows_the_annotator_s_own_box_and_nobody_else_s(tmp_path: Path) -> None:
    project = started(write_pictures(tmp_path / "faces", 1), boxes=True, repeated=0.0)
    with served(project) as running:
        assert shown(running)["box"] == []
        status, state = answer(running, "ada", label="skip", box=[1, 2, 30, 31.5])
        assert status == 200 and state["box"] == [1, 2, 30, 31.5]  # skipped: shown again
        answer(running, "ada", box=[3, 2, 30, 30])
        answer(running, "ben")
    with served(project, one=project.add_round("again", project.pictures)) as running:
        assert shown(running)["box"] == [3, 2, 30, 30] and shown(running, "ben")["box"] == []


@pytest.mark.parametrize(("text", "there", "absent"), [
    ("<script>alert(1)</script>", "&lt;script&gt;", "<script"),
    ("<img src=x onerror=alert(1)>", "&lt;img", "<img"),
    ("[x](javascript:alert(1))", "[x]", "href"), ("[x](data:text/html;base64,xx)", "x", "href"),
    ("![x](https://evil.example/a.png)", "x", "<img"), ("**a** | `b`", "<strong>a</strong>", "**"),
    ("a | b\n--|--\n1 | 2", "<table>", "--")])
def test_instructions_are_rendered_and_run_nothing(text: str, there: str, absent: str) -> None:
    html = rendered(text)
    assert there in html and absent not in html


def test_the_damaged_log_of_one_annotator_stops_no_other(tmp_path: Path) -> None:
    project = started(write_pictures(tmp_path / "faces", 3))
    project.log_path("ada").write_text("nonsense\n")
    with served(project) as page:
        status, content = page.post("/state", {"annotator": "ada"})
        assert status == 422 and "ada.jsonl:1: damaged line" in content["error"]
        assert answer(page, "ben")[0] == 200
    assert project.log_path("ada").read_text() == "nonsense\n"


def test_a_link_from_another_page_opens_the_page_and_nothing_else(page: Served) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert page.request("GET", f"/?token={TOKEN}", headers=followed)[0] == 200
    assert page.request("GET", "/?token=wrong", headers=followed)[0] == 403
    whole = picture_id("p0/pic00.jpg")
    assert page.request("GET", f"/picture/{whole}?token={TOKEN}", headers=followed)[0] == 403


def test_a_picture_that_was_replaced_is_sent_anew(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "faces", 2)
    (folder / "bad.jpg").write_bytes(b"no picture")
    address = f"/picture/{picture_id('bad.jpg')}?token={TOKEN}"
    with served(started(folder)) as running:
        assert running.request("GET", address)[0] == 415
        (folder / "bad.jpg").write_bytes((folder / "p0/pic00.jpg").read_bytes())
        assert running.request("GET", address)[0] == 200
