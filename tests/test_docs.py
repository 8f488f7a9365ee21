"""What the documents tell a person to type can be typed, and what they point at is there.

Documents are those at the root of the repository and the site's pages in docs/.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

from ladder.cli.main import app
from ladder.config.load import load

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs/reference/cli.md"
DOCUMENTS = tuple(
    str(path.relative_to(ROOT))
    for path in (
        *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if path != GENERATED
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VERBS = typer.main.get_command(app).commands
MADE = ("data/", "runs/", "site/", "experiments/report", "experiments/sweeps", ".venv", "figures/",
        "report.json", "metadata.jsonl", "mapping.yaml")  # fmt: skip
"""What is there only after something was run or brought; the last four are in folders of data."""
PLACEHOLDERS = re.compile(r"<[a-z]+>|[A-Z]{3,}")
"""Of paths, such as runs/<arm>-<seed> and experiments/profiles/P.yaml."""


def texts() -> list[tuple[str, str]]:
    return [(name, (ROOT / name).read_text()) for name in DOCUMENTS]


def blocks(language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a language, with the document that each stands in."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(name, block) for name, text in texts() for block in fence.findall(text)]


def commands() -> list[tuple[str, str]]:
    """Every line of the shell blocks, with lines that go on joined, without comments, and without
    the file that takes what is said."""
    found = []
    for name, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                ends = words.index(">") if ">" in words else len(words)
                found.append((name, shlex.join(words[:ends])))
    return found


def spans() -> list[tuple[str, str]]:
    """What stands between backticks in running text."""
    return [
        (name, span)
        for name, text in texts()
        for span in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]


def options_of(words: list[str]) -> dict[str, Any]:
    """What `ladder` makes of the words behind it; raises TyperException for those it refuses."""
    command = typer.main.get_command(app)
    context = command.make_context("ladder", [*words])
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context.params


def check_ladder(words: list[str]) -> None:
    """The command line takes the words, and the configuration takes the settings among them."""
    if words[-1] == "--help":
        assert words[0] in VERBS
        return
    options = options_of(words)
    if "settings" in options:
        settings = options["settings"] or ()
        if words[0] in ("curate", "encode"):  # they take a folder among them
            settings = [word for word in settings if "=" in word]
        load(options["profile"], options["arm"], settings, root=ROOT)
    notebook = options.get("notebook")
    assert notebook is None or (ROOT / notebook).is_file(), notebook


@pytest.mark.parametrize(("document", "command"), commands())
def test_a_command_can_be_typed(document: str, command: str):
    program, *words = shlex.split(command)
    name = Path(program).name
    if name == "ladder":
        check_ladder(words)
    elif name == "make":
        assert {word for word in words if "=" not in word} <= TARGETS
    elif name == "eval":
        (said,) = words
        check_ladder(shlex.split(said.strip("$()"))[1:])
    else:
        assert program.startswith((".venv/bin/", "git"))
        assert name == "git" or Path(sys.executable).with_name(name).is_file(), program


def test_there_are_commands():
    assert len(commands()) > 40
    assert {Path(shlex.split(command)[0]).name for _, command in commands()} >= {"make", "ladder"}


def test_a_command_that_can_not_be_typed_is_found():
    for words in (["generte", "a star"], ["generate", "a star", "--nope"], ["train", "t3i"]):
        with pytest.raises(typer.TyperException):
            check_ladder(words)
    with pytest.raises(ValueError, match=r"model\.querys"):
        check_ladder(["train", "t2i", "model.querys=8"])


@pytest.mark.parametrize(("document", "span"), sorted({*spans()}))
def test_what_is_named_is_there(document: str, span: str):
    """A verb, a target of make, a setting with its value, or a file of the repository."""
    words = span.split()
    if words[0] in ("ladder", "make") and len(words) > 1 and not PLACEHOLDERS.search(words[1]):
        known = VERBS if words[0] == "ladder" else TARGETS
        assert words[1] in known or words[1].startswith("--")
    elif re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)+=\S+( [a-z_.]+=\S+)*", span):
        load(arguments=words, root=ROOT)
    elif len(words) == 1 and re.fullmatch(
        r"[\w.<>/-]+(/|\.(py|md|yaml|json|jsonl|csv|ipynb|lock|toml))", span
    ):
        assert exists(span, ROOT / document), f"{document} names {span}"


def exists(name: str, document: Path) -> bool:
    """Whether a path is in the repository, under src/ladder, or beside the document."""
    if name.startswith(MADE) or PLACEHOLDERS.search(name):
        return True
    return any((folder / name).exists() for folder in (ROOT, ROOT / "src/ladder", document.parent))


@pytest.mark.parametrize(("document", "link"), sorted({
    (name, link) for name, text in texts() for link in re.findall(r"\]\(([^)#]+)\)", text)
    if "://" not in link
}))  # fmt: skip
def test_a_link_leads_somewhere(document: str, link: str):
    assert (ROOT / document).parent.joinpath(link).exists()


@pytest.mark.parametrize(("document", "block"), blocks("python"))
def test_python_in_a_document_imports_what_there_is(document: str, block: str):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


# ---- the site ----


def test_every_page_is_reached():
    """Each page and notebook of docs/ stands in the table of contents of a folder's index."""
    for index in (ROOT / "docs").rglob("index.md"):
        entries = {
            line.strip().removesuffix(">").rpartition("<")[2]
            for block in re.findall(r"```{toctree}\n(.*?)```", index.read_text(), re.DOTALL)
            for line in block.splitlines()
        }
        pages = {path.stem for path in index.parent.iterdir() if path.suffix in (".md", ".ipynb")}
        assert pages - {"index"} - {GENERATED.stem} <= entries, index


def test_every_walkthrough_is_a_tutorial():
    shown = {path.name for path in (ROOT / "docs/tutorials").glob("*.ipynb")}
    assert shown == {
        *(path.name for path in (ROOT / "notebooks").glob("0*.ipynb")),
        "results.ipynb",
    }


def test_what_the_site_needs_is_locked():
    """Whatever a package of docs/requirements.lock needs is pinned there or in the other lock."""
    pytest.importorskip("sphinx", reason="`make docs` installs it")
    pins = {}
    for name in ("requirements.lock", "docs/requirements.lock"):
        for line in (ROOT / name).read_text().splitlines():
            if not line.startswith("#"):
                package, version = line.split("==")
                pins[package.lower().replace("_", "-")] = version
    for package in pins:
        for text in metadata.requires(package) or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert need.name.lower().replace("_", "-") in pins, f"{package} needs {need.name}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path):
    """It holds a page for every module, and asks no other server for anything."""
    pytest.importorskip("sphinx", reason="`make docs` installs it")
    build = [
        sys.executable,
        "-m",
        "sphinx",
        "--quiet",
        "--fail-on-warning",
        "docs",
        tmp_path / "html",
    ]
    ended = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    source = ROOT / "src"
    files = [path.relative_to(source).with_suffix("") for path in source.rglob("*.py")]
    modules = {path.parent if path.name == "__init__" else path for path in files}
    pages = {path.stem for path in (tmp_path / "html/reference/modules").glob("ladder*.html")}
    assert pages == {".".join(module.parts) for module in modules}
    asked = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?:[^\"]+)\"")
    for page in tmp_path.rglob("*.html"):
        assert not asked.findall(page.read_text()), page
