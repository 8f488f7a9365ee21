"""A frozen model by reference: where it is, which revision, and a hash of what it contains.

A ladder doesn't copy its MLLM into its folder: it names it, and refuses to run on another one.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download

CONTENT = ("*.safetensors", "*.json", "*.jinja", "*.txt")
"""The files that make a model: weights, configuration, tokenizer, template."""


@dataclass(frozen=True)
class Reference:
    """A model in a local folder, or on the Hugging Face hub at a revision."""

    source: str
    """The folder as given, or the hub id."""
    revision: str | None
    """The hub's commit; None for a folder."""
    digest: str
    """SHA-256 over the names and bytes of the files in CONTENT."""
    folder: Path
    """Where the files are on this machine."""

    @classmethod
    def of(cls, source: str | Path) -> Reference:
        """Find a folder, or `id` or `id@revision` on the hub (downloaded unless cached).

        Raises FileNotFoundError for what is neither.
        """
        if Path(source).is_dir():
            return cls(str(source), None, content_hash(Path(source)), Path(source))
        name, _, revision = str(source).partition("@")
        if name.count("/") != 1 or name.startswith((".", "/")):
            raise FileNotFoundError(f"a model is a folder or a hub id owner/name, got {source}")
        folder = Path(
            snapshot_download(name, revision=revision or None, allow_patterns=list(CONTENT))
        )
        return cls(name, folder.name, content_hash(folder), folder)

    def as_dict(self, folder: Path) -> dict[str, str | None]:
        """For a configuration in `folder`, relative to which a local model is named."""
        source = self.source
        if self.revision is None:
            source = Path(os.path.relpath(self.folder.resolve(), folder.resolve())).as_posix()
        return {"source": source, "revision": self.revision, "sha256": self.digest}

    @classmethod
    def read(cls, values: dict[str, str | None], folder: Path) -> Reference:
        """The model that a configuration in `folder` names.

        Raises FileNotFoundError if it isn't there and ValueError if its content is another.
        """
        source, revision = values["source"], values["revision"]
        found = cls.of(f"{source}@{revision}" if revision else os.path.normpath(folder / source))
        if found.digest != values["sha256"]:
            raise ValueError(
                f"the ladder in {folder} needs the model of SHA-256 {values['sha256']}, got "
                f"{found.digest} in {found.folder}"
            )
        return found


def folder_hash(folder: Path) -> str:
    """SHA-256 of all files of CONTENT in a folder and those below it, with where they are."""
    total = hashlib.sha256()
    for path in sorted({file for pattern in CONTENT for file in folder.rglob(pattern)}):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return total.hexdigest()


def content_hash(folder: Path) -> str:
    """SHA-256 of a model's files, whatever their dates and whatever else lies beside them.

    Raises FileNotFoundError for a folder without .safetensors files.
    """
    files = sorted({file for pattern in CONTENT for file in folder.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        raise FileNotFoundError(f"a model's folder holds .safetensors files, got {folder}")
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name}\0{digest}\n".encode())
    return total.hexdigest()
