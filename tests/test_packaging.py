"""What a wheel holds, and the start-up hook in it: small, plain, and harmless."""

import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from types import ModuleType

import pytest

import sb3_udrl
from sb3_udrl.zoo import registration

REPOSITORY = Path(__file__).parents[1]
HOOK = REPOSITORY / "sb3_udrl" / "zoo" / "hook"
NAME = "_sb3_udrl_autoload"


@pytest.fixture
def hook(monkeypatch):
    """The hook's module, not installed yet, watching for an invented Zoo."""
    spec = importlib.util.spec_from_file_location(NAME, HOOK / f"{NAME}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PATCHES", {"invented_zoo.utils": "patch_utils"})
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if type(finder).__module__ != NAME])
    monkeypatch.delenv("SB3_UDRL_AUTOLOAD", raising=False)
    return module


@pytest.fixture
def patched(monkeypatch):
    """The modules that the hook has handed over."""
    modules: list[ModuleType] = []
    monkeypatch.setattr(registration, "patch_utils", modules.append)
    return modules


@pytest.fixture
def invented_zoo(monkeypatch, tmp_path):
    (tmp_path / "invented_zoo").mkdir()
    (tmp_path / "invented_zoo" / "__init__.py").touch()
    (tmp_path / "invented_zoo" / "utils.py").write_text("ALGOS = {}\n")
    (tmp_path / "invented_zoo" / "enjoy.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield "invented_zoo.utils"
    for name in [name for name in sys.modules if name.startswith("invented_zoo")]:
        del sys.modules[name]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter, with the hook of the repository installed there, as ``site`` would do it."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "SB3_UDRL_AUTOLOAD": "1", **environment}
    code = f"import site; site.addsitedir(r'{HOOK}')\n{code}"
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


# ------------------------------------------------------------------------------------------------------------ the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_holds_package_hyperparameters_and_hook(wheel):
    names = set(wheel.namelist())
    assert {"sb3_udrl/__init__.py", "sb3_udrl/py.typed", "sb3_udrl/hyperparams/udrl.yml"} <= names
    at_root = {name for name in names if "/" not in name}
    assert at_root == {f"{NAME}.py", f"{NAME}.pth", f"{NAME}.start"}
    assert {name.split("/")[0] for name in names - at_root} == {"sb3_udrl", f"sb3_udrl-{sb3_udrl.__version__}.dist-info"}
    assert not [name for name in names if "hook" in name or "__pycache__" in name]


def test_wheel_holds_every_module(wheel):
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "sb3_udrl").rglob("*.py")}
    assert modules - set(wheel.namelist()) == {f"sb3_udrl/zoo/hook/{NAME}.py"}


def test_wheel_holds_what_the_demo_shows(wheel):
    demo = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "sb3_udrl" / "app").rglob("*") if path.is_file()}
    shown = {name for name in demo if name.endswith((".zip", ".json", ".js"))}
    assert len(shown) > 10 and shown <= set(wheel.namelist())


def test_metadata(wheel):
    metadata = Parser().parsestr(wheel.read(f"sb3_udrl-{sb3_udrl.__version__}.dist-info/METADATA").decode())
    required = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert required == {"stable-baselines3<3,>=2.9", "rl-zoo3<3,>=2.9.2", "requests", "pandas", "scipy>=1.12"}
    extras = {"plots", "benchmark", "ray", "dask", "vizdoom", "minari", "forest", "explain", "onnx", "hub", "app", "boosting"}
    extras |= {"s3", "stack", "tests", "docs", "all"}
    assert set(metadata.get_all("Provides-Extra")) == extras
    assert metadata["Requires-Python"] == ">=3.10"


def test_constraints_pin_versions_that_exist_for_every_platform():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; python_version .*)?", pin) for pin in pins)
    assert {"torch", "stable-baselines3", "rl-zoo3", "optuna", "pytest"} <= {pin.split("==")[0] for pin in pins}


def test_importing_the_package_loads_no_zoo():
    modules = ["rl_zoo3", "sb3_contrib", "optuna", "sb3_udrl.zoo", "sb3_udrl.envs"]
    result = python(f"import sys, sb3_udrl; print([name for name in {modules} if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


# ---------------------------------------------------------------------------------------------------- the start-up hook


def test_hook_lines_are_plain_imports():
    assert (HOOK / f"{NAME}.pth").read_bytes() == b"import _sb3_udrl_autoload; _sb3_udrl_autoload.install()\n"
    assert (HOOK / f"{NAME}.start").read_bytes() == b"_sb3_udrl_autoload:install\n"


def test_hook_imports_nothing_at_start():
    code = f"""
        import os, sys
        before = set(sys.modules)
        import {NAME}
        {NAME}.install()
        print(sorted(set(sys.modules) - before))
    """
    # -S: without site, which runs the installed hook and those of other packages
    command = [sys.executable, "-S", "-c", inspect.cleandoc(code)]
    environment = {**os.environ, "PYTHONPATH": str(HOOK), "SB3_UDRL_AUTOLOAD": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"['{NAME}']"


def test_hook_registers_when_the_zoo_is_imported():
    code = """
        import sys
        print("rl_zoo3" in sys.modules, "sb3_udrl" in sys.modules)
        from rl_zoo3 import ALGOS, create_test_env
        from sb3_udrl import UDRL
        print(ALGOS["udrl"] is UDRL, create_test_env.__module__, hasattr(create_test_env, "__wrapped__"))
    """
    result = python(inspect.cleandoc(code))
    assert result.stdout.split("\n")[:2] == ["False False", "True rl_zoo3.utils True"], result.stderr
    assert "RuntimeWarning" not in result.stderr


def test_python_starts_with_a_broken_hook(tmp_path):
    shutil.copy(HOOK / f"{NAME}.pth", tmp_path)
    (tmp_path / f"{NAME}.py").write_text("this is no Python\n")
    code = f"import site; site.addsitedir(r'{tmp_path}'); print('started')"
    result = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.strip() == "started"


def test_install_twice_adds_one_finder(hook):
    n_finders = len(sys.meta_path)
    hook.install()
    hook.install()
    assert len(sys.meta_path) == n_finders + 1
    assert isinstance(sys.meta_path[0], hook.ZooFinder)


@pytest.mark.parametrize("value", ["0", "false", "No", "OFF"])
def test_environment_variable_turns_it_off(hook, monkeypatch, value):
    monkeypatch.setenv("SB3_UDRL_AUTOLOAD", value)
    before = list(sys.meta_path)
    hook.install()
    assert sys.meta_path == before


def test_module_is_patched_after_it_ran(hook, patched, invented_zoo):
    hook.install()
    module = importlib.import_module(invented_zoo)
    assert patched == [module] and module.ALGOS == {}
    importlib.reload(module)
    assert patched == [module, module]


def test_loader_keeps_its_type_and_source(hook, patched, invented_zoo):
    hook.install()
    module = importlib.import_module(invented_zoo)
    assert type(module.__spec__.loader) is importlib.machinery.SourceFileLoader
    assert inspect.getsource(module) == "ALGOS = {}\n"


def test_other_modules_are_left_to_the_other_finders(hook, patched, invented_zoo):
    hook.install()
    assert sys.meta_path[0].find_spec("invented_zoo.enjoy") is None
    importlib.import_module("invented_zoo.enjoy")
    assert patched == []


def test_missing_zoo_is_an_ordinary_error(hook):
    hook.install()
    with pytest.raises(ModuleNotFoundError, match="invented_zoo"):
        importlib.import_module("invented_zoo.utils")


def test_finders_that_ask_all_finders_do_not_run_in_circles(hook, patched, invented_zoo):
    class AsksAll:
        asking = False

        def find_spec(self, fullname, path=None, target=None):
            if self.asking:
                return None
            self.asking = True
            try:
                return importlib.util.find_spec(fullname)
            finally:
                self.asking = False

    hook.install()
    sys.meta_path.insert(0, AsksAll())
    module = importlib.import_module(invented_zoo)
    assert set(map(id, patched)) == {id(module)}


def test_late_install_patches_what_is_already_imported(hook, patched, invented_zoo):
    module = importlib.import_module(invented_zoo)
    hook.install()
    assert patched == [module]


def test_an_error_becomes_a_warning(hook, monkeypatch, invented_zoo):
    def fail(module):
        raise KeyError("broken")

    monkeypatch.setattr(registration, "patch_utils", fail)
    hook.install()
    with pytest.warns(RuntimeWarning, match="could not register UDRL with invented_zoo.utils: KeyError"):
        module = importlib.import_module(invented_zoo)
    assert module.ALGOS == {}
