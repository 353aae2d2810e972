"""Members of saved models, read and changed."""

import json
import zipfile


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_setting(path, name, value):
    """Change a setting in a saved model."""
    members = members_of(path)
    members["data"] = json.dumps({**json.loads(members["data"]), name: value}).encode()
    write(path, members)
