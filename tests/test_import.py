"""``import sb3_udrl`` loads nothing but what is used; UDRL needs SB3 and nothing heavy besides."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules_after(statement):
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_only_sb3():
    ours = modules_after("from sb3_udrl import UDRL; import sb3_udrl.evaluation, sb3_udrl.commands") - modules_after(
        "import stable_baselines3"
    )
    heavy = {"rl_zoo3", "optuna", "matplotlib", "scipy", "sklearn", "pandas", "seaborn", "huggingface_hub", "requests"}
    heavy |= {"skops", "treelite"}
    assert not ours & heavy
    assert "sb3_udrl" in ours


def test_the_demo_loads_what_explains_trees_when_it_is_asked_why():
    assert not modules_after("import sb3_udrl.app.play, sb3_udrl.app.views") & {"sklearn", "skops", "treelite", "matplotlib"}


def test_the_package_alone_loads_nothing():
    assert not modules_after("import sb3_udrl") & {"torch", "stable_baselines3", "gymnasium", "numpy"}


def test_public_names():
    import sb3_udrl.buffers
    import sb3_udrl.commands
    import sb3_udrl.evaluation
    import sb3_udrl.policies

    assert sb3_udrl.__all__ == ["UDRL", "UDRLPG", "Command", "CommandPolicy", "EpisodicReplayBuffer"]
    for module in (sb3_udrl, sb3_udrl.commands, sb3_udrl.evaluation, sb3_udrl.policies, sb3_udrl.buffers):
        for name in module.__all__:
            assert getattr(module, name).__doc__ or name.isupper(), name
    assert set(sb3_udrl.__all__) <= set(dir(sb3_udrl))
    assert sb3_udrl.__version__.count(".") == 2
