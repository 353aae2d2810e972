"""Files for contributors: forms and workflows are valid, and name what is pinned elsewhere."""

import ast
import re

import pytest
import yaml
from pages import ROOT

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.name)
def test_issue_forms_are_forms(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    for part in form["body"]:
        assert part["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        assert "label" in part["attributes"] or part["type"] == "markdown"
    ids = [part["id"] for part in form["body"] if "id" in part]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_steps_and_little_permission(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["runs-on"] and job["steps"] for job in workflow["jobs"].values())
    assert True in workflow  # "on" is a word for true in YAML 1.1


def test_uploads_need_a_tag():
    upload = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())["jobs"]["upload"]
    assert upload["if"] == "github.ref_type == 'tag'" and upload["needs"] == "build"


def test_main_branches_may_fail():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "main_branches.yml").read_text())["jobs"]
    assert all(job["continue-on-error"] for job in jobs.values())


def test_pre_commit_has_the_ruff_of_the_constraints():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (rev,) = (repo["rev"] for repo in config["repos"] if repo["repo"].endswith("ruff-pre-commit"))
    pinned = re.search(r"^ruff==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert rev == f"v{pinned}"


def test_versions_agree():
    from sb3_udrl import __version__

    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == __version__


def test_texts_have_one_encoding_everywhere():
    """Else it is that of the machine, and a report cannot be read on another."""
    found = []
    for path in sorted((ROOT / "sb3_udrl").rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
            of_bytes = any(isinstance(arg, ast.Constant) and "b" in str(arg.value) for arg in call.args[1:])
            opens = isinstance(call.func, ast.Name) and name == "open" and not of_bytes
            if (opens or name in ("read_text", "write_text")) and "encoding" not in {keyword.arg for keyword in call.keywords}:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert not found, f'add encoding="utf-8": {", ".join(found)}'
