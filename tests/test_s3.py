"""Against an S3 server in a process of its own, which is killed while files go to it."""

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pytest
from s3fs import S3FileSystem
from test_saving_to import aged, content

from sb3_udrl import UDRL
from sb3_udrl.remote import Mirror, SavingTo, mirror
from sb3_udrl.saving import addresses
from sb3_udrl.saving.addresses import place, put, upload


class Server:
    """Moto's server of S3; what it holds is gone when it is killed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(f"no server at {self.url}")

    def stop(self) -> None:
        """Freeze it: connections stay open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    one = Server()
    for name, value in (("ACCESS_KEY_ID", "someone"), ("SECRET_ACCESS_KEY", "secret"), ("ENDPOINT_URL", one.url)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()  # it knows the server of the test before
    one.start()
    yield one
    one.kill()
    S3FileSystem.clear_instance_cache()


@pytest.mark.slow
def test_models_are_saved_and_loaded(server: Server) -> None:
    model = UDRL("CommandPolicy", "CartPole-v1", learning_starts=50, seed=1, policy_kwargs={"net_arch": [4]})
    model.learn(100)
    model.save("s3://made-when-needed/deep/model")
    model.save_replay_buffer("s3://made-when-needed/deep/buffer")
    loaded = UDRL.load("s3://made-when-needed/deep/model", trusted=[])
    loaded.load_replay_buffer("s3://made-when-needed/deep/buffer")
    observations = np.zeros((3, 4), np.float32)
    decisions, same = (one.predict(observations, deterministic=True)[0] for one in (model, loaded))
    assert np.array_equal(decisions, same) and loaded.replay_buffer.n_episodes == model.replay_buffer.n_episodes
    with pytest.raises(FileNotFoundError):
        UDRL.load("s3://made-when-needed/none")
    with pytest.raises(FileNotFoundError):
        UDRL.load("s3://no-bucket/none")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["after some parts", "before the end is confirmed"])
def test_kills_in_mid_upload_lose_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """A large file goes in parts. Nothing of it may be seen when the server comes back, and then it goes out."""
    large = tmp_path / "large.zip"
    large.write_bytes(np.random.default_rng(1).bytes(12 * 2**20))
    aged(large.with_name("small.zip"), "x", 90)
    one = Mirror(tmp_path, "s3://bucket/runs")
    one.send("small.zip")
    assert content("s3://bucket/runs") == {"small.zip": b"x"}
    files, _ = place("s3://bucket")
    monkeypatch.setattr(files, "default_block_size", 5 * 2**20)
    monkeypatch.setattr(files, "retries", 1)
    with monkeypatch.context() as patch:

        def copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
            target.write(source.read(6 * 2**20))
            if when == "after some parts":
                server.kill()
            shutil.copyfileobj(source, target, length)

        def put_and_kill(path: Path, files: object, remote: str, unchanged: object) -> bool:
            return put(path, files, remote, lambda: server.kill() is None)

        patch.setattr(addresses, "shutil", SimpleNamespace(copyfileobj=copy))
        patch.setattr(mirror, "put", put_and_kill)
        with pytest.raises(Exception, match=r"onnect|closed|reset"):
            one.send("large.zip")
    assert "large.zip" in one.waiting()
    server.start()
    assert content_or_nothing("s3://bucket/runs") == {}
    one.send("large.zip")
    assert content("s3://bucket/runs") == {"large.zip": large.read_bytes()}


def content_or_nothing(address: str) -> dict[str, bytes]:
    try:
        return content(address)
    except FileNotFoundError:
        return {}


@pytest.mark.slow
def test_training_goes_on_while_the_server_is_away(server: Server, tmp_path: Path) -> None:
    """Frozen first, so that connections hang; killed then; back in the end, when all files come."""
    longest = 0.0
    with SavingTo(tmp_path, "s3://bucket/runs", every=0.1, patience=120):
        server.stop()
        for number in range(20):
            began = time.monotonic()
            (tmp_path / f"{number}.zip").write_text(str(number))
            time.sleep(0.1)
            longest = max(longest, time.monotonic() - began)
        server.kill()
        server.start()
    assert longest < 5  # against minutes of waiting for an answer
    assert content("s3://bucket/runs") == {f"{number}.zip": str(number).encode() for number in range(20)}


@pytest.mark.slow
def test_a_server_that_is_away_is_named(server: Server, tmp_path: Path) -> None:
    server.kill()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"s3://bucket/file: not saved, .*Connect"):
        upload(tmp_path / "file", "s3://bucket/file")
