"""A folder of small pictures that is being labelled, and the page's server in a thread."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from picture_sets import smooth

from fer.annotate.labelling import Answer, Labelling
from fer.annotate.project import Project, Round, open_project, start_project
from fer.annotate.server import application
from fer.commands.annotate import _listening

TOKEN = "right-token"


def write_pictures(folder: Path, count: int, people: int = 1) -> Path:
    """Write pictures as `pN/picNN.jpg`."""
    for number in range(count):
        path = folder / f"p{number % people}" / f"pic{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth(number).save(path)
    return folder


def started(folder: Path, **settings: object) -> Project:
    """Return the project of a folder, with its settings written."""
    project = open_project(folder, settings)
    start_project(project)
    return project


def label_all(project: Project, annotator: str, labels: Mapping[str, str], one: Round | None = None,
              **more: Any) -> Labelling:
    """Label every picture of a round as one annotator."""
    labelling = Labelling(project, annotator, one or project.round())
    while (item := labelling.place()[0].item) is not None:
        labelling.label(labelling.log.revision, item.picture,
                        Answer(labels[item.picture], **more))
    return labelling


@dataclass(frozen=True)
class Served:
    """A running server of the page."""

    port: int
    project: Project

    def request(self, method: str, path: str, body: bytes | None = None,
                headers: Mapping[str, str] | None = None) -> tuple[int, bytes, Mapping[str, str]]:
        """Send one request; headers with an empty value are left out.

        A server that refuses a request before it has read its body resets the connection, at times
        before the answer has arrived: then it is sent again.
        """
        for _ in range(4):
            with suppress(ConnectionResetError, BrokenPipeError):
                return self._request(method, path, body, headers)
        return self._request(method, path, body, headers)

    def _request(self, method: str, path: str, body: bytes | None,
                 headers: Mapping[str, str] | None) -> tuple[int, bytes, Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        all_headers = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in all_headers.items():
            if value:
                connection.putheader(name, value)
        if body is not None and "Transfer-Encoding" not in all_headers and (
                "Content-Length" not in all_headers):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return answer.status, *content

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> tuple[int, Any]:
        """Send JSON as the page does; return the status and the content."""
        status, content, _ = self.request("POST", path, json.dumps(body).encode(), {
            "Content-Type": "application/json", "X-Token": TOKEN, **headers})
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode()


@contextmanager
def served(project: Project, instructions: str = "Look.", one: Round | None = None
           ) -> Iterator[Served]:
    """Serve the page in a thread."""
    listener = _listening(0)
    app = application(project, one or project.round(), TOKEN, instructions)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, ws="none",
                                           lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Served(listener.getsockname()[1], project)
    finally:
        server.should_exit = True
        thread.join(10)
