"""The shell around a ladder: prompts from anywhere, outcomes for people and programs."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.tiny import SIDE, tiny_mllm, tiny_picture, tiny_sana

from ladder.cli import drawing, main, prompts
from ladder.config.load import load
from ladder.inference.pipeline import LadderPipeline
from ladder.models.ladder import Ladder

SHIPPED = load(root=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> LadderPipeline:
    root = tmp_path_factory.mktemp("foundations")
    mllm, sana = tiny_mllm(root / "mllm"), tiny_sana(root / "sana")
    foundations = replace(SHIPPED.foundations, mllm=str(mllm), generator=str(sana), dtype="float32")
    model = replace(SHIPPED.model, scheme="last_n", layers=None, queries=2, query_text=None)
    ladder = Ladder.from_foundations(model, foundations, seed=0)
    return LadderPipeline.from_ladder(ladder, foundations, SHIPPED.sampling)


@pytest.fixture
def run(pipeline, tmp_path, monkeypatch, capsys):
    """Runs `ladder WORDS` with code 0 in an empty folder; returns what it says on stdout."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("ladder.inference.open.open_ladder", lambda *_: pipeline)

    def call(*words: str, stdin: str = "") -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        assert main.main(words) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(run, monkeypatch, capsys):
    """The line that `ladder WORDS` says on stderr when it ends with code 2; it writes nothing."""

    def call(*words: str, stdin: str = "") -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
        assert main.main(words) == 2
        assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
        output = capsys.readouterr()
        assert output.out == ""
        *bars, line, end = output.err.split("\n")
        assert all("it/s]" in bar for bar in bars)
        assert end == ""
        return line

    return call


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_prompts_come_from_words_stdin_and_files_alike(run):
    """Blank lines are left out, and the order is kept."""
    run("generate", "a star", "a heart", "a cross", "--steps", "1", "-o", "words.png")
    run("generate", "a star", "-", "--steps", "1", "-o", "stdin.png", stdin="a heart\n\n a cross ")
    Path("prompts.txt").write_bytes("\ufeffa star\r\n\r\na heart\r\na cross\r\n".encode())
    run("generate", "-f", "prompts.txt", "--steps", "1", "-o", "file.png")
    run("generate", "-f", "-", "--steps", "1", "-o", "both.png", stdin="a star\na heart\na cross")
    expected = Path("words.png").read_bytes()
    assert Image.open("words.png").size == (SIDE, 3 * SIDE)
    for name in ("stdin", "file", "both"):
        assert Path(f"{name}.png").read_bytes() == expected


def test_many_prompts_are_drawn_in_parts_as_if_at_once(run, monkeypatch):
    said = [f"a {shape}" for shape in ("star", "heart", "cross", "circle", "square")]
    words = ("generate", *said, "--grid", "2", "--steps", "1")
    run(*words, "-o", "once.png")
    monkeypatch.setattr(drawing, "BATCH", 4)
    run(*words, "-o", "parts.png")
    assert Image.open("once.png").size == (2 * SIDE, 5 * SIDE)
    assert np.abs(pixels("once.png") - pixels("parts.png")).max() <= 1


def test_each_instruction_changes_the_same_pictures(run):
    tiny_picture(0).save("a.png")
    tiny_picture(1).save("b.png")
    run("edit", "a.png", "b.png", "-", "--steps", "1", "-o", "both.png", stdin="turn it\nmirror it")
    run("edit", "a.png", "b.png", "turn it", "--steps", "1", "-o", "first.png")
    assert Image.open("both.png").size == (SIDE, 2 * SIDE)
    assert np.abs(pixels("both.png")[:SIDE] - pixels("first.png")).max() <= 1


def test_an_edit_of_a_photograph_has_its_shape(run, pipeline, monkeypatch):
    monkeypatch.setattr(pipeline.ladder, "aspects", (1.0, 0.5, 2.0))
    tiny_picture(0, (640, 330)).save("wide.jpg")
    run("edit", "wide.jpg", "turn it", "--steps", "1")
    assert Image.open("out.png").size == (48, 24)


def test_a_device_and_a_precision_can_be_chosen(pipeline, tmp_path, monkeypatch, capsys):
    """What is named is loaded so, draws a picture and answers; auto is the CPU where no GPU is."""
    monkeypatch.chdir(tmp_path)
    pipeline.save_pretrained(tmp_path / "ladder")
    tiny_picture(0).save("a.png")
    ours = ("--model", "ladder", "--json")
    draw = ("generate", "a star", "--steps", "1", *ours)
    found = {}
    for device in ("auto", "cpu"):
        for dtype in ("float32", "bfloat16"):
            name = f"{device}-{dtype}.png"
            assert main.main([*draw, "--device", device, "--dtype", dtype, "-o", name]) == 0
            said = json.loads(capsys.readouterr().out)
            assert (said["device"], said["dtype"]) == ("cpu", dtype)
            found[device, dtype] = pixels(name)
    for dtype in ("float32", "bfloat16"):
        assert np.array_equal(found["auto", dtype], found["cpu", dtype])
    # Rounded weights draw nearly the same; finite latents are checked by the pipeline itself.
    difference = np.abs(found["cpu", "float32"] - found["cpu", "bfloat16"])
    assert difference.max() > 0
    assert difference.mean() < 16
    half = ("--dtype", "bfloat16", *ours)
    assert main.main(["edit", "a.png", "turn it", "--steps", "1", *half]) == 0
    capsys.readouterr()
    assert main.main(["ask", "a.png", "What is it?", "--tokens", "3", *half]) == 0
    answer = json.loads(capsys.readouterr().out)["answer"]
    same = LadderPipeline.from_pretrained("ladder", torch_dtype=torch.bfloat16)
    assert answer == same.ask(tiny_picture(0), "What is it?", 3)


def test_a_device_that_is_not_here_is_one_line(tmp_path, monkeypatch, capsys, pipeline):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    pipeline.save_pretrained(tmp_path / "ladder")
    words = ("a star", "--model", str(tmp_path / "ladder"), "--device", "cuda")
    assert main.main(["generate", *words]) == 2
    said = capsys.readouterr().err
    assert said == "ladder generate: device must be auto or one of cpu, got cuda\n"


def test_json_says_all_that_the_picture_depends_on(run):
    words = ("generate", "a star", "a heart", "--seed", "5", "--grid", "2", "--steps", "1")
    said = json.loads(run(*words, "--json", "-o", "drawn.webp"))
    assert said == {
        "output": "drawn.webp",
        "prompts": ["a star", "a heart"],
        "seed": 5,
        "grid": 2,
        "num_inference_steps": 1,
        "guidance_scale": 3.0,
        "device": "cpu",
        "dtype": "float32",
    }
    assert Image.open("drawn.webp").format == "WEBP"
    assert list(Path().iterdir()) == [Path("drawn.webp")]


# ---- what a picture says of itself ----


def test_a_picture_is_drawn_again_to_the_byte(run):
    words = ("a star", "ein grüner Kreis \N{STAR OF DAVID}", "--seed", "5", "--grid", "2")
    run("generate", *words, "--steps", "2", "--guidance", "2", "-o", "a.png")
    run("generate", "--from", "a.png", "-o", "b.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    told = json.loads(run("info", "a.png", "--json"))
    assert told["prompts"] == [*words[:2]]
    assert (told["seed"], told["grid"], told["num_inference_steps"]) == (5, 2, 2)
    assert told["guidance_scale"] == 2.0
    assert "again                ladder generate --from a.png\n" in run("info", "a.png")


def test_an_option_changes_one_setting_of_a_picture(run):
    run("generate", "a star", "--steps", "2", "--seed", "5", "-o", "a.png")
    run("generate", "--from", "a.png", "--seed", "0", "-o", "b.png")
    run("generate", "a star", "--steps", "2", "-o", "c.png")
    assert Path("b.png").read_bytes() == Path("c.png").read_bytes()
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()


def test_an_edit_is_drawn_again_from_the_same_pictures(run, refused):
    for seed, name in enumerate(("a.png", "b.png")):
        tiny_picture(seed).save(name)
    run("edit", "a.png", "b.png", "turn it", "--steps", "2", "-o", "c.png")
    run("edit", "--from", "c.png", "-o", "d.png")
    assert Path("c.png").read_bytes() == Path("d.png").read_bytes()
    tiny_picture(2).save("b.png")
    assert "b.png must be the picture of hash" in refused("edit", "--from", "c.png")
    Path("b.png").unlink()
    assert "b.png: No such file" in refused("edit", "--from", "c.png")


def chunk(**changes) -> dict:
    """Settings of a picture with some changed; None is one that is left out."""
    whole = {
        "verb": "generate", "prompts": ["a star"], "seed": 0, "grid": 1, "num_inference_steps": 1,
        "guidance_scale": 3.0, "device": "cpu", "dtype": "float32", "sources": [],
        "source_hashes": [], "ladder": "0", "version": "0.2.0",
    }  # fmt: skip
    return {name: value for name, value in (whole | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "must hold the settings that it was drawn with"),
        ("{", "its settings must be JSON"),
        ("[" * 100_000, "its settings must be JSON"),
        ("[]", "its settings must be a mapping"),
        (json.dumps(chunk(seed=None)), "seed is missing"),
        (json.dumps(chunk(seed=-1)), "seed must be"),
        (json.dumps(chunk(seed="1")), "seed must be"),
        (json.dumps(chunk(grid=10**9)), "grid must be"),
        (json.dumps(chunk(prompts=[])), "prompts must"),
        (json.dumps(chunk(prompts="a star")), "prompts must"),
        (json.dumps(chunk(guidance_scale=float("nan"))), "guidance_scale must be"),
        (json.dumps(chunk(num_inference_steps=0)), "num_inference_steps must be"),
        (json.dumps(chunk(device="meta")), "device must be"),
        (json.dumps(chunk(more=1)), "unknown key more"),
        (json.dumps(chunk(sources=["a.png"])), "every source must have a hash"),
        (json.dumps(chunk(verb="edit")), "by the other verb: ladder edit --from a.png"),
        (json.dumps(chunk(verb="train")), "verb must be"),
        (json.dumps(chunk()), "was drawn by the ladder of hash 0, got"),
    ],
)
def test_settings_in_a_picture_that_cannot_be_used(text, complaint, refused):
    info = PngInfo()
    if text is not None:
        info.add_text("ladder", text)
    tiny_picture(0).save("a.png", pnginfo=info)
    assert complaint in refused("generate", "--from", "a.png")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["generate", "--from", "a.jpg"], "a.jpg: must be a PNG that `ladder` drew"),
        (["generate", "--from", "missing.png"], "missing.png: No such file"),
        (["generate", "a star", "--from", "a.png"], "--from brings all texts and pictures"),
        (["edit", "turn it"], "an edit needs a picture and what to do"),
        (["edit"], "an edit needs a picture and what to do"),
        (["info", "missing.png"], "missing.png: No such file"),
        (["ask", "what", "is", "it?"], "what: No such file"),
    ],
)
def test_pictures_that_say_nothing(words, complaint, refused):
    info = PngInfo()
    info.add_text("ladder", json.dumps(chunk()))
    tiny_picture(0).save("a.png", pnginfo=info)
    tiny_picture(0).save("a.jpg")
    assert complaint in refused(*words)


def test_the_picture_is_shown(run, monkeypatch):
    shown = []
    monkeypatch.setattr("typer.launch", lambda path, wait: shown.append(path) or 0)
    run("generate", "a star", "--steps", "1", "-o", "a.png")
    run("generate", "a star", "--steps", "1", "-o", "b.png", "--open")
    assert shown == ["b.png"]


def test_questions_are_answered_in_their_order(run, pipeline, monkeypatch):
    understanding = pipeline.ladder.understanding
    generate = understanding._generate

    def briefly(inputs, max_tokens, streamer=None):
        return generate(inputs, 5, streamer)

    monkeypatch.setattr(understanding, "_generate", briefly)
    tiny_picture(0).save("a.png")
    picture, questions = tiny_picture(0), ["what is it?", "what color is it?"]
    answers = [pipeline.ask(picture, question) for question in questions]
    spoken = run("ask", "a.png", "-", stdin="\n".join(questions))
    assert spoken == "".join(f"{answer}\n" for answer in answers)
    told = run("ask", "a.png", "-", "--json", stdin="\n".join(questions)).splitlines()
    assert [json.loads(line) for line in told] == [
        {"image": "a.png", "question": question, "answer": answer, "adapter": None}
        for question, answer in zip(questions, answers, strict=True)
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["generate"], "there must be a prompt"),
        (["generate", "-"], "stdin must hold a line of text"),
        (["generate", "-f", "missing.txt"], "missing.txt: No such file"),
        (
            ["generate", "-f", "bytes.txt"],
            "bytes.txt: must be text in UTF-8, got",
        ),
        (
            ["generate", "-f", "utf16.txt"],
            "utf16.txt: must be text in UTF-8, got",
        ),
        (["generate", "-f", "many.txt"], "there must be at most 1000 prompts, got 1001"),
        (["generate", "a", "red", "star"], 'must be quoted: ladder generate "a red star"'),
        (["edit", "a.png", "turn", "it"], 'must be quoted: ladder edit a.png "turn it"'),
        (["edit", "a.png", "b.png", "turn it"], "b.png: No such file"),
        (["edit", *["a.png"] * 200, "turn it"], "an edit is of at most 16 pictures, got 200"),
        (["ask", "a.png", "what", "is", "it?"], 'in quotes: ladder ask a.png "what is it?"'),
        (["generate", "a", "-o", "drawn"], "must end in .png, .jpg, .jpeg, .webp, got drawn"),
        (["generate", "a", "-o", "drawn.gif"], "must end in"),
        (["generate", "a", "-o", "no/drawn.png"], "no: no such folder"),
        (["generate", "a", "-o", "folder.png"], "folder.png: a folder, and no file"),
        (["edit", "a.png", "-"], "stdin must hold a line of text"),
        (["edit", "missing.png", "turn it"], "missing.png: No such file"),
        (["ask", "a.png", "-"], "stdin must hold a line of text"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(refused, words, complaint):
    tiny_picture(0).save("a.png")
    Path("bytes.txt").write_bytes(b"\xff\xfe\xff")
    Path("utf16.txt").write_text("a red star\n", encoding="utf-16")
    Path("many.txt").write_text("a star\n" * (prompts.MOST + 1))
    Path("folder.png").mkdir()
    assert complaint in refused(*words)


@pytest.mark.parametrize(
    "option",
    [
        ["--seed", "-1"],
        ["--seed", str(2**63)],
        ["--seed", "9" * 5000],
        ["--guidance", "nan"],
        ["--steps", "-3"],
        ["--grid", "100000"],
    ],
)
def test_numbers_that_are_none(option, refused):
    assert f"'{option[0]}'" in refused("generate", "a star", *option)


@pytest.mark.parametrize("kind", ["read-only", "pipe", "device"])
def test_what_must_not_be_lost_is_not_replaced(kind, refused, tmp_path):
    path = tmp_path / "here/kept.png"
    if kind == "read-only":
        path.write_bytes(b"kept")
        path.chmod(0o444)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    said = refused("generate", "a star", "-o", "kept.png")
    assert said.startswith("ladder generate: kept.png: ")
    assert ("read-only" if kind == "read-only" else "a pipe or device") in said


def test_a_link_is_written_through(run):
    """The link stays one, and what it points at gets the picture."""
    Path("elsewhere").mkdir()
    Path("link.png").symlink_to("elsewhere/drawn.png")
    run("generate", "a star", "--steps", "1", "-o", "link.png")
    assert Path("link.png").readlink() == Path("elsewhere/drawn.png")
    assert Image.open("elsewhere/drawn.png").size == (SIDE, SIDE)
    assert sorted(Path().iterdir()) == [Path("elsewhere"), Path("link.png")]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(run, refused):
    """WebP holds at most 16,383 pixels a side."""
    tiny_picture(0).save("drawn.webp")
    before = Path("drawn.webp").read_bytes()
    words = ["a star"] * (16384 // SIDE)
    refused("generate", *words, "--steps", "1", "--guidance", "1", "-o", "drawn.webp")
    assert Path("drawn.webp").read_bytes() == before


# ---- completion ----


def completed(line: str) -> str:
    """A script that reads the completion and prints what bash offers after `line`."""
    words = line.split(" ")
    listed = " ".join(f"'{word}'" for word in words)
    return (
        'source /dev/stdin; cd "$1"; '
        f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; "
        "$(complete -p ladder | sed 's/.*-F \\([^ ]*\\).*/\\1/') ladder; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ladder gen", {"generate"}),
        ("ladder e", {"encode", "evaluate", "edit", "export-published"}),
        ("ladder train ", {"t2i", "ti2i", "finetune"}),
        ("ladder generate --s", {"--seed", "--steps"}),
        ("ladder train --profile sm", {"smoke"}),
        ("ladder edit pic", set()),
    ],
)
def test_bash_completes(line, offered, tmp_path, capsys):
    """Where nothing is offered, bash completes files by itself."""
    assert main.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "complete -o default" in script
    program = tmp_path / "ladder"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ladder.cli.main "$@"\n')
    program.chmod(0o755)
    command = ["bash", "-c", completed(line), "bash", str(Path(__file__).parent)]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shown = subprocess.run(
        command, input=script, capture_output=True, text=True, check=True, env=environment
    )
    assert set(shown.stdout.split()) >= offered
    assert bool(shown.stdout.split()) == bool(offered)
    assert all(word.startswith(line.split(" ")[-1]) for word in shown.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_completion(shell, capsys):
    assert main.main(["completion", shell]) == 0
    assert f"_LADDER_COMPLETE=complete_{shell}" in capsys.readouterr().out
