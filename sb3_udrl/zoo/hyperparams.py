"""Where the tuned hyperparameters lie: beside the package when it was installed, in the repository otherwise."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def hyperparams_path(algo: str = "udrl") -> Path:
    """
    The file that the Zoo reads when no ``--conf-file`` is given.

    :param algo: name of the algorithm, as in ``--algo``
    :return: path of its YAML file
    """
    folders = (PACKAGE / "hyperparams", PACKAGE.parent / "hyperparams")
    for folder in folders:
        path = folder / f"{algo}.yml"
        if path.is_file():
            return path
    available = sorted(path.stem for folder in folders for path in folder.glob("*.yml"))
    raise ValueError(f"algo={algo!r} has no hyperparameter file. There is one for: {', '.join(available)}.")
