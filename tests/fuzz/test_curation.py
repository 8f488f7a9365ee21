"""Files of raw sets with changed bytes: every one has a verdict, none raises, hangs or vanishes.

A whole file of each kind is made once, and some of its bytes are changed, removed or repeated;
`make fuzz` takes thousands of them. What was read is what was kept and what was rejected.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.tiny import tiny_picture

from ladder.data.images import BadSampleError, decode
from ladder.data.shards import Sample
from ladder.data.sources.open import survey
from ladder.data.sources.record import Rejected, UnknownLayoutError

CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "double", "zero"]),
              st.binary(min_size=1, max_size=8)),
    min_size=1, max_size=4,
)  # fmt: skip


def changed(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    held = bytearray(data)
    for place, how, patch in changes:
        at = int(place * len(held))
        if how == "set":
            held[at : at + len(patch)] = patch
        elif how == "cut":
            del held[at : at + patch[0]]
        elif how == "double":
            held[at:at] = held[at : at + 512 * patch[0]]
        else:
            held[at : at + 64 * patch[0]] = bytes(len(held[at : at + 64 * patch[0]]))
        held = held or bytearray(b"\0")
    return bytes(held)


@cache
def pictures() -> list[bytes]:
    """PNG of several modes, JPEG and WebP, with EXIF and colour profiles."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = tiny_picture(0)
    files = []
    for kind, image in [
        ("PNG", plain), ("PNG", plain.quantize(16)), ("PNG", plain.convert("LA")),
        ("PNG", Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64)),
        ("JPEG", plain), ("JPEG", plain.convert("CMYK")), ("WEBP", plain),
    ]:  # fmt: skip
        file = io.BytesIO()
        image.save(file, kind, icc_profile=profile, exif=exif)
        files.append(file.getvalue())
    return files


@cache
def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number in range(3):
            long = "ä" * 60 if number == 1 else ""
            facts = json.dumps({"captions": ["further"]}).encode()
            for kind, data in (("png", pictures()[0]), ("txt", b"a cat"), ("json", facts)):
                info = tarfile.TarInfo(f"{number}{long}.{kind}")
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
    return file.getvalue()


@cache
def table() -> bytes:
    cells = [{"bytes": pictures()[number], "path": f"{number}.png"} for number in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    said = pa.array(["a cat", "a dog", None]).dictionary_encode()
    more = pa.array([["one"], [], None])
    file = io.BytesIO()
    held = pa.table({"image": pa.array(cells, kind), "text": said, "captions": more})
    pq.write_table(held, file, row_group_size=2)
    return file.getvalue()


def verdicts(name: str, data: bytes) -> list[Sample | Rejected] | None:
    """One for every record of a set with that file; None for a file that is not understood."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0.png").write_bytes(pictures()[0])
        (Path(folder) / name).write_bytes(data)
        found = []
        for shard in survey(Path(folder)).shards:
            try:
                records = shard.records()
            except UnknownLayoutError:
                return None
            found += [r if isinstance(r, Rejected) else r.load(10_000) for r in records]
        for verdict in found:
            assert isinstance(verdict, Sample) or verdict.reason
            verdict.key.encode()
        return found


@given(st.integers(0, 6), CHANGES)
def test_a_picture_is_decoded_or_refused(which: int, changes):
    try:
        image = decode(changed(pictures()[which], changes), 10_000)
    except BadSampleError as fault:
        refused = fault.reason
    else:
        refused = None
        assert image.mode == "RGB"
        assert image.width * image.height <= 10_000
    assert refused in (None, "undecodable", "too_large", "animated")


@given(CHANGES)
def test_a_tar_with_changed_bytes_has_verdicts(changes):
    assert verdicts("a.tar", changed(tar(), changes))


@given(CHANGES)
def test_a_table_with_changed_bytes_has_verdicts(changes):
    found = verdicts("a.parquet", changed(table(), changes))
    assert found is None or found


LIST = json.dumps([
    {"image": "0.png", "caption": "a cat", "captions": ["b"], "truth": {"a": [1.5]}},
    {"image": "0.png", "caption": None},
    {"image": ["0.png"], "caption": "\ud800"},
]).encode()  # fmt: skip


@given(st.sampled_from(["a.json", "metadata.jsonl", "metadata.csv"]), CHANGES)
def test_a_list_with_changed_bytes_has_verdicts(name: str, changes):
    data = LIST if name == "a.json" else LIST[1:-1].replace(b"}, {", b"}\n{")
    if name == "metadata.csv":
        data = b'file_name,text\n0.png,a cat\n"0.png","a ""dog"""\n'
    found = verdicts(name, changed(data, changes))
    assert found is None or isinstance(found, list)
