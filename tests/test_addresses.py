"""Files at addresses: complete or not there; loading them is as safe as loading those on the disk."""

import uuid
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

from sb3_udrl import UDRL
from sb3_udrl.deploy import export_policy
from sb3_udrl.recordings import read_episodes
from sb3_udrl.recordings.record import write_recording
from sb3_udrl.saving import addresses
from sb3_udrl.saving.addresses import is_address, local_copy, place, put, upload


@pytest.fixture
def memory() -> str:
    return f"memory://{uuid.uuid4()}"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_PAUSES", (0.0, 0.0))


@pytest.mark.parametrize("protocol", ["memory://", "file://"])
def test_models_policies_and_buffers_are_saved_and_loaded(protocol: str, tmp_path: Path) -> None:
    root = f"{protocol}{tmp_path}/deep/folder"
    model = UDRL("CommandPolicy", "CartPole-v1", learning_starts=50, seed=1, policy_kwargs={"net_arch": [4]})
    model.learn(100)
    model.save(f"{root}/model")
    model.policy.save(f"{root}/policy")
    model.save_replay_buffer(f"{root}/buffer")
    loaded = UDRL.load(f"{root}/model", trusted=[])
    loaded.load_replay_buffer(f"{root}/buffer.pkl")
    observations = model.observation_space.sample()[None].repeat(3, axis=0)
    loaded.set_parameters(f"{root}/model")
    for policy in (loaded.policy, type(model.policy).load(f"{root}/policy", trusted=[])):
        for weights, same in zip(model.policy.parameters(), policy.parameters(), strict=True):
            assert weights.equal(same)
    assert np.array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )
    assert loaded.replay_buffer.n_episodes == model.replay_buffer.n_episodes > 0
    files, path = place(root)
    assert sorted(Path(name).name for name in files.find(path)) == ["buffer.pkl", "model.zip", "policy"]
    assert not list(Path.cwd().glob("*:"))  # no folder of the protocol's name


def test_recordings_are_read(memory: str, tmp_path: Path) -> None:
    model = UDRL("CommandPolicy", "CartPole-v1", learning_starts=50, seed=1, policy_kwargs={"net_arch": [4]})
    model.learn(100)
    write_recording(f"{memory}/steps", model.replay_buffer)
    read = read_episodes(f"{memory}/steps.npz", type(model.replay_buffer)(1, model.observation_space, model.action_space))
    assert read.buffer.n_episodes == model.replay_buffer.n_episodes > 0


def test_what_is_not_there_is_named(memory: str) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{memory}/nothing"):
        UDRL.load(f"{memory}/nothing")


def test_damaged_files_are_refused(memory: str) -> None:
    with fsspec.open(f"{memory}/model.zip", "wb") as file:
        file.write(b"no zip")
    with pytest.raises(ValueError, match=rf"{memory}/model.zip is not a model"):
        UDRL.load(f"{memory}/model.zip", trusted=[])


def test_unknown_protocols_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere://x: .*give an address such as s3://"):
        upload(tmp_path, "nowhere://x")


def test_windows_paths_and_path_objects_are_no_addresses() -> None:
    assert is_address("s3://bucket/x") and is_address("memory://x")
    assert not any(map(is_address, ("C:\\models\\x.zip", "logs/x.zip", Path("s3://x"), None, 3)))


@pytest.mark.parametrize("protocol", ["memory://", "file://"])
def test_a_copy_that_fails_leaves_the_old_file(protocol: str, tmp_path: Path) -> None:
    """Also one that changed meanwhile is thrown away."""
    address = f"{protocol}{tmp_path}/there/file"
    source = tmp_path / "source"
    source.write_text("old")
    upload(source, address)
    source.write_text("new")
    files, path = place(address)

    def fails() -> bool:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        put(source, files, path, fails)
    assert not put(source, files, path, lambda: False)
    assert files.cat(path) == b"old"
    assert [Path(name).name for name in files.find(files._parent(path))] == ["file"]
    assert put(source, files, path) and files.cat(path) == b"new"


def test_attempts_are_repeated_and_counted(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def breaks(*arguments: object) -> bool:
        attempts.append(arguments)
        if len(attempts) < 3:
            raise ConnectionError("gone")
        return True

    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(addresses, "put", breaks)
    upload(tmp_path / "file", f"{memory}/file")
    assert len(attempts) == 3
    monkeypatch.setattr(addresses, "put", lambda *arguments: 1 / 0)
    with pytest.raises(OSError, match=rf"{memory}/file: not saved, ZeroDivisionError"):
        upload(tmp_path / "file", f"{memory}/file")


def test_other_things_are_passed_through(tmp_path: Path) -> None:
    for other in (tmp_path, "logs/x.zip", None):
        with local_copy(other) as same:
            assert same is other


def test_exported_policies_are_sent(memory: str) -> None:
    export_policy(UDRL("CommandPolicy", "CartPole-v1", policy_kwargs={"net_arch": [4]}), f"{memory}/agent.pt")
    with fsspec.open(f"{memory}/agent.pt", "rb") as file:
        assert any(name.endswith("outputs") for name in zipfile.ZipFile(file).namelist())
    assert not list(Path.cwd().glob("*:"))


@pytest.mark.parametrize("name", ["a?1", "a*", "a[1]", "ü#1"])
def test_names_are_no_patterns(memory: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"content")
    for other in ("aa1", "a1", name):
        upload(tmp_path / "file", f"{memory}/{other}")
    files, path = place(memory)
    assert sorted(Path(found).name for found in files.find(path)) == sorted({"aa1", "a1", name})
    assert {files.cat_file(found) for found in files.find(path)} == {b"content"}
