"""The documentation stays short and plain, and its links and commands are real."""

import re
import runpy
from fnmatch import fnmatch

import pytest
from pages import ROOT, Page, all_pages, n_words

from sb3_udrl.saving import archive, limits

MOST_WORDS = {"docs/results/tried/*": 300, "docs/*": 900, "README.md": 1200, "CONTRIBUTING.md": 600}
MOST_WORDS_IN_ALL = 20_000
MOST_WORDS_OF_A_SENTENCE = 25
PAGES = [page for page in all_pages() if not page.is_generated]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page: Page) -> None:
    most = next(most for pattern, most in MOST_WORDS.items() if fnmatch(page.name, pattern))
    assert page.n_words() <= most, f"{page.name} has {page.n_words()} words, at most {most} are allowed"


def test_all_of_it_is_short() -> None:
    count = sum(page.n_words() for page in PAGES if page.name.startswith("docs/"))
    assert count <= MOST_WORDS_IN_ALL, f"the pages in docs/ have {count} words in all"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page: Page) -> None:
    long = [f"{page.name}:{line}: {text}" for line, text in page.sentences() if n_words(text) > MOST_WORDS_OF_A_SENTENCE]
    assert not long, "\n".join([f"sentences of more than {MOST_WORDS_OF_A_SENTENCE} words:", *long])


def test_the_readme_links_absolutely_to_what_is_there() -> None:
    """It is shown on a package index, too."""
    readme = Page(ROOT / "README.md").text
    metadata = (ROOT / "pyproject.toml").read_text()
    site, source = (re.search(f'^{name} = "(.*)"', metadata, re.MULTILINE)[1] for name in ("Documentation", "Source"))
    raw = source.replace("github.com", "raw.githubusercontent.com")
    places = {f"{site}/": "docs/", f"{source}/blob/main/": "", f"{raw}/main/": ""}
    links = re.findall(r"\]\((.*?)\)", readme)
    assert all(link.startswith("https://") for link in links)
    for link in links:
        for address, folder in places.items():
            if link.startswith(address):
                path = ROOT / re.sub(r"\.html(#.*)?$", ".md", folder + link.removeprefix(address))
                assert path.is_file(), f"{link}: no {path}"


@pytest.mark.slow
def test_tables_of_results_are_those_of_the_published_data() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "results_table.py"))
    tables = {name: make() for name, make in script["TABLES"].items()}
    for name in tables:
        assert any(f"<!-- {name}: " in path.read_text() for path in script["PAGES"])
    for path in script["PAGES"]:
        assert script["written"](path.read_text(), tables) == path.read_text(), "run: python docs/results_table.py"


def test_a_part_of_ones_own_is_as_short_as_the_page_says() -> None:
    example = Page(ROOT / "docs" / "guide" / "own_part.md").blocks("python")[0]
    assert len(example.content.splitlines()) < 40


def test_limits_on_the_page_of_files_are_those_of_the_code() -> None:
    page = Page(ROOT / "docs" / "guide" / "files.md").text
    assert f"more than {archive._MAX_RATIO} times its size" in page
    assert f"more than {limits.MAX_UNITS:,} units and `n_envs` above {limits.MAX_ENVS:,}" in page
