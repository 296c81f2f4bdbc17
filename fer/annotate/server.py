"""The web server of the labelling page: few endpoints, all behind `fer.annotate.guard`.

GET  /              the page
GET  /picture/ID    one picture as JPEG; ID is a hash, so no path is ever taken from a request
GET  /box/ID        the size of the picture, and where its face seems to be
POST /state         where an annotator is
POST /label, /undo  an answer, which is on disk when the response comes; then as /state
"""

import asyncio
import html
import secrets
import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from fer.annotate.guard import Guard
from fer.annotate.label_log import CANT_TELL, NOT_A_FACE, SKIP
from fer.annotate.labelling import Answer, Labelling, Stale
from fer.annotate.presentation import Item
from fer.annotate.project import Project, Round
from fer.annotate.shown_picture import encoded, stamp, suggested_box
from fer.errors import CallerError

HERE = Path(__file__).parent
UNREADABLE = 415


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    annotator: str = Field(max_length=200)
    revision: int = 0


class _AnswerBody(_Body):
    picture: str
    label: str
    mask_type: str = ""
    pose: str = ""
    tags: list[str] = Field(default=[], max_length=50)
    seconds: float = Field(default=0.0, allow_inf_nan=False)
    box: list[float] = Field(default=[], max_length=4)


def application(project: Project, one: Round, token: str, instructions: str) -> ASGIApp:
    """Return the application that labels one round of a project.

    Args:
        token: that every request must carry.
        instructions: for annotators, Markdown; HTML in it is shown as text.
    """
    desk = _Desk(project, one)

    async def page(request: Request) -> Response:
        """Answer with the page, whose policy lets nothing else run or load."""
        nonce = secrets.token_urlsafe(16)
        text = _page(project, one, token, instructions, nonce)
        return HTMLResponse(text, headers={"content-security-policy": (
            f"default-src 'none'; img-src 'self' data:; style-src 'nonce-{nonce}'; "
            f"script-src 'nonce-{nonce}'; connect-src 'self'; form-action 'none'; "
            "base-uri 'none'; frame-ancestors 'none'")})

    async def picture(request: Request) -> Response:
        path = desk.path(request.path_params["name"])
        content, reason = await asyncio.to_thread(encoded, path, stamp(path))
        if content is None:
            return PlainTextResponse(f"unreadable picture: {reason}", UNREADABLE)
        return Response(content, media_type="image/jpeg")

    async def box(request: Request) -> Response:
        path = desk.path(request.path_params["name"])
        found = await asyncio.to_thread(suggested_box, path, stamp(path))
        if found is None:
            return PlainTextResponse("unreadable picture", UNREADABLE)
        return JSONResponse({"size": found[0], "box": [round(edge, 1) for edge in found[1]]})

    async def state(request: Request) -> Response:
        body = await _read(request, _Body)
        return await _answered(lambda: desk.state(body.annotator))

    async def label(request: Request) -> Response:
        body = await _read(request, _AnswerBody)
        return await _answered(lambda: desk.label(body))

    async def undo(request: Request) -> Response:
        body = await _read(request, _Body)
        return await _answered(lambda: desk.undo(body))

    return Guard(Starlette(routes=[
        Route("/", page), Route("/picture/{name}", picture), Route("/box/{name}", box),
        Route("/state", state, methods=["POST"]), Route("/label", label, methods=["POST"]),
        Route("/undo", undo, methods=["POST"])]), token)


class _Desk:
    """The labelling of every annotator of one round, opened at the first request of each."""

    def __init__(self, project: Project, one: Round) -> None:
        self.project, self.round = project, one
        self.ids = {picture_id(picture): picture for picture in project.pictures}
        self._open: dict[str, Labelling] = {}
        self._lock = threading.Lock()

    def path(self, picture_id: str) -> Path:
        """Return the file of a picture by its id; 404 for any other text."""
        picture = self.ids.get(picture_id)
        if picture is None:
            raise HTTPException(404, "no such picture")
        return self.project.folder / picture

    def _labelling(self, annotator: str) -> Labelling:
        with self._lock:
            name = self.project.check_name(annotator)
            if name not in self._open:
                same = [one for one in self._open if one.casefold() == name.casefold()]
                if same:  # has not labelled yet
                    raise CallerError(f"there is an annotator '{same[0]}' already")
                self._open[name] = Labelling(self.project, name, self.round)
            return self._open[name]

    def state(self, annotator: str) -> dict[str, Any]:
        """Return where an annotator is, for the page."""
        labelling = self._labelling(annotator)
        place, revision = labelling.place()
        before = place.before
        return {
            "annotator": labelling.annotator, "revision": revision,
            "picture": _shown(place.item), "next": _shown(place.next),
            "before": {"label": before.label, "mask_type": before.mask_type, "pose": before.pose,
                       "tags": before.tags, "box": before.box} if before else None,
            "box": labelling.own_box(place.item.picture) if place.item else (),
            "done": place.done, "total": place.total, "skipped": place.skipped,
            "pace": place.pace, "can_undo": place.can_undo}

    def label(self, body: _AnswerBody) -> dict[str, Any]:
        """Store an answer and return what comes next."""
        answer = Answer(body.label, body.mask_type, body.pose,
                        tuple(tag.strip() for tag in body.tags if tag.strip()), body.seconds,
                        tuple(body.box))
        self._labelling(body.annotator).label(body.revision, self.ids.get(body.picture, ""), answer)
        return self.state(body.annotator)

    def undo(self, body: _Body) -> dict[str, Any]:
        """Take back an answer and return what comes next."""
        self._labelling(body.annotator).undo(body.revision)
        return self.state(body.annotator)


async def _read(request: Request, model: type[Any]) -> Any:
    """Return the body of a request; 415 or 422 for what the page does not send."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send JSON")
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise HTTPException(422, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"
                            ) from None


async def _answered(act: Callable[[], dict[str, Any]]) -> Response:
    """Return the state after an action in a thread, or why it was refused."""
    try:
        return JSONResponse(await asyncio.to_thread(act))
    except Stale:
        return JSONResponse({"error": "labelled in another tab meanwhile"}, 409)
    except CallerError as error:
        return JSONResponse({"error": str(error)}, 422)
    except OSError as error:
        return JSONResponse({"error": f"not saved: {error.strerror}"}, 507)


def picture_id(picture: str) -> str:
    """Return the id of a picture in addresses, by its path relative to the folder."""
    return blake2b(picture.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


def _shown(item: Item | None) -> str | None:
    """Return the id of a picture; whether it is shown again stays unsaid."""
    return picture_id(item.picture) if item else None


def _page(project: Project, one: Round, token: str, instructions: str, nonce: str) -> str:
    template = Environment(loader=FileSystemLoader(HERE), autoescape=True).get_template("page.html")
    settings = project.settings
    answers = {"classes": settings.classes, "mask_types": settings.mask_types,
               "poses": settings.poses, "not_a_face": NOT_A_FACE, "cant_tell": CANT_TELL,
               "skip": SKIP, "token": token, "boxes": settings.boxes}
    return template.render(
        nonce=nonce, answers=answers, settings=settings, round=one, folder=project.folder.name,
        css=(HERE / "page.css").read_text(), instructions=rendered(instructions),
        js="\n".join((HERE / name).read_text() for name in ("page.js", "box.js")))


def rendered(markdown: str) -> str:
    """Return Markdown as HTML; HTML in it is text, and links that run code are none."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return str(parser.render(markdown)) or html.escape(markdown)
