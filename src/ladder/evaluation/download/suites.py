"""Where the prompt sets of published benchmarks live, and the hashes of their files.

None is shipped with this code: some have no licence. The hashes in `registries/NAME.txt` were taken
of the files of the named commits, in copies of their repositories: SHA-256 of the content, or, of a
file whose content wasn't at hand (DPG-Bench's table), the SHA-1 that git itself gives it in that
commit. GEdit-Bench's pictures are on a hub of data sets at no commit that is known here: what is
fetched is checked against the hashes that the hub states, and its commit is written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

GITHUB = "https://raw.githubusercontent.com"
REGISTRIES = Path(__file__).parent / "registries"


@dataclass(frozen=True)
class PromptSet:
    """Where the files of a benchmark are, at which commit, and what is known of them."""

    name: str
    repository: str
    """Owner and name on the host, in front of the commit."""
    commit: str
    files: Mapping[str, str] = field(default_factory=dict)
    """`sha256:` or `git:` and a hash in hexadecimal, by path in the repository."""
    host: str = GITHUB
    data_set: str | None = None
    """What belongs to it on the hub of data sets."""

    @property
    def page(self) -> str:
        """Where a person can look at it."""
        return f"https://github.com/{self.repository}"

    def url(self, path: str) -> str:
        return f"{self.host}/{self.repository}/{self.commit}/{quote(path)}"


def registry(name: str) -> dict[str, str]:
    """The hashes by path of the file `registries/NAME.txt`."""
    lines = (REGISTRIES / f"{name}.txt").read_text().split("\n")
    pairs = (line.partition(" ") for line in lines if line)
    return {path: expected for expected, _, path in pairs}


HOMES = {
    "geneval": ("djghosh13/geneval", "16382b084e1f9ceeefed3a8cb102044e67486dd8"),
    "dpg": ("TencentQQGYLab/ELLA", "025f650e9b36b9603d606042635d98da09e870de"),
    "tiif": ("A113N-W3I/TIIF-Bench", "1a4f3f81c2b3b4dee167ffa3b0252b5d85bfc0bf"),
    "imgedit": ("PKU-YuanGroup/ImgEdit", "c14480ac5e7b622e08cd8c46f96624a48eb9ab46"),
    "imgedit-uge": ("PKU-YuanGroup/ImgEdit", "547185d12c08267a862b94248576e1746e479937"),
    "gedit": ("stepfun-ai/Step1X-Edit", "570eba6ebda0c45c013983a483afbf2fd12bfcbc"),
    "wise": ("PKU-YuanGroup/WISE", "eb51174483a5de2e34e8614cf9dfb3319ee7fcd0"),
    "wise-verified": ("PKU-YuanGroup/WISE", "eb51174483a5de2e34e8614cf9dfb3319ee7fcd0"),
    "geneval2": ("facebookresearch/GenEval2", "a6e82d2289e8d418f27f0adee77908b07060eea3"),
    "longtext": ("X-Omni-Team/X-Omni", "2b8237bb3789638c290eeda3e83ed81bd3652c3b"),
    "longtext-zh": ("X-Omni-Team/X-Omni", "2b8237bb3789638c290eeda3e83ed81bd3652c3b"),
    "rise": ("PhoenixZ810/RISEBench", "5f226519b25c005bb32fb83864bbd1845ab85c23"),
}
"""Repository and commit by the names of the benchmarks. GenEval's hash is also that of the file
that its own `prompts/create_prompts.py` writes with its default seed."""
DATA_SETS = {"gedit": "stepfun-ai/GEdit-Bench"}
PROMPT_SETS = {
    name: PromptSet(name, repository, commit, registry(name), data_set=DATA_SETS.get(name))
    for name, (repository, commit) in HOMES.items()
}
"""By the names of the benchmarks."""
