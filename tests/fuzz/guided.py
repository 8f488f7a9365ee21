"""A property of `test_parsers.py` under input that coverage leads: `make fuzz`.

    python -m tests.fuzz.guided test_a_tar_is_listed_as_far_as_it_goes -max_total_time=150

Needs atheris (tests/fuzz/requirements.lock), whose options these are. An input that breaks the
property is written to a file `crash-...`, and kept by hypothesis, which tries it first next time.
"""

from __future__ import annotations

import importlib
import sys


def main(name: str, options: list[str]) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["ladder", "tarfile", "ruamel"]):
        parsers = importlib.import_module("tests.fuzz.test_parsers")
    property_ = getattr(parsers, name)
    atheris.Setup([sys.argv[0], *options], property_.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
