"""A small set in every layout goes through curation: five samples, the last with a broken picture,
and a file that nobody reads. The table of what became of them is printed (pytest -s)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.curation.test_curate import CURATION
from tests.data.sources.test_gpt_image_edit import row as conversation
from tests.data.sources.test_parquet import HQEDIT, IMAGE, METAQUERY, OMNIEDIT, SCORES

from ladder.data.curation import curate as module
from ladder.data.curation.curate import curate
from ladder.data.sources.json_lists import EDITS, IMAGES

COUNT = 5


class Maker:
    """Writes sets; the picture of sample number COUNT - 1 is broken, what is edited never is."""

    def __init__(self, folder: Path, picture: Callable, image_file: Callable, write_tar: Callable):
        self.folder = folder
        self.tar = lambda path, members: write_tar(self.folder / path, members)
        self._good = lambda seed: image_file(picture(seed))

    def target(self, number: int) -> bytes:
        return self._good(number) if number < COUNT - 1 else b"broken"

    def source(self, number: int) -> bytes:
        return self._good(100 + number)

    def cell(self, data: bytes) -> dict:
        return {"bytes": data, "path": None}

    def file(self, path: str, data: bytes | str) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data if isinstance(data, bytes) else data.encode())

    def files(self, target: str, source: str | None = None) -> None:
        """Loose pictures, at paths with {} for the number."""
        for number in range(COUNT):
            self.file(target.format(number), self.target(number))
            if source:
                self.file(source.format(number), self.source(number))

    def rows(self, path: str, rows: list) -> None:
        lines = path.endswith(".jsonl")
        self.file(path, "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))

    def table(self, path: str, rows: list[dict], schema: pa.Schema) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), self.folder / path)

    def pairs(self) -> list[tuple[str, bytes]]:
        """Members of a webdataset."""
        return [
            (f"{number:05d}.{kind}", data)
            for number in range(COUNT)
            for kind, data in (("jpg", self.target(number)), ("txt", f"caption {number}".encode()))
        ]


def webdataset(make: Maker) -> None:
    make.tar("00000.tar", make.pairs())


def packed_in_folders(make: Maker) -> None:
    make.tar("part1/a.tar", make.pairs())
    path = make.folder / "part1/a.tar"
    path.with_name("a.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def img2dataset(make: Maker) -> None:
    facts = [(f"{n:05d}.json", json.dumps({"url": "x", "status": "success"}).encode())
             for n in range(COUNT)]  # fmt: skip
    make.tar("00000.tar", [*make.pairs(), *facts])
    make.table("00000.parquet", [{"url": "x"}], pa.schema([("url", pa.string())]))
    make.file("00000_stats.json", "{}")


def sharegpt(make: Maker) -> None:
    make.tar("text_to_image_part_0.tar", [(f"image/{n}.png", make.target(n)) for n in range(COUNT)])
    make.rows(IMAGES, [{"input_prompt": f"caption {n}", "output_image": f"image/{n}.png"}
                       for n in range(COUNT)])  # fmt: skip


def sharegpt_edits(make: Maker) -> None:
    make.tar("text_and_image_to_image_part_0.tar", [
        (f"image/{n}.{part}.png", data) for n in range(COUNT)
        for part, data in (("in", make.source(n)), ("out", make.target(n)))
    ])  # fmt: skip
    make.rows(EDITS, [
        {"input_prompt": f"edit {n}", "input_image": [f"image/{n}.in.png"],
         "output_image": f"image/{n}.out.png"} for n in range(COUNT)
    ])  # fmt: skip


def gpt_image_edit(make: Maker) -> None:
    make.files("omniedit/output/{}.png", "omniedit/input/{}.png")
    make.rows("training_json/omniedit_gpt.json", [
        conversation(f"<image>\nedit {n}", f"input/{n}.png", f"output/{n}.png")
        for n in range(COUNT)
    ])  # fmt: skip


def gpt_image_edit_card(make: Maker) -> None:
    make.files("hqedit/edit/output/{}.png", "hqedit/edit/input/{}.png")
    for number in range(COUNT):
        make.file(f"hqedit/edit/metadata/{number}.json", json.dumps({"instruction": f"e {number}"}))


def omniedit(make: Maker) -> None:
    make.table("data/train-0.parquet", [
        {"omni_edit_id": f"task_{n}", "task": "swap", "src_img": make.cell(make.source(n)),
         "edited_img": make.cell(make.target(n)), "edited_prompt_list": [f"swap {n}"], **SCORES}
        for n in range(COUNT)
    ], OMNIEDIT)  # fmt: skip


def hqedit(make: Maker) -> None:
    make.table("data/train-0.parquet", [
        {"input_image": make.cell(make.source(n)), "output_image": make.cell(make.target(n)),
         "edit": f"there {n}", "inverse_edit": f"back {n}"} for n in range(COUNT)
    ], HQEDIT)  # fmt: skip


def metaquery(make: Maker) -> None:
    make.table("data/train-0.parquet", [
        {"source_images": [make.cell(make.source(10 * n + k)) for k in range(1 + n % 2)],
         "source_captions": ["a"] * (1 + n % 2), "prompt": f"prompt {n}",
         "target_image": make.cell(make.target(n)), "target_caption": f"target {n}"}
        for n in range(COUNT)
    ], METAQUERY)  # fmt: skip


def imgedit(make: Maker) -> None:
    paths = pa.list_(pa.string())
    schema = [("input_images", paths), ("output_images", paths), ("prompt", pa.string())]
    make.table("parquet/add.parquet", [
        {"input_images": [f"add/{n}/original.png"], "output_images": [f"add/{n}/result.png"],
         "prompt": f"add {n}"} for n in range(COUNT)
    ], pa.schema(schema))  # fmt: skip
    make.tar("Singleturn/add.tar", [
        (f"add/{n}/{part}.png", data) for n in range(COUNT)
        for part, data in (("original", make.source(n)), ("result", make.target(n)))
    ])  # fmt: skip


def instruct_pix2pix(make: Maker) -> None:
    names = ("original_prompt", "edit_prompt", "edited_prompt", "original_image", "edited_image")
    schema = pa.schema([(name, IMAGE if "image" in name else pa.string()) for name in names])
    make.table("data/train-0.parquet", [
        dict(zip(names, (f"a {n}", f"edit {n}", f"b {n}", make.cell(make.source(n)),
                         make.cell(make.target(n))), strict=True)) for n in range(COUNT)
    ], schema)  # fmt: skip


def hub_pairs(make: Maker) -> None:
    make.table("data/train-0.parquet", [
        {"image": make.cell(make.target(n)), "text": f"caption {n}"} for n in range(COUNT)
    ], pa.schema([("image", IMAGE), ("text", pa.string())]))  # fmt: skip


def saved_by_datasets(make: Maker) -> None:
    rows = {"image": [make.cell(make.target(n)) for n in range(COUNT)],
            "text": [f"caption {n}" for n in range(COUNT)]}  # fmt: skip
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features).save_to_disk(make.folder)


def coco(make: Maker) -> None:
    make.files("train2017/{}.png")
    make.rows("annotations/captions_train2017.json", {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(COUNT)],
        "annotations": [{"id": n, "image_id": n, "caption": f"c {n}"} for n in range(COUNT)],
    })  # fmt: skip


def image_folder(make: Maker) -> None:
    make.files("{}.png")
    make.rows("metadata.jsonl", [{"file_name": f"{n}.png", "text": f"c {n}"} for n in range(COUNT)])


def csv_list(make: Maker) -> None:
    make.files("{}.png")
    lines = ["file_name,text", *(f"{n}.png,caption {n}" for n in range(COUNT))]
    make.file("metadata.csv", "\n".join(lines))


def beside_texts(make: Maker) -> None:
    make.files("{}.jpg")
    for number in range(COUNT):
        make.file(f"{number}.txt", f"caption {number}")


def lines_of_paths(make: Maker) -> None:
    make.files("images/{}.png")
    make.rows("train.jsonl", [
        {"url": f"https://example.org/{n}.png", "path": f"images/{n}.png", "caption": f"c {n}"}
        for n in range(COUNT)
    ])  # fmt: skip


def mapped(make: Maker) -> None:
    make.files("after/{}.png", "before/{}.png")
    make.rows("lists/a.json", [
        {"result": {"file": f"../after/{n}.png"}, "was": f"../before/{n}.png", "say": f"do {n}"}
        for n in range(COUNT)
    ])  # fmt: skip
    make.file("mapping.yaml", "files: lists/*.json\nimage: result.file\nsource: was\ncaption: say")


LAYOUTS = {
    "webdataset (BLIP3o)": webdataset, "tar.gz in folders": packed_in_folders,
    "img2dataset": img2dataset, "ShareGPT-4o-Image": sharegpt,
    "ShareGPT-4o-Image, edits": sharegpt_edits, "GPT-Image-Edit": gpt_image_edit,
    "GPT-Image-Edit, by its card": gpt_image_edit_card, "OmniEdit": omniedit,
    "HQ-Edit, both ways": hqedit, "MetaQuery-Instruct": metaquery, "ImgEdit": imgedit,
    "InstructPix2Pix": instruct_pix2pix, "parquet image, text": hub_pairs,
    "save_to_disk": saved_by_datasets, "COCO captions": coco, "metadata.jsonl": image_folder,
    "metadata.csv": csv_list, "pictures beside texts": beside_texts,
    "lines of url and path": lines_of_paths, "mapping.yaml": mapped,
}  # fmt: skip


@pytest.mark.slow
def test_every_layout_is_read_and_what_is_not_is_named(
    tmp_path, monkeypatch, picture, image_file, write_tar
):
    monkeypatch.setattr(module, "save_figures", lambda *_: None)
    for name, write in LAYOUTS.items():
        make = Maker(tmp_path / "raw" / name, picture, image_file, write_tar)
        write(make)
        make.file("notes.dat", b"of nobody")
    curate(tmp_path / "raw", tmp_path / "out", CURATION)
    report = json.loads((tmp_path / "out/report.json").read_text())["sets"]
    assert report.keys() == LAYOUTS.keys()
    lines = [f"{'layout':28}{'kept':>6}{'rejected':>10}{'unread':>8}"]
    for name in LAYOUTS:
        found = report[name]
        ways = 2 if name.startswith("HQ-Edit") else 1
        assert (found["kept"], found["reasons"]) == (4 * ways, {"undecodable": ways}), name
        assert found["unread"] == ["notes.dat"], name
        counts = found["kept"], found["rejected"], found["unread_files"]
        lines.append(f"{name:28}{counts[0]:6}{counts[1]:10}{counts[2]:8}")
    print(*lines, sep="\n")  # noqa: T201
