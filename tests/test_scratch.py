"""Folders of runs are gone when the runs are, or with the next run."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sb3_udrl.benchmark.scratch import scratch_folder


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def work(told: Connection) -> None:
    with scratch_folder() as folder:
        (folder / "model").mkdir()
        told.send(str(folder))
        time.sleep(1000)


def test_a_folder_is_empty_and_removed_in_the_end(temporary_files: Path) -> None:
    with pytest.raises(RuntimeError, match="of a run"), scratch_folder() as folder:
        assert folder.is_relative_to(temporary_files) and list(folder.iterdir()) == []
        (folder / "file").touch()
        raise RuntimeError("of a run")
    assert list(temporary_files.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_a_killed_process_left_is_removed_by_the_next_one_and_what_is_in_use_is_not(temporary_files: Path) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=work, args=(there,))
    child.start()
    its = Path(here.recv())
    with scratch_folder() as folder, scratch_folder() as another:
        assert its.exists() and folder.exists() and another != folder
        child.kill()
        child.join()
        assert its.exists()
        with scratch_folder():
            assert not its.exists()
            assert folder.exists() and another.exists()
    assert list(temporary_files.iterdir()) == []
