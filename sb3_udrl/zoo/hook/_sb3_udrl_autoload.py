"""
Makes ``python -m rl_zoo3.train --algo udrl`` work right after ``pip install sb3-udrl``.

Python calls :func:`install` whenever it starts. That puts one finder in front of ``sys.meta_path`` and imports nothing.
The finder waits until a program imports the RL Zoo; each of the three modules below is then loaded exactly as without
it, and afterwards handed to ``sb3_udrl.zoo.registration``, which adds UDRL to its tables. Nothing is read from the
network, nothing is written, and whatever goes wrong becomes a warning. ``SB3_UDRL_AUTOLOAD=0`` turns it off.
"""

import os
import sys

TYPE_CHECKING = False  # not from typing: importing that would cost time whenever Python starts
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# Module of the Zoo -> function of sb3_udrl.zoo.registration that is called with it
PATCHES = {
    "rl_zoo3.utils": "patch_utils",
    "rl_zoo3.hyperparams_opt": "patch_hyperparams_opt",
    "rl_zoo3.exp_manager": "patch_exp_manager",
}


class ZooFinder:
    """Finds nothing by itself: lets the other finders find a module of the Zoo, and has it patched once it has run."""

    def __init__(self) -> None:
        self._searching: set[str] = set()  # breaks the circle with other finders that ask all finders

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """
        Called by Python for every import.

        :param fullname: full name of the module
        :param path: where its package lies
        :param target: the module, if it is reloaded
        :return: None, and thus "ask the next finder", for all but three modules
        """
        if fullname not in PATCHES or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
            specs = (finder.find_spec(fullname, path, target) for finder in finders)  # type: ignore[arg-type]
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self._searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            self._patch_after_execution(spec.loader)
        return spec

    @staticmethod
    def _patch_after_execution(loader: object) -> None:
        execute = loader.exec_module  # type: ignore[attr-defined]

        def exec_module(module: "ModuleType") -> None:
            execute(module)
            patch(module)

        # On this one object: the loader's type, and with it get_source, get_code and inspect, stay as they are
        loader.exec_module = exec_module  # type: ignore[attr-defined]


def patch(module: "ModuleType") -> None:
    """
    Add UDRL to a module of the Zoo. An error becomes a warning: PPO and its friends must not suffer from us.

    :param module: one of the modules named above, after its execution
    """
    try:
        from sb3_udrl.zoo import registration

        getattr(registration, PATCHES[module.__name__])(module)
    except Exception as error:
        import warnings

        message = f"sb3_udrl could not register UDRL with {module.__name__}: {error!r} (SB3_UDRL_AUTOLOAD=0 silences this)"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def install() -> None:
    """Watch for imports of the RL Zoo, once per process, unless ``SB3_UDRL_AUTOLOAD`` says no."""
    if os.environ.get("SB3_UDRL_AUTOLOAD", "").lower() in {"0", "false", "no", "off"}:
        return
    if any(type(finder).__module__ == __name__ for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, ZooFinder())
    for name in PATCHES:  # already imported: installed late, in a notebook for instance
        if name in sys.modules:
            patch(sys.modules[name])
