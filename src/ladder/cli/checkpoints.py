"""The command line's verbs about what others have published: benchmarks' scores and a checkpoint.

Each imports what it needs when it runs, so that `ladder --help` answers at once.
"""

from __future__ import annotations

import argparse
import json


def score(options: argparse.Namespace) -> None:
    """Score stored observations of a published benchmark: as its own scorer does, and mended."""
    from ladder.evaluation.scorers.score_file import score

    found = score(
        options.benchmark,
        options.observations,
        options.reference,
        options.complete,
        options.per_item,
    )
    print(json.dumps(found, indent=None if options.json else 1))


def import_published(options: argparse.Namespace) -> None:
    """Bring a published checkpoint into our format."""
    from ladder.inference.published_checkpoint import import_published

    print(import_published(options.folder, options.out))


def export_published(options: argparse.Namespace) -> None:
    """Write an imported ladder as a published checkpoint again."""
    from ladder.inference.published_checkpoint import export_published

    export_published(options.folder, options.out)
    print(options.out)


def verify_published(options: argparse.Namespace) -> None:
    """Compare ours with a recording of the published code: the relative error of each tensor."""
    from ladder.inference.published_checkpoint import verify_published

    errors = verify_published(options.folder)
    lines = [f"{name:32}{error:10.1e}" for name, error in errors.items()]
    print(json.dumps(errors) if options.json else "\n".join(lines))
