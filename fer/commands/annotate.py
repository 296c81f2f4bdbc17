"""Labelling of pictures by several annotators: the page, agreement, the merged table, reviews."""

import errno
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from fer.annotate.agreement_report import agreement_lines
from fer.annotate.known_pictures import known_pictures
from fer.annotate.merging import METHODS, TIED, Method, label_table, merge
from fer.annotate.project import (
    DEFAULT_INSTRUCTIONS,
    INSTRUCTIONS,
    STORE,
    Project,
    only_writer,
    open_project,
)
from fer.annotate.votes import Votes, contested, votes_of
from fer.atomic_io import write_text
from fer.commands.board import tunnel_command
from fer.config.paths import data_root, home
from fer.data.ingest.picture_table import read_rows
from fer.data.layout import SPLITS, discover
from fer.data.splits import folder_of
from fer.data.verify.verify import data_of, pictures_on_disk
from fer.errors import CallerError, choices, plural
from fer.evaluate.label_errors import find_label_errors
from fer.plain_text import csv_text
from fer.progress import shown
from fer.study.out_of_sample import out_of_sample
from fer.study.run_folder import Store
from fer.study.study_folder import read_study
from fer.untrusted_io import NotRegular, read_text

USUAL_PORT = 8760
EXTRA = "pip install '.[annotate]'"


@dataclass(frozen=True)
class LabelRequest:
    """The arguments of `launch/annotate.py FOLDER`.

    Attributes:
        folder: of pictures, at any depth.
        port: on loopback; 0 for the usual one, or a free one if it is in use.
        instructions: a Markdown file; None for `instructions.md` in the folder or the default.
        round: name of the round; empty for the newest.
        settings: given ones of `fer.annotate.project.Settings`.
    """

    folder: Path
    port: int = 0
    instructions: Path | None = None
    round: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


def label_pictures(request: LabelRequest) -> None:
    """Serve the page until the command is interrupted.

    Raises:
        CallerError: no pictures, invalid settings, a port in use, or a second server.
    """
    project = open_project(request.folder, request.settings)
    one = project.round(request.round)
    text = _instructions(request)
    project.records()  # a damaged log is reported now, not to an annotator
    try:
        import uvicorn

        from fer.annotate.server import application
    except ModuleNotFoundError as error:
        raise CallerError(f"the page needs {error.name}: {EXTRA}") from None
    with _listening(request.port) as listener, only_writer(project):
        token, port = secrets.token_urlsafe(24), listener.getsockname()[1]
        pictures = project.pictures_in(one)
        print("\n".join([f"{plural(len(pictures), 'picture')} in round {one.name}"
                         + (f" ({one.why})" if one.why else ""),
                         *address_lines(port, token), "Ctrl-C ends it; labels are saved at once"]),
              flush=True)
        server = uvicorn.Server(uvicorn.Config(
            application(project, one, token, text), log_level="warning", access_log=False,
            server_header=False, ws="none", lifespan="off", timeout_graceful_shutdown=2))
        server.run(sockets=[listener])


def _instructions(request: LabelRequest) -> str:
    """Return the instructions for annotators, Markdown."""
    own = request.folder / INSTRUCTIONS
    file = request.instructions or (own if own.is_file() else DEFAULT_INSTRUCTIONS)
    try:
        return read_text(file)
    except FileNotFoundError:
        raise CallerError(f"--instructions: no file {file}") from None
    except (ValueError, NotRegular):
        raise CallerError(f"--instructions: {file} is not a Markdown file in UTF-8") from None


def _listening(port: int) -> socket.socket:
    """Return a socket that listens on loopback."""
    for wanted in [port] if port else [USUAL_PORT, 0]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError as error:
            listener.close()
            if port:
                why = "already in use" if error.errno == errno.EADDRINUSE else error.strerror
                raise CallerError(f"--port {port}: {why}; omit it to use a free one") from None
            continue
        listener.listen(128)
        return listener
    raise CallerError("no free port on 127.0.0.1")


def address_lines(port: int, token: str) -> list[str]:
    """Return the page's address and, in an ssh session, the command for a tunnel to it."""
    lines = [f"open in a browser: http://127.0.0.1:{port}/?token={token}"]
    tunnel = tunnel_command(port)
    return [*lines, f"first, on your own computer: {tunnel}"] if tunnel else lines


def show_agreement(folder: Path, round_name: str) -> None:
    """Print how far annotators agree, by their first labels or those of one round.

    Raises:
        CallerError: nothing labelled, or no such round.
    """
    project = open_project(folder)
    if round_name:
        project.round(round_name)
    newest = _votes(project)
    votes = votes_of(project, round_name, first=True)
    left = plural(len(contested(newest)), "picture")
    print("\n".join([*agreement_lines(votes), f"{left} contested by the newest labels"]))


def export_labels(folder: Path, out: Path, method: str, split: str, people: str,
                  known: Sequence[str]) -> None:
    """Write the merged labels as the table that `launch/data.py add` takes; print what is in it.

    Args:
        out: the CSV; its paths are relative to it.
        known: data sets whose pictures and people are flagged.

    Raises:
        CallerError: nothing labelled, an unknown method, split or set, or no picture has a label.
    """
    chosen: Method | None = next((one for one in METHODS if one == method), None)
    if chosen is None:
        raise CallerError(f"--merge {method}: there are: {choices(METHODS)}")
    if split and split not in SPLITS:
        raise CallerError(f"--split {split}: there are: {choices(SPLITS)}")
    if out.is_dir():
        raise CallerError(f"--to {out}: is a folder; name a file")
    if people not in ("", "folder"):
        raise CallerError(f"--people {people}: must be folder, or left out")
    project = open_project(folder)
    votes = _votes(project)
    merged = merge(votes, chosen)
    start, top = out.parent.resolve(), folder.resolve()  # `..` behind a link is elsewhere
    files = {picture: os.path.relpath(top / picture, start)
             for picture in votes.pictures}
    text = label_table(votes, merged, votes_of(project, first=True), files, split,
                       "folder" if people else "")
    counts = {label: merged.labels.count(label) for label in dict.fromkeys(merged.labels)}
    rows = text.count("\n") - 1
    if not rows:
        raise CallerError(f"{folder}: no picture has a label: {_counted(counts)}")
    write_text(out, text, durable=True)
    print(f"{out}: {plural(rows, 'picture')} of {len(project.pictures)} ({_counted(counts)})")
    if tied := counts.get(TIED, 0):
        print(f"{plural(tied, 'tied picture')} left out: without them annotators seem to agree "
              "more than they do, and the report's human ceiling is too high; label a second round "
              "first (review), or --merge dawid-skene", file=sys.stderr)
    _flag_known(project, votes, known)
    print(f"next: python launch/data.py add {quote(str(out))} --as REAL-FER"
          + ("" if split else " --split test"))


def _flag_known(project: Project, votes: Votes, known: Sequence[str]) -> None:
    """Print which pictures the training sets contain already; write them beside the labels."""
    root = data_root()
    try:
        data = data_of("configs/base.yaml", known, root)
    except CallerError:
        if known:
            raise
        return
    splits, _ = pictures_on_disk(data, root, named=bool(known))
    here = {(project.folder / picture).resolve() for picture in project.pictures}
    others = [picture for split, pictures in splits.items() if known or not split.endswith("/test")
              for picture in pictures if picture.path.resolve() not in here]
    if not others:
        return
    with shown("comparing with known pictures") as progress:
        found = known_pictures(project.folder, votes.pictures, others, progress)
    for picture, why in list(found.items())[:12]:
        print(f"KNOWN {picture}: {why}")
    if found:
        file = project.store / "known.csv"
        write_text(file, csv_text(["file", "known"], found.items()))
        print(f"{plural(len(found), 'picture')} may be in a training set: leave them out of a test "
              f"set ({file})")


def start_review(folder: Path, listed: Path | None) -> None:
    """Start a second round: of the pictures on which labels differ, or of those in a table.

    Args:
        listed: a CSV with a column `file`, relative to the folder; None for contested pictures.

    Raises:
        CallerError: nothing to review.
    """
    project = open_project(folder)
    if listed is None:
        pictures, why = contested(_votes(project)), "contested pictures"
        if not pictures:
            raise CallerError(f"{folder}: no contested pictures: no second round is needed")
    else:
        rows, columns = read_rows(listed)
        if "file" not in columns:
            raise CallerError(f"{listed}: no column 'file' among {', '.join(columns)}")
        pictures, why = [row["file"].strip() for row in rows], f"pictures of {listed.name}"
    with only_writer(project):
        new = project.add_round(why, pictures)
    print(f"round {new.name}: {plural(len(new.pictures or ()), 'picture')}\n"
          f"label them: python launch/annotate.py {quote(str(folder))}")


def find_errors(study_name: str, split: str, most: int) -> None:
    """Start a round of the pictures of a data set whose labels are probably wrong.

    Writes all pictures of the split to `annotations/label_errors.csv` in the set's folder, the most
    suspect first.

    Args:
        study_name: whose runs predict the split.
        most: pictures of the round at most; 0 for all that confident learning suspects.

    Raises:
        CallerError: no out-of-sample predictions, the set is not here, or nothing is suspect.
    """
    store = Store(home())
    study = read_study(store, study_name)
    found = out_of_sample(study, store, split)
    name = split.partition("/")[0]
    folder = discover(folder_of(name, study.data, data_root()))
    ranked = find_label_errors(found.labels, found.probabilities)
    files = [one.partition("/")[2] for one in found.sample_ids]
    order, rows = ranked.order.tolist(), []
    for at in order:
        label, other = int(found.labels[at]), int(ranked.suggested[at])
        rows.append({
            "file": files[at], "label": found.classes[label], "suggested": found.classes[other],
            "p_label": f"{found.probabilities[at, label]:.4f}",
            "p_suggested": f"{found.probabilities[at, other]:.4f}",
            "suspect": "yes" if ranked.suspect[at] else "no"})
    chosen = [files[at] for at in order[: most or None] if most or ranked.suspect[at]]
    if not chosen:
        raise CallerError(f"{split}: no label is suspect among {plural(len(files), 'picture')}")
    project = open_project(folder, {"classes": list(found.classes)})
    with only_writer(project):
        table = project.store / "label_errors.csv"
        write_text(table, csv_text(list(rows[0]), (list(row.values()) for row in rows)))
        new = project.add_round(f"probable label errors of {split}", chosen)
    print(f"{table}: {plural(len(files), 'picture')} by {plural(found.runs, 'run')}, "
          f"{int(ranked.suspect.sum())} suspect\nround {new.name}: "
          f"{plural(len(chosen), 'picture')}\n"
          f"label them: python launch/annotate.py {quote(str(folder))}")


def _votes(project: Project) -> Votes:
    votes = votes_of(project)
    if not votes.pictures:
        raise CallerError(f"{project.folder}: nothing labelled in {project.folder / STORE}; start "
                          f"with python launch/annotate.py {quote(str(project.folder))}")
    return votes


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
