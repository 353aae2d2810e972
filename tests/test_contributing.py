"""Files for contributors: forms and workflows are valid, and name what is pinned elsewhere."""

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
