"""The compose file and the image, without Docker: what they say is valid, safe, and works."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import compose_pydantic
import pydantic
import pytest
import yaml
from pages import ROOT

TEXT = (ROOT / "compose.yml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "sb3-udrl"}


def filled_in(text: str, values: dict[str, str]) -> str:
    """Variables as Compose fills them in: ``${NAME:-default}`` and ``${NAME:?message}``."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if not values.get(name) and kind == ":?":
            raise KeyError(f"{name}: {rest}")
        return values.get(name) or rest

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def test_it_is_a_compose_file() -> None:
    content = {name: value for name, value in yaml.safe_load(TEXT).items() if not name.startswith("x-")}  # extensions
    compose_pydantic.ComposeSpecification.model_validate(content)
    with pytest.raises(pydantic.ValidationError):
        compose_pydantic.ComposeSpecification.model_validate({**content, "services": {"one": {"prots": ["1:1"]}}})


def test_all_services_are_there_and_wait_for_what_they_need() -> None:
    assert set(SERVICES) == {"folders", "store", "trainer", "search", "tensorboard", "optuna", "demo"}
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert (name == "folders") == ("depends_on" not in service)
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in yaml.safe_load(TEXT)["volumes"]


def test_keys_come_from_outside_and_have_no_defaults() -> None:
    keys = {"S3_ACCESS_KEY": "someone", "S3_SECRET_KEY": "secret"}
    code = "\n".join(line.partition("# ")[0] for line in TEXT.splitlines())
    for missing in keys:
        with pytest.raises(KeyError, match=missing):
            filled_in(code, {name: value for name, value in keys.items() if name != missing})
    store = yaml.safe_load(filled_in(code, keys))["services"]["store"]["environment"]
    assert store == {"ROOT_ACCESS_KEY": "someone", "ROOT_SECRET_KEY": "secret"}
    for name, kind in re.findall(r"\$\{(\w+)(:.)", code):
        assert (name in keys) == (kind == ":?"), name
    assert "$" not in filled_in(code, keys)


def test_services_are_confined() -> None:
    for service in SERVICES.values():
        assert service["user"] == "1000" and service["cap_drop"] == ["ALL"] and "privileged" not in service
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_images_are_pinned() -> None:
    base = next(line.split()[1] for line in DOCKERFILE if line.startswith("FROM "))
    for image in (base, SERVICES["store"]["image"]):
        assert re.search(r":v?\d+\.\d+\.\d+", image), image
    installs = [line for line in DOCKERFILE if line.startswith("RUN pip install")]
    assert len(installs) == 2 and all("--constraint constraints.txt" in line for line in installs)
    users = [line for line in DOCKERFILE if line.startswith("USER ")]
    assert users == ["USER udrl"] and not any(line.startswith("RUN") for line in DOCKERFILE[DOCKERFILE.index(users[0]) :])


def test_the_lock_holds_what_the_image_installs() -> None:
    pinned = {re.split("[=; ]", line)[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"torch", "s3fs", "optuna-dashboard", "tensorboard", "stable-baselines3"} <= pinned


@pytest.mark.slow
def test_the_copied_files_are_enough_to_install(tmp_path: Path) -> None:
    """The last step of the image: the files that are copied make a wheel, with the settings of the Zoo in it."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in DOCKERFILE:
        if line.startswith("COPY "):
            *sources, target = shlex.split(line)[1:]
            for source in sources:
                assert f"!{source}" in ignored, source
                to = tmp_path / "image" / target / (source if target.startswith(".") else "")
                to.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, to)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path), "."]
    subprocess.run([sys.executable, "-m", "pip", *build], cwd=tmp_path / "image", check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert {"sb3_udrl/hyperparams/udrl.yml", "sb3_udrl/zoo/runs.py"} <= set(zipfile.ZipFile(wheel).namelist())


def command(name: str, folder: Path, **values: str) -> list[str]:
    """The command of a service, with a folder here in place of its volume, and with this Python."""
    keys = {"S3_ACCESS_KEY": "someone", "S3_SECRET_KEY": "secret", **values}
    given = [filled_in(part, keys).replace("/runs", str(folder / "runs")) for part in SERVICES[name]["command"]]
    given = [part.replace("/store", str(folder / "store")) for part in given]
    program = Path(sys.executable).with_name(given[0])
    return [str(program) if program.exists() else given[0], *given[1:]]


@pytest.mark.slow
def test_the_trainer_and_the_search_do_what_they_say(tmp_path: Path) -> None:
    subprocess.run(command("folders", tmp_path), check=True)
    store = f"file://{tmp_path}/store/objects"
    small = {"RUNS": "1", "TIMESTEPS": "300", "SAVE_FREQ": "150", "TRIALS": "1", "TRIAL_TIMESTEPS": "100"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("trainer", "search"):
        given = [part.replace("s3:/", f"{store}") for part in command(name, tmp_path, **small)]
        done = subprocess.run(given, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    names = {path.relative_to(tmp_path / "store" / "objects").as_posix() for path in (tmp_path / "store").rglob("*")}
    folder = "sb3-udrl/trained/udrl/CartPole-v1"
    assert f"{folder}/seed_1/score_card.txt" in names
    run = f"{folder}/seed_1/udrl/CartPole-v1_1"
    assert {f"{run}/CartPole-v1.zip", f"{run}/replay_buffer.pkl", f"{run}/0.monitor.csv"} <= names
    assert any(name.startswith(f"{run}/rl_model_") for name in names)
    assert any("tfevents" in name for name in names) and "sb3-udrl/search/study.log" in names
