"""Raw sets to what may be trained on: integrity, exact duplicates, a held-out split, an account.

Every record of every raw set is either kept, in our own shards, or rejected under one reason, and
the report says which: kept + rejected = read, per shard and in total. The split is chosen by a
hash of the pixels, never by position, so that a repeated picture never lies on both sides, in
this set or in another.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import xxhash
from PIL import Image
from tqdm import tqdm

from ladder.config import Curation
from ladder.data.records import Record, Rejected
from ladder.data.samples import Sample, ShardWriter
from ladder.data.sources import open_raw

SHARD_SAMPLES = 1000
"""Samples in one curated shard."""


@dataclass(frozen=True)
class Kept:
    """A sample that may be trained on."""

    sample: Sample
    split: str
    content: str
    """Hash of the decoded pixels and, of an edit, the captions."""


@dataclass
class Account:
    """How many records of a shard were read, kept, and rejected for which reason."""

    read: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict:
        rejected = self.reasons.total()
        reasons = dict(sorted(self.reasons.items()))
        return {"read": self.read, "kept": self.kept, "rejected": rejected, "reasons": reasons}


def curate(raw: Path, out: Path, curation: Curation) -> None:
    """Curates every set (folder) of `raw` into `out`/SET/{train,evaluation}.

    Beside them: manifest.json (counts and the hash of each set and of all) and report.json (counts
    by set, shard and reason; key and shard of all that was rejected).
    Errors: no sets; a set in an unknown layout; `out` already holds shards.
    """
    sets = sorted(folder for folder in raw.iterdir() if folder.is_dir())
    if not sets:
        raise ValueError(f"{raw} must hold a folder for each raw set, but has none")
    manifest: dict = {"sets": {}, "hash": ""}
    report: dict = {"sets": {}, "total": {}}
    for folder in sets:
        entry, account = _curate_set(folder, out / folder.name, curation)
        manifest["sets"][folder.name] = entry
        report["sets"][folder.name] = account
    hashes = {name: entry["hash"] for name, entry in manifest["sets"].items()}
    manifest["hash"] = xxhash.xxh3_128_hexdigest(json.dumps(hashes).encode())
    report["total"] = _total(list(report["sets"].values()))
    for name, content in (("manifest.json", manifest), ("report.json", report)):
        (out / name).write_text(json.dumps(content, indent=2) + "\n")


def judge(record: Record | Rejected, curation: Curation, seen: set[str]) -> Kept | Rejected:
    """The verdict on one record; `seen` holds the contents of what was kept before it."""
    loaded = record.load(curation.maximum_pixels) if isinstance(record, Record) else record
    if isinstance(loaded, Rejected):
        return loaded
    pictures = (*loaded.sources, loaded.target)
    if min(min(picture.size) for picture in pictures) < curation.minimum_side:
        return Rejected(record.key, record.shard, "too_small")
    pixels = _hash(pictures)
    split = "evaluation" if _share(pixels) < curation.evaluation_share else "train"
    if loaded.sources:
        pixels.update(json.dumps(loaded.captions).encode())
    content = pixels.hexdigest()
    if curation.duplicates and content in seen:
        return Rejected(record.key, record.shard, "duplicate")
    # A key is unique in its shard only, so the shard becomes part of it.
    key = f"{Path(record.shard).stem}/{record.key}"
    return Kept(dataclasses.replace(loaded, key=key), split, content)


def _curate_set(folder: Path, out: Path, curation: Curation) -> tuple[dict, dict]:
    """Writes one set; returns its entries in the manifest and in the report."""
    shards = open_raw(folder)
    accounts: dict[str, Account] = {}
    rejections: list[Rejected] = []
    seen: set[str] = set()
    data = xxhash.xxh3_128()
    with (
        ShardWriter(out / "train", SHARD_SAMPLES) as train,
        ShardWriter(out / "evaluation", SHARD_SAMPLES) as evaluation,
        tqdm(desc=f"curate {folder.name}", unit="sample") as bar,
    ):
        writers = {"train": train, "evaluation": evaluation}
        listed = 0
        for number, shard in enumerate(shards, 1):
            accounts.setdefault(shard.name, Account())
            records = shard.records()
            listed += len(records)
            bar.total = round(listed * len(shards) / number)  # the rest taken to be as long
            for record in records:
                account = accounts.setdefault(record.shard, Account())
                account.read += 1
                verdict = judge(record, curation, seen)
                if isinstance(verdict, Rejected):
                    account.reasons[verdict.reason] += 1
                    rejections.append(verdict)
                else:
                    account.kept += 1
                    seen.add(verdict.content)
                    writers[verdict.split].write(verdict.sample)
                    data.update(_fingerprint(verdict))
                kept = train.samples + evaluation.samples
                bar.set_postfix_str(f"{kept} kept, {len(rejections)} rejected", refresh=False)
                bar.update()
    entry = {split: writer.samples for split, writer in writers.items()}
    shard_accounts = {name: account.as_json() for name, account in accounts.items()}
    report = {
        **_total(list(shard_accounts.values())),
        "shards": shard_accounts,
        "rejections": [dataclasses.asdict(rejection) for rejection in rejections],
    }
    return {**entry, "hash": data.hexdigest()}, report


def _hash(pictures: tuple[Image.Image, ...]) -> xxhash.xxh3_128:
    hasher = xxhash.xxh3_128()
    for picture in pictures:
        hasher.update(str(picture.size).encode())
        hasher.update(picture.tobytes())
    return hasher


def _share(hasher: xxhash.xxh3_128) -> float:
    """Where the hash lies between 0 and 1."""
    return hasher.intdigest() / 2**128


def _fingerprint(kept: Kept) -> bytes:
    sample = kept.sample
    facts = [kept.split, sample.key, kept.content, sample.captions, sample.truth]
    return json.dumps(facts).encode()


def _total(accounts: list[dict]) -> dict:
    """The sum of accounts in the form of `Account.as_json`."""
    total = Account()
    for account in accounts:
        total.read += account["read"]
        total.kept += account["kept"]
        total.reasons.update(account["reasons"])
    return total.as_json()
