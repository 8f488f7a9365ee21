"""What the documents tell a person to type can be typed, and what they point at is there."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from ladder.cli.main import app
from ladder.config.load import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
LADDER = typer.main.get_command(app)
VERBS = LADDER.commands
MADE = ("data/", "runs/", "site/", "experiments/report", "experiments/sweeps", ".venv",
        "report.json", "figures/")  # fmt: skip
"""What is there only after something was run; the last two are in data/curated."""
PLACEHOLDERS = re.compile(r"<[a-z]+>|[A-Z]{3,}")
"""Of paths, such as runs/<arm>-<seed> and experiments/profiles/P.yaml."""


def texts() -> list[tuple[str, str]]:
    return [(name, (ROOT / name).read_text()) for name in DOCUMENTS]


def blocks(language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a language, with the document that each stands in."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(name, block) for name, text in texts() for block in fence.findall(text)]


def commands() -> list[tuple[str, str]]:
    """Every line of the shell blocks, with lines that go on joined, without comments."""
    found = []
    for name, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append((name, shlex.join(words)))
    return found


def spans() -> list[tuple[str, str]]:
    """What stands between backticks in running text."""
    return [
        (name, span)
        for name, text in texts()
        for span in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]


def check_ladder(words: list[str]) -> None:
    """The command line takes the words, and the configuration takes the settings among them."""
    options: dict[str, object] = {}
    command, words = LADDER, list(words)
    while hasattr(command, "commands"):
        name, *words = [word for word in words if word != "--traceback"]
        if name in ("--version", "--help"):
            return
        command = command.commands[name]
    options = command.make_context(name, words).params
    if "profile" in options:
        load(options["profile"], options["arm"], options["settings"] or (), root=ROOT)
    if notebook := options.get("notebook"):
        assert (ROOT / notebook).is_file(), notebook


@pytest.mark.parametrize(("document", "command"), commands())
def test_a_command_can_be_typed(document: str, command: str):
    program, *words = shlex.split(command)
    name = Path(program).name
    if name == "ladder":
        check_ladder(words)
    elif name == "make":
        assert {word for word in words if "=" not in word} <= TARGETS
    else:
        assert program.startswith((".venv/bin/", "git"))
        assert name == "git" or Path(sys.executable).with_name(name).is_file(), program


def test_there_are_commands():
    assert len(commands()) > 15
    assert {Path(shlex.split(command)[0]).name for _, command in commands()} >= {"make", "ladder"}


@pytest.mark.parametrize(("document", "span"), sorted({*spans()}))
def test_what_is_named_is_there(document: str, span: str):
    """A verb, a target of make, a setting with its value, or a file of the repository."""
    words = span.split()
    if words[0] in ("ladder", "make") and len(words) > 1 and not PLACEHOLDERS.search(words[1]):
        assert words[1] in (VERBS if words[0] == "ladder" else TARGETS)
    elif re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)+=\S+( [a-z_.]+=\S+)*", span):
        load(arguments=words, root=ROOT)
    elif len(words) == 1 and re.fullmatch(
        r"[\w.<>/-]+(/|\.(py|md|yaml|json|csv|ipynb|lock))", span
    ):
        assert exists(span), f"{document} names {span}"


def exists(name: str) -> bool:
    """Whether a path is in the repository, under src/ladder, or of that name anywhere there."""
    if name.startswith(MADE) or PLACEHOLDERS.search(name):
        return True
    return (
        (ROOT / name).exists()
        or (ROOT / "src/ladder" / name).exists()
        or any((ROOT / "src/ladder").rglob(name))
    )


@pytest.mark.parametrize(("document", "link"), sorted({
    (name, link) for name, text in texts() for link in re.findall(r"\]\(([^)#]+)\)", text)
    if "://" not in link
}))  # fmt: skip
def test_a_link_leads_somewhere(document: str, link: str):
    assert (ROOT / link).exists()


@pytest.mark.parametrize(("document", "block"), blocks("python"))
def test_python_in_a_document_imports_what_there_is(document: str, block: str):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


# ---- the reference ----


def test_the_reference_is_of_every_module(tmp_path: Path):
    """And builds without a warning, which the script takes for an error."""
    pytest.importorskip("pdoc", reason="`make docs` installs it")
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs/build.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.build(tmp_path)
    source = ROOT / "src"
    files = {path.relative_to(source).with_suffix("") for path in source.rglob("*.py")}
    modules = {path.parent if path.name == "__init__" else path for path in files}
    pages = {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.rglob("*.html")}
    assert pages == {*modules, Path("index")}
