"""The documents are true and whole: examples run, links lead somewhere, nothing is left out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from resolver.cli import COMMANDS
from resolver.exits import Exit
from tests.docs.console import ROOT, commands, first_difference
from tests.docs.tables import PAGE, TABLES, with_tables

DOCS = ROOT / "docs"
PAGES = sorted((*ROOT.glob("README*.md"), *DOCS.rglob("*.md")))
SHAPE = ["Name", "Description", "Settings", "Examples", "Metrics", "Limits"]
SHAPED = sorted((*DOCS.glob("commands/*.md"), *DOCS.glob("servers/*.md"), DOCS / "dns.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def headings(text: str) -> list[str]:
    """The headings outside fenced blocks, with their marks."""
    found, inside = [], False
    for line in text.splitlines():
        inside ^= line.startswith("```")
        if not inside and re.match(r"#{1,6} ", line):
            found.append(line)
    return found


def anchors(text: str) -> set[str]:
    """What `#…` may name in a page, as the usual renderers make it."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")
        for heading in headings(text)
    }


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Each link inside the repository: as written, the file, the anchor."""
    for target in LINK.findall(text_of(page)):
        if "://" not in target and not target.startswith("mailto:"):
            path, _, anchor = target.partition("#")
            yield target, (page.parent / unquote(path)).resolve() if path else page, anchor


with_examples = [page for page in PAGES if any(one.runs for one in commands(text_of(page)))]


@pytest.mark.parametrize("page", with_examples, ids=name_of)
def test_examples_do_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    """Run in order in an empty folder, the examples of a page print what it says."""
    difference = first_difference(text_of(page), tmp_path)
    assert difference is None, f"{name_of(page)}, {difference}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link between files names a file that is there, and a heading in it."""
    for target, file, anchor in links(page):
        assert file.exists(), f"{name_of(page)} links to {target}, which is not there"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(text_of(file)), f"{name_of(page)}: no heading for {target}"


@pytest.mark.parametrize("page", SHAPED, ids=name_of)
def test_pages_of_commands_and_servers_have_one_shape(page: Path) -> None:
    """A page of a command or a server has the six headings, in their order."""
    found = [line[3:] for line in headings(text_of(page)) if line.startswith("## ")]
    assert found == SHAPE, name_of(page)


def test_every_command_has_its_page() -> None:
    """Each command of `biaoshi --help` is described under docs/commands, and named in the index."""
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    names = {*COMMANDS, *project["entry-points"]["biaoshi.commands"]}
    assert {page.stem for page in DOCS.glob("commands/*.md")} == names


def test_the_index_names_every_page() -> None:
    """docs/README.md leads to every document; docs/adr/README.md to every decision."""
    for index, folder in ((DOCS / "README.md", DOCS), (DOCS / "adr/README.md", DOCS / "adr")):
        linked = {file for _, file, _ in links(index)}
        for page in folder.rglob("*.md"):
            if page != index and (folder.name == "adr" or "adr" not in page.parts):
                assert page in linked, f"{name_of(index)} does not name {name_of(page)}"


def test_tables_are_those_of_the_code() -> None:
    """docs/operate.md has each setting with default and explanation, and each metric."""
    page = text_of(PAGE)
    assert page == with_tables(page), "run `python -m tests.docs.tables`"
    for name in TABLES:
        assert f"<!-- end of {name} -->" in page


def test_every_exit_code_is_documented() -> None:
    """docs/operate.md has a row for each exit code."""
    page = text_of(DOCS / "operate.md")
    for code in Exit:
        assert f"\n| {int(code)} | " in page, f"docs/operate.md lacks exit code {code}"


def test_both_readmes_say_the_same() -> None:
    """README.md and README.zh-CN.md have the same headings, lists, commands and links in step."""
    english, chinese = (text_of(ROOT / name) for name in ("README.md", "README.zh-CN.md"))

    def outline(text: str) -> list[str]:
        return [line.split(" ")[0] for line in text.splitlines() if line.startswith(("#", "- "))]

    def code(text: str) -> list[str]:
        return [line.partition("#")[0].strip() for line in text.splitlines() if line[:4] == "make"]

    assert outline(english) == outline(chinese)
    assert code(english) == code(chinese)
    pages = [
        set(LINK.findall(text)) - {"README.md", "README.zh-CN.md"} for text in (english, chinese)
    ]
    assert pages[0] == pages[1]


def test_pages_that_the_code_names_are_there() -> None:
    """A page named in the source (docs/….md) exists."""
    for package in ("protocol", "registry", "resolver", "bench"):
        for file in (ROOT / package).rglob("*.py"):
            for named in re.findall(r"docs/[\w./-]+\.md", text_of(file)):
                assert (ROOT / named).exists(), f"{name_of(file)} names {named}"


NAMED_FILE = re.compile(
    r"`((?:protocol|registry|resolver|bench|tests|deploy|fuzz|scenarios)/[^`*… ]*)`"
)
NAMED_CODE = re.compile(r"`([\w/]+\.py)`, `([\w.]+)`")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_functions_that_pages_name_are_there(page: Path) -> None:
    """A file named in a page exists, here or under tests/, and so does a function named after it."""
    text = text_of(page)
    for named in NAMED_FILE.findall(text):
        found = (ROOT / named).exists() or (ROOT / "tests" / named).exists()
        assert found, f"{name_of(page)} names {named}, which is not there"
    for file, dotted in NAMED_CODE.findall(text):
        if dotted.endswith(".py"):
            continue
        source = text_of(ROOT / file)
        for word in dotted.split("."):
            defined = re.search(
                rf"^\s*(?:(?:async )?def|class) {word}\b|^{word}\b", source, re.MULTILINE
            )
            assert defined, f"{name_of(page)}: {file} has no {word}"
