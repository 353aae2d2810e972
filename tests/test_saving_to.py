"""A folder's copy at an address: complete files alone, each once, and none is lost while the address cannot be reached."""

import json
import os
import sys
import threading
import time
import uuid
import warnings
from pathlib import Path

import pytest

from sb3_udrl.remote import Mirror, SavingTo, mirror
from sb3_udrl.remote.command_line import main
from sb3_udrl.saving.addresses import place
from sb3_udrl.zoo.__main__ import main as zoo

ROOT = Path(__file__).parents[1]


def content(address: str) -> dict[str, bytes]:
    """Files at an address."""
    files, root = place(address)
    files.invalidate_cache()
    return {name.removeprefix(root).lstrip("/"): files.cat(name) for name in files.find(root)}


@pytest.fixture
def address() -> str:
    return f"memory://{uuid.uuid4()}"


def aged(path: Path, text: str, seconds: float = 60) -> None:
    """A file that was written some time ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - seconds,) * 2)


def send_all(one: Mirror) -> list[str]:
    due = one.due()
    for name in due:
        one.send(name)
    return due


def test_files_go_out_once_and_again_when_they_change(tmp_path: Path, address: str) -> None:
    aged(tmp_path / "a" / "model.zip", "one")
    one = Mirror(tmp_path, address)
    assert send_all(one) == ["a/model.zip"] and send_all(one) == []
    assert send_all(Mirror(tmp_path, address)) == []  # noted in the folder
    aged(tmp_path / "a" / "model.zip", "two", 30)
    assert send_all(Mirror(tmp_path, address)) == ["a/model.zip"]
    assert content(address) == {"a/model.zip": b"two"}
    assert send_all(Mirror(tmp_path, f"{address}/other")) == ["a/model.zip"]


def test_only_what_is_complete_is_due(tmp_path: Path, address: str) -> None:
    aged(tmp_path / "old.zip", "x")
    aged(tmp_path / "older.zip", "x", 90)
    aged(tmp_path / "new.zip", "x", 0)
    aged(tmp_path / "model.zip.12ab.partial", "x")
    for growing in ("0.monitor.csv", "events.out.tfevents.1", "study.log"):
        aged(tmp_path / growing, "x", 0)
    due = Mirror(tmp_path, address).due()
    assert due[:2] == ["older.zip", "old.zip"]
    assert set(due[2:]) == {"0.monitor.csv", "events.out.tfevents.1", "study.log"}
    assert Mirror(tmp_path, address).waiting().keys() == {*due, "new.zip"}


def test_what_changes_while_it_is_sent_waits(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(tmp_path / "model.zip", "half")
    one, put = Mirror(tmp_path, address), mirror.put

    def put_slowly(path: Path, files: object, remote: str, unchanged: object) -> bool:
        aged(path, "whole", 30)
        return put(path, files, remote, unchanged)

    monkeypatch.setattr(mirror, "put", put_slowly)
    one.send("model.zip")
    assert content(address) == {} and one.due() == ["model.zip"]
    monkeypatch.setattr(mirror, "put", put)
    one.send("model.zip")
    assert content(address) == {"model.zip": b"whole"}


def test_a_damaged_journal_sends_all_again(tmp_path: Path, address: str) -> None:
    aged(tmp_path / "model.zip", "x")
    send_all(Mirror(tmp_path, address))
    for damaged in ("{", "5", json.dumps({address: [1]}), json.dumps({address: {"model.zip": 1}}), "[" * 100_000):
        (tmp_path / mirror.JOURNAL).write_text(damaged)
        assert send_all(Mirror(tmp_path, address)) == ["model.zip"]


def test_the_context_sends_all_there_is(tmp_path: Path, address: str) -> None:
    with SavingTo(tmp_path, address, every=0.01) as saving:
        aged(tmp_path / "first.zip", "1")
        until = time.monotonic() + 30
        while content(address) != {"first.zip": b"1"} and time.monotonic() < until:
            time.sleep(0.01)
        assert content(address) == {"first.zip": b"1"}  # while the work goes on, and not as a part of it
        (tmp_path / "last.zip").write_text("2")
    assert content(address) == {"first.zip": b"1", "last.zip": b"2"} and saving.left() == []


class Broken:
    """Replaces ``put``: fails for as long as it is told, and for one file always."""

    def __init__(self, never: str = "") -> None:
        self.put, self.works, self.never, self.n_failures = mirror.put, threading.Event(), never, 0

    def __call__(self, path: Path, *arguments: object) -> bool:
        if self.works.is_set() and path.name != self.never:
            return self.put(path, *arguments)
        self.n_failures += 1
        raise ConnectionError("unreachable")


def test_nothing_is_lost_while_the_address_is_unreachable(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken()
    monkeypatch.setattr(mirror, "put", broken)
    with SavingTo(tmp_path, address, every=0.01):
        for number in range(3):
            aged(tmp_path / f"{number}.zip", str(number))
        until = time.monotonic() + 30
        while broken.n_failures < 2 and time.monotonic() < until:
            time.sleep(0.01)
        broken.works.set()
    assert content(address) == {f"{number}.zip": str(number).encode() for number in range(3)}
    assert capsys.readouterr().err.count("ConnectionError: unreachable; files stay in") == 1  # told once, not each time


def test_what_is_left_is_named_and_goes_out_later(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Broken("bad.zip")
    broken.works.set()
    monkeypatch.setattr(mirror, "put", broken)
    with pytest.warns(UserWarning, match=r"1 files have not gone out .*ConnectionError.*remote send"):
        with SavingTo(tmp_path, address, every=0.01, patience=0.1):
            aged(tmp_path / "bad.zip", "x")
            aged(tmp_path / "good.zip", "y", 30)
    assert content(address) == {"good.zip": b"y"}  # one bad file keeps no other back
    broken.never = ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SystemExit) as ended:
            main(["send", str(tmp_path), address])
    assert ended.value.code == 0 and content(address) == {"bad.zip": b"x", "good.zip": b"y"}


def test_wrong_arguments_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, message in (("logs", "logs: is no address"), ("nowhere://x", "nowhere://x")):
        with pytest.raises(SystemExit) as ended:
            main(["send", str(tmp_path), wrong])
        assert ended.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(ValueError, match="every=0"):
        SavingTo(tmp_path, "memory://x", every=0)


def test_a_program_runs_and_its_status_is_passed_on(tmp_path: Path) -> None:
    program = [sys.executable, "-c", f"open({str(tmp_path / 'made')!r}, 'w').write('x'); raise SystemExit(3)"]
    copy = tmp_path.with_name(tmp_path.name + "_copy")
    with pytest.raises(SystemExit) as ended:
        main(["send", str(tmp_path), f"file://{copy}", "--", *program])
    assert ended.value.code == 3 and (copy / "made").read_text() == "x"


def test_folders_and_files_are_fetched(tmp_path: Path, address: str) -> None:
    aged(tmp_path / "here" / "sub" / "model.zip", "x")
    send_all(Mirror(tmp_path / "here", address))
    main(["fetch", address, str(tmp_path / "there")])
    assert (tmp_path / "there" / "sub" / "model.zip").read_text() == "x"
    main(["fetch", f"{address}/sub/model.zip", str(tmp_path / "one.zip")])
    assert (tmp_path / "one.zip").read_text() == "x"
    with pytest.raises(SystemExit):
        main(["fetch", f"{address}/none", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def test_the_zoo_takes_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log folder goes out, the rest of the arguments reach the Zoo."""
    seen = []

    def run_module(name: str, **kwargs: object) -> None:
        seen.append([name, *sys.argv[1:]])
        (tmp_path / "logs" / "model.zip").write_text("x")

    monkeypatch.setattr("runpy.run_module", run_module)
    monkeypatch.setattr(sys, "argv", ["zoo"])
    copy, logs = f"file://{tmp_path}/copy", str(tmp_path / "logs")
    zoo(["train", "--algo", "udrl", "-f", logs, "--save-to", copy, "--seed", "1"])
    assert seen == [["rl_zoo3.train", "--algo", "udrl", "-f", logs, "--seed", "1"]]
    assert (tmp_path / "copy" / "model.zip").read_text() == "x"
