"""Models on the Hub, by a stand-in of its API in this process: nothing here needs the network."""

import base64
import json
import re
import shlex
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from gymnasium.wrappers import TimeAwareObservation
from helpers import TINY, tiny_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack

from sb3_udrl import UDRL, UDRLPG, hub
from sb3_udrl.commands import SummedPart
from sb3_udrl.hub.__main__ import main, zoo_command
from sb3_udrl.hub.card import id_with_module, install_line, wrappers_of

FILES = {"README.md", "command_following.png", "model.zip", "replay.mp4", "results.json"}


class StandIn(BaseHTTPRequestHandler):
    """The part of the Hub's API that is needed: repositories are made, commits taken, files given out."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, dict[str, bytes]]

    def log_message(self, *args):
        """Silence."""

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization', 'someone')}/{asked['name']}"
            self.repositories.setdefault(name, {})
            self.answer({"url": f"{self.address}/{name}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            repository = re.match("/api/models/(.*)/commit/", self.path)[1]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.repositories[repository][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"success": True, "commitUrl": f"{self.address}/{repository}/commit/1", "commitOid": "1" * 40})
        else:
            self.answer({"error": self.path}, 404)

    def do_GET(self):
        found = re.match("/(.*)/resolve/main/(.*)", self.path)
        if found and found[2] in self.repositories.get(found[1], {}):
            content = self.repositories[found[1]][found[2]]
            self.answer(content, ETag='"1"', X_Repo_Commit="1" * 40)
        elif self.path.startswith("/api/models/"):
            self.answer({"id": "someone/model", "sha": "1" * 40, "siblings": []})
        else:
            self.answer({"error": self.path}, 404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Files by repository; the Hub's client talks to this process alone."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    StandIn.address, StandIn.repositories = f"http://127.0.0.1:{server.server_port}", {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", StandIn.address)  # as HF_ENDPOINT does, which is read on import
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", StandIn.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield StandIn.repositories
    server.shutdown()
    server.server_close()


@pytest.fixture
def env():
    return make_vec_env("CartPole-v1", 2, env_kwargs={"render_mode": "rgb_array"})


class Left(SummedPart):
    name = "left"
    needs_infos = False

    def amounts(self, step):
        return np.asarray(step.rewards) * 0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [UDRL, UDRLPG])
def test_the_line_of_the_card_loads_the_model(stand_in, env, algorithm):
    commands = {"commands": ["return", Left()]} if algorithm is UDRL else {}
    model = algorithm("MlpPolicy", env, **TINY, **commands).learn(1_000)
    hub.push(model, "someone/model", env, "CartPole-v1", n_episodes=1)
    (line,) = re.findall("^model = .*$", stand_in["someone/model"]["README.md"].decode(), re.MULTILINE)
    named = {"hub": hub, "env": env}
    exec(line, named)
    assert type(named["model"]) is algorithm and named["model"].command_space.names == model.command_space.names


@pytest.mark.slow
def test_what_is_pushed_is_loaded(stand_in, env):
    model = tiny_model(env, seed=0).learn(600)
    hub.push(model, "someone/cartpole", env, "CartPole-v1", made_by="python train.py --seed 0", n_episodes=2)
    files = stand_in["someone/cartpole"]
    assert files.keys() >= FILES
    loaded = hub.load("someone/cartpole")
    observations = np.random.default_rng(0).uniform(-1, 1, (200, 4)).astype(np.float32)
    decided, _ = model.predict(observations, deterministic=True, command=(20, 20))
    np.testing.assert_array_equal(loaded.predict(observations, deterministic=True, command=(20, 20))[0], decided)

    results = json.loads(files["results.json"])
    assert results["command_following"]["part"] == "return" and results["made_by"] == "python train.py --seed 0"
    assert len(results["command_following"]["desired"]) == 9 and len(results["command_following"]["achieved"][0]) == 2
    assert results["score_card"] == model.score_card.to_plain()
    assert files["replay.mp4"][4:8] == b"ftyp" and files["command_following.png"][1:4] == b"PNG"
    card = files["README.md"].decode()
    assert "```bash\npython train.py --seed 0\n```" in card and "library_name: stable-baselines3" in card
    assert 'pip install "sb3-udrl[hub]" "gymnasium[classic-control]"' in card
    assert card.count("\n| ") == 10  # the head and nine commands

    page = {}
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), page)
    assert page["model"].observation_space == model.observation_space


def test_ids_in_cards_are_found_in_a_new_process():
    import sb3_udrl.envs  # noqa: F401

    assert id_with_module("CartPole-v1") == "CartPole-v1"
    for env_id in ("Catch-v0", "LunarLanderSparse-v3", "TakeCover-v0"):
        assert id_with_module(env_id) == f"sb3_udrl.envs:{env_id}"


@pytest.mark.slow
def test_the_card_says_how_the_environment_was_wrapped(stand_in):
    plain = make_vec_env("CartPole-v1", env_kwargs={"render_mode": "rgb_array"}, wrapper_class=TimeAwareObservation)
    env = VecFrameStack(plain, 2)
    paths = wrappers_of(env)
    assert [path.rpartition(".")[2] for path in paths] == ["TimeAwareObservation", "VecFrameStack"]
    model = tiny_model(env, learning_starts=100).learn(200)
    hub.push(model, "someone/wrapped", env, "CartPole-v1", n_episodes=1)
    card = stand_in["someone/wrapped"]["README.md"].decode()
    assert f"Wrap the environment as in training before you load the model: by `{paths[0]}`, then `{paths[1]}`." in card


def test_a_saved_model_is_pushed_by_the_command_line(stand_in, env, tmp_path, capsys):
    tiny_model(env, seed=0, commands="relative").learn(600).save(tmp_path / "model")
    main(["push", str(tmp_path / "model.zip"), "someone/relative", "--env", "CartPole-v1", "--episodes", "1", "--sampled"])
    assert capsys.readouterr().out.strip().endswith("/someone/relative/commit/1")
    files = stand_in["someone/relative"]
    assert files.keys() >= FILES
    card = files["README.md"].decode()
    assert "It was not recorded which command made it." in card and "standard deviations" in card
    assert json.loads(files["results.json"])["command_following"]["desired"] == np.linspace(-3, 3, 9).tolist()


def test_pickles_on_the_hub_are_refused(stand_in, tmp_path):
    UDRL("CommandPolicy", "CartPole-v1", learning_rate=lambda left: 1e-3, device="cpu").save(tmp_path / "model.zip")
    stand_in["someone/lambda"] = {"model.zip": (tmp_path / "model.zip").read_bytes()}
    with pytest.raises(ValueError, match=r"names .*<lambda>"):
        hub.load("someone/lambda")
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as old, zipfile.ZipFile(tmp_path / "model.zip") as new:
        for name in new.namelist():
            content = new.read(name)
            if name == "data":
                content = json.dumps(
                    {**json.loads(content), "policy_class": {":type:": "x", ":serialized:": "gASVBgAAAAAAAACMAmFhlC4="}}
                )
            old.writestr(name, content)
    stand_in["someone/pickle"] = {"model.zip": (tmp_path / "old.zip").read_bytes()}
    with pytest.raises(ValueError, match="it holds pickles"):
        hub.load("someone/pickle")


def test_what_others_could_not_use_is_refused(env, stand_in):
    from stable_baselines3.common.vec_env import VecNormalize

    model = tiny_model(env)
    with pytest.raises(ValueError, match="env renders None: the video needs arrays"):
        hub.push(model, "someone/model", make_vec_env("CartPole-v1", env_kwargs={"render_mode": None}), "CartPole-v1")
    normalized = tiny_model(VecNormalize(env))
    with pytest.raises(ValueError, match="VecNormalize, whose statistics SB3 keeps in a pickle"):
        hub.push(normalized, "someone/model", env, "CartPole-v1")
    with pytest.raises(ValueError, match="algo='ppo': choose one of"):
        hub.load("someone/model", algo="ppo")
    assert stand_in == {}


def test_install_lines():
    assert install_line("LunarLander-v3", False) == 'pip install "sb3-udrl[hub]" "gymnasium[box2d]"'
    assert install_line("CartPole-v1", True) == 'pip install "sb3-udrl[forest,hub]" "gymnasium[classic-control]"'
    assert install_line("Unknown-v0", False) == 'pip install "sb3-udrl[hub]"'


def test_the_command_of_the_zoo():
    noted = {"algo": "udrl", "env": "CartPole-v1", "seed": 0, "n_timesteps": -1, "eval_freq": 25_000, "uuid": True}
    noted |= {"hyperparams": {"warm_up": "mixed", "batch_size": 64}, "log_folder": "/somewhere", "vec_env": "subproc"}
    of_a_trial = zoo_command({**noted, "storage": "a.log", "study_name": "a", "trial_id": 12})
    assert "--storage a.log --study-name a --trial-id 12" in of_a_trial
    words = shlex.split(zoo_command(noted))
    assert words[:9] == ["python", "-m", "rl_zoo3.train", "--algo", "udrl", "--env", "CartPole-v1", "--seed", "0"]
    assert words[9:] == ["--hyperparams", "warm_up:'mixed'", "batch_size:64", "--vec-env", "subproc"]
