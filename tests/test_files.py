"""Files appear at once, or not at all, whatever is in their way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from sb3_udrl.saving.files import written_at_once

posix = pytest.mark.skipif(os.name != "posix", reason="signals and links of POSIX")


def write(path: Path, text: str, suffix: str = "") -> None:
    with written_at_once(path, suffix) as partial:
        partial.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def start_writer(path: Path) -> tuple[BaseProcess, Connection]:
    """Another process that is in the middle of writing a file, and goes on when it is told to."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def work() -> None:
        with written_at_once(path) as partial:
            partial.write_text("of the other process")
            theirs.send("writing")
            theirs.recv()

    writer = context.Process(target=work)
    writer.start()
    assert ours.recv() == "writing"
    return writer, ours


def test_a_file_is_there_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a" / "new" / "folder" / "file"
    with written_at_once(path, ".zip") as partial:
        partial.write_text("half")
        assert not path.with_suffix(".zip").exists()
        partial.write_text("whole")
    assert names(path.parent) == ["file.zip"]
    assert path.with_suffix(".zip").read_text() == "whole"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_what_fails_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    write(tmp_path / "file", "old")
    with pytest.raises(type(error)), written_at_once(tmp_path / "file") as partial:
        partial.write_text("half")
        raise error
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@posix
@pytest.mark.parametrize("name", ["model.zip", "with [brackets]*.zip", "x" * 251 + ".zip", "ä" * 125 + ".zip"], ids=len)
def test_leftovers_of_a_killed_process_go_with_the_next_save(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        writer, _ = start_writer(tmp_path / name)
        writer.kill()
        writer.join()
    assert len(names(tmp_path)) == 1, "the second writer removes what the first one left"
    write(tmp_path / "another", "file")
    assert len(names(tmp_path)) == 2, "not the save of another file"
    write(tmp_path / name, "new")
    assert names(tmp_path) == sorted(["another", name])
    assert (tmp_path / name).read_text() == "new"


@posix
def test_a_process_that_still_writes_keeps_its_file(tmp_path: Path) -> None:
    writer, tell = start_writer(tmp_path / "file")
    write(tmp_path / "file", "of this process")
    assert len(names(tmp_path)) == 2
    assert (tmp_path / "file").read_text() == "of this process"
    tell.send("go on")
    writer.join()
    assert writer.exitcode == 0
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "of the other process"


def test_a_process_writes_one_file_in_two_places_at_a_time(tmp_path: Path) -> None:
    with written_at_once(tmp_path / "file") as first:
        first.write_text("first")
        write(tmp_path / "file", "second")
        assert (tmp_path / "file").read_text() == "second"
    assert (tmp_path / "file").read_text() == "first"
    assert names(tmp_path) == ["file"]


def test_a_read_only_file_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "file", "old")
    (tmp_path / "file").chmod(0o444)
    reached = []
    with pytest.raises(PermissionError, match=r"read-only: make it writable \(chmod u\+w\).*file"):
        with written_at_once(tmp_path / "file"):
            reached.append("writing")
    assert not reached, "found out only after all was written"
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError, match="folder of this name"):
        write(tmp_path / "file", "new")


@posix
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "there" / "file", "old")
    link = tmp_path / "here" / "link.zip"
    link.symlink_to("../there/file")
    write(tmp_path / "here" / "link", "new", ".zip")
    assert link.is_symlink()
    assert (tmp_path / "there" / "file").read_text() == link.read_text() == "new"
    assert (names(tmp_path / "here"), names(tmp_path / "there")) == (["link.zip"], ["file"])


@posix
def test_a_link_to_what_is_not_there_yet_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later/file")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "later" / "file").read_text() == "new"


@posix
def test_permissions_stay(tmp_path: Path) -> None:
    write(tmp_path / "file", "old")
    (tmp_path / "file").chmod(0o640)
    write(tmp_path / "file", "new")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_name_that_is_too_long_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"), written_at_once(tmp_path / ("x" * 256)):
        pytest.fail("began to write")


def test_all_is_on_the_disk_before_the_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append(f"synced {os.fstat(file).st_size}") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("replaced") or replace(*paths))
    write(tmp_path / "file", "four")
    assert done == ["synced 4", "replaced"]


@posix
def test_killed_at_any_moment_there_is_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, content = tmp_path / "file", "0123456789" * 100_000
    write(path, content)
    for i in range(20):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    write(path, content)
            finally:
                os._exit(1)
        time.sleep(0.002 * i)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert path.read_text() == content
    write(path, content)
    assert names(tmp_path) == ["file"]
