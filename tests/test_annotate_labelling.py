"""Labelling: every label is kept, whatever is killed, undone, skipped or opened twice."""

import errno
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from annotation import label_all, started, write_pictures
from commands import launch

from fer.annotate import label_log
from fer.annotate.label_log import LabelLog, Record, read_log, standing
from fer.annotate.labelling import Answer, Labelling, Stale
from fer.annotate.presentation import APART, presentation
from fer.annotate.project import Project, only_writer, open_project
from fer.errors import CallerError

PICTURES = [f"f/{number}.jpg" for number in range(100)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return started(write_pictures(tmp_path / "faces", 12), repeated=0.25)


def label(labelling: Labelling, value: str, **more: object) -> str:
    """Label the current picture and return it."""
    item = labelling.place()[0].item
    assert item is not None
    labelling.label(labelling.log.revision, item.picture, Answer(value, **more))  # type: ignore[arg-type]
    return item.picture


def test_orders_differ_between_annotators_and_rounds_and_stay_when_pictures_are_added() -> None:
    def order(who: str, round_name: str = "1", pictures: list[str] = PICTURES) -> list[str]:
        return [one.picture for one in presentation(pictures, who, round_name, 0, 0.0)]

    assert order("ada") == order("ada", pictures=PICTURES[::-1])
    assert len({tuple(order(*key)) for key in (("ada",), ("ben",), ("ada", "2"))}) == 3
    assert sorted(order("ada")) == sorted(PICTURES) != order("ada")
    more = order("ada", pictures=[*PICTURES, "f/new.jpg"])
    assert [one for one in more if one != "f/new.jpg"] == order("ada")
    assert presentation(PICTURES, "ada", "1", 1, 0) != presentation(PICTURES, "ada", "1", 0, 0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 15, 100])
def test_a_share_is_shown_twice_and_well_apart(share: float, count: int) -> None:
    items = presentation(PICTURES[:count], "ada", "1", 0, share)
    apart = min(APART, count // 2)
    again = [at for at, one in enumerate(items) if one.showing == 2]
    assert len(again) == min(round(share * count), count - apart)
    assert Counter(one.showing for one in items)[1] == count
    for at in again:
        first = next(i for i, one in enumerate(items) if one.picture == items[at].picture)
        assert items[first].showing == 1 and at - first >= apart


def test_labels_undo_and_skip_lead_through_all_pictures(project: Project) -> None:
    labelling = Labelling(project, "ada", project.round())
    total = labelling.place()[0].total
    assert total == 12 + 3
    first = label(labelling, "skip")
    second = label(labelling, "neutral", mask_type="cloth", pose="left", tags=("glasses",))
    labelling.undo(labelling.log.revision)
    place, _ = labelling.place()
    assert place.item and place.item.picture == second and place.before
    assert (place.before.mask_type, place.before.tags) == ("cloth", ("glasses",))
    assert label(labelling, "positive") == second
    seen = [label(labelling, "negative") for _ in range(total - 2)]
    assert labelling.place()[0].skipped == 1
    assert label(labelling, "cant_tell") == first and first not in seen[:5]
    place, _ = labelling.place()
    assert place.item is None and place.done == total and place.skipped == 0
    kept = {(one.picture, one.showing): one.label for one in standing(labelling.log.records)}
    assert len(kept) == total and kept[second, 1] == "positive"
    labelling.undo(labelling.log.revision)
    item = labelling.place()[0].item
    assert item is not None and item.picture == first


def test_undo_goes_back_step_by_step_and_not_into_an_earlier_round(project: Project) -> None:
    labelling = Labelling(project, "ada", project.round())
    seen = [label(labelling, "neutral") for _ in range(4)]
    for picture in reversed(seen):
        labelling.undo(labelling.log.revision)
        item = labelling.place()[0].item
        assert item is not None and item.picture == picture
    with pytest.raises(CallerError, match="nothing to undo"):
        labelling.undo(labelling.log.revision)
    label(labelling, "neutral")
    second = Labelling(project, "ada", project.add_round("contested", project.pictures[:2]))
    assert not second.place()[0].can_undo and second.place()[0].total == 2


def test_the_second_of_two_tabs_is_refused_and_overwrites_nothing(project: Project) -> None:
    labelling = Labelling(project, "ada", project.round())
    item, revision = labelling.place()[0].item, labelling.log.revision
    assert item is not None
    labelling.label(revision, item.picture, Answer("neutral"))
    for act in (lambda: labelling.label(revision, item.picture, Answer("positive")),
                lambda: labelling.label(revision + 1, item.picture, Answer("positive")),
                lambda: labelling.undo(revision)):
        with pytest.raises(Stale):
            act()
    assert [one.label for one in labelling.log.records] == ["neutral"]


@pytest.mark.parametrize(("answer", "message"), [
    (Answer("happy"), "no label 'happy'; there are: negative, neutral"),
    (Answer(""), "no label ''"), (Answer("neutral", mask_type="paper"), "no mask type 'paper'"),
    (Answer("neutral", pose="x"), "no pose"), (Answer("neutral", tags=("a;b",)), "tags"),
    (Answer("neutral", tags=("\ud800",)), "tags"), (Answer("neutral", tags=("",)), "tags"),
    (Answer("neutral", tags=("x",) * 9), "tags"), (Answer("neutral", tags=("x" * 41,)), "tags"),
    (Answer("neutral", box=(1, 2, 3, 4)), "boxes are not asked for")])
def test_answers_that_cannot_be_given_are_refused(project: Project, answer: Answer, message: str
                                                  ) -> None:
    labelling = Labelling(project, "ada", project.round())
    item = labelling.place()[0].item
    assert item is not None
    with pytest.raises(CallerError, match=message):
        labelling.label(0, item.picture, answer)
    assert not labelling.log.records and not labelling.log.path.exists()


@pytest.mark.parametrize("box", [(1, 2, 3), (3, 2, 1, 4), (1, 2, 3, 2), (0, 0, 9, math.inf)])
def test_a_box_that_is_none_is_refused(tmp_path: Path, box: tuple[float, ...]) -> None:
    project = started(write_pictures(tmp_path / "faces", 1), boxes=True)
    labelling = Labelling(project, "ada", project.round())
    with pytest.raises(CallerError, match="a box has a left"):
        labelling.label(0, project.pictures[0], Answer("neutral", box=box))
    labelling.label(0, project.pictures[0], Answer("neutral", box=(1, 2.04, 3, 4)))
    assert read_log(labelling.log.path)[0][0].box == (1, 2, 3, 4)


def written_log(path: Path, count: int = 3) -> list[Record]:
    log = LabelLog(path)
    for number in range(count):
        log.append(Record(log.revision + 1, "1", f"é{number}.jpg", label="neutral",
                          tags=("a", "b")))
    return log.records


def test_a_log_that_is_cut_at_any_byte_loses_only_what_was_not_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "ada.jsonl"
    records = written_log(path)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        log = LabelLog(path)
        whole = content[: end + 1].count(b"\n")  # a line without its end is whole
        assert log.records == records[:whole]
        log.append(Record(log.revision + 1, "1", "new.jpg", label="positive"))
        assert [one.picture for one in read_log(path)[0]][whole:] == ["new.jpg"]
    assert path.with_name("ada.jsonl.cut").read_bytes()


@pytest.mark.parametrize("damage", [
    b"{}", b"nonsense", b'{"number": 2}', b"[]", b"\0\0\0", b'{"number": 9, "round": "1", "x": 1}',
    b'{"number": "7", "round": "1"}', b"\xff\xfe", b"", b'{"number": 7, "round": 1}'])
def test_a_damaged_line_is_named_and_nothing_is_changed(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "ada.jsonl"
    written_log(path)
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*content[:2], damage + b"\n", content[2]]))
    before = path.read_bytes()
    with pytest.raises(CallerError, match=r"ada\.jsonl:3: damaged line"):
        LabelLog(path)
    assert path.read_bytes() == before
    path.write_bytes(b"".join([content[0], content[2]]))  # as the message says
    assert len(LabelLog(path).records) == 2


def test_every_label_is_flushed_before_it_is_confirmed_and_a_full_disk_leaves_the_log_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "ada.jsonl", []
    monkeypatch.setattr(label_log.os, "fsync", lambda handle: synced.append(path.read_bytes()))
    records = written_log(path)
    assert synced[-1] == path.read_bytes() and len(synced) == 3 + 1  # and once the folder
    real = os.write

    def full(handle: int, line: bytes) -> int:
        if len(line) > 10:
            return real(handle, line[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    log = LabelLog(path)
    monkeypatch.setattr(label_log.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        log.append(Record(4, "1", "x.jpg", label="neutral"))
    assert read_log(path) == (records, b"") and log.revision == 3


def test_only_one_server_labels_a_folder(project: Project) -> None:
    with only_writer(project), pytest.raises(CallerError, match="another process"), \
            only_writer(project):
        pass
    with only_writer(project):
        pass


@pytest.mark.parametrize("name", ["", " ", "../ada", "a/b", ".ada", "a b", "x" * 41, "ada\0", "a;b",
                                  "_ada", "Ada", "ａｄａ/"])
def test_names_that_are_no_file_names_or_nearly_another_s_are_refused(project: Project, name: str
                                                                      ) -> None:
    label_all(project, "ada", dict.fromkeys(project.pictures, "neutral"))
    with pytest.raises(CallerError):
        project.check_name(name)


@pytest.mark.parametrize("name", ["ada", "Zoë", "x.y", "李", "a-1", " ben "])
def test_usual_names_are_taken(project: Project, name: str) -> None:
    assert project.check_name(name) == name.strip()


def test_settings_stay_those_that_labelling_was_started_with(project: Project) -> None:
    assert open_project(project.folder).settings.repeated == 0.25
    with pytest.raises(CallerError, match=r"started with classes negative,neutral,positive"):
        open_project(project.folder, {"classes": ["a", "b"]})


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "no folder nowhere"), (["{empty}"], "no pictures among 1 files"),
    (["{faces}", "--classes", "one"], "classes are needed"),
    (["{faces}", "--classes", "a,a"], "a name is there twice"),
    (["{faces}", "--classes", "a,skip"], "none of them"),
    (["{faces}", "--classes", "a,<b>"], "must start with"),
    (["{faces}", "--repeated", "2"], "--repeated"), (["{faces}", "--seed", "-1"], "--seed"),
    (["{faces}", "--round", "7"], "no round '7'"), (["{faces}", "--port", "99999"], "'--port'"),
    (["{faces}", "--instructions", "no.md"], "no file no.md"),
    (["agreement", "{faces}"], "nothing labelled"), (["export", "{faces}"], "nothing labelled"),
    (["review", "{faces}"], "nothing labelled"),
    (["review", "{faces}", "--list", "no.csv"], "no file no.csv"),
    (["export", "{faces}", "--merge", "mean"], "there are: dawid-skene, majority"),
    (["export", "{faces}", "--split", "all"], "there are: eval")])
def test_mistakes_are_answered_in_one_line(tmp_path: Path, arguments: list[str], message: str
                                           ) -> None:
    faces, empty = write_pictures(tmp_path / "faces", 2), tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no picture")
    done = launch("annotate", *[one.format(faces=faces, empty=empty) for one in arguments])
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not (faces / "annotations").exists()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = launch("annotate", write_pictures(tmp_path / "faces", 2), "--port", port)
    assert done.returncode == 2 and f"--port {port}: already in use" in done.stderr


def test_a_log_whose_folder_cannot_be_flushed_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(number: int) -> Callable[[Path], None]:
        def sync(folder: Path) -> None:
            raise OSError(number, os.strerror(number))
        return sync

    log = LabelLog(tmp_path / "ada.jsonl")
    monkeypatch.setattr(label_log, "sync_folder", refused(errno.EMFILE))
    with pytest.raises(OSError, match="open files"):
        log.append(Record(1, "1", "a.jpg", label="neutral"))
    assert read_log(log.path) == ([], b"")
    monkeypatch.setattr(label_log, "sync_folder", refused(errno.EINVAL))  # a disk that cannot
    log.append(Record(1, "1", "a.jpg", label="neutral"))
    assert read_log(log.path)[0] == log.records


def test_a_last_line_without_its_end_is_kept_and_the_next_begins_a_new_one(tmp_path: Path) -> None:
    log = LabelLog(tmp_path / "ada.jsonl")
    log.append(Record(1, "1", "a.jpg", label="neutral"))
    log.path.write_bytes(log.path.read_bytes().rstrip(b"\n"))  # an editor did
    log = LabelLog(log.path)
    assert [one.picture for one in log.records] == ["a.jpg"]
    log.append(Record(2, "1", "b.jpg", label="neutral"))
    assert [one.picture for one in read_log(log.path)[0]] == ["a.jpg", "b.jpg"]
    assert not log.path.with_name("ada.jsonl.cut").exists()


@pytest.mark.parametrize("line", [
    '{"number":1,"round":"1","seconds":"3"}', '{"number":1,"round":"1","seconds":Infinity}',
    '{"number":1,"round":"1","tags":[1]}', '{"number":1,"round":"1","tags":[{}]}',
    '{"number":1,"round":"1","time":5}', "[" * 100_000, '{"number":1,"round":"1","box":[1,2,3]}',
    '{"number":1,"round":"1","box":[3,2,1,4]}', '{"number":1,"round":"1","box":["1",2,3,4]}'])
def test_a_line_that_no_server_wrote_is_damage(tmp_path: Path, line: str) -> None:
    (tmp_path / "ada.jsonl").write_text(f"{line}\n")
    with pytest.raises(CallerError, match=r"ada\.jsonl:1: damaged line"):
        read_log(tmp_path / "ada.jsonl")


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "faces", 2)
    os.rename(os.fsencode(folder / "p0/pic00.jpg"), os.fsencode(folder) + b"/\xff\xfe.jpg")
    with pytest.raises(CallerError, match=r"\\xff\\xfe.jpg is not UTF-8"):
        open_project(folder)


@pytest.mark.parametrize("content", ["[]", '{"foo": 1}', '{"classes": 5}'])
def test_a_damaged_project_file_is_named(project: Project, content: str) -> None:
    (project.store / "project.json").write_text(content)
    with pytest.raises(CallerError, match=r"project\.json"):
        open_project(project.folder)


def test_a_disk_without_locks_is_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(CallerError, match="no file locks"), only_writer(project):
        pass
