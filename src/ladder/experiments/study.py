"""A study: which notebook is run with which arms and seeds, and what is compared with what.

experiments/studies/<name>.yaml holds one. A preset changes some of it: fewer arms, fewer steps.
Each run of a study is its notebook, executed with one arm and one seed. Hypotheses are about the
study without a preset; experiments/studies/PREREGISTERED.md holds them for readers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ladder.config.layers import ConfigError, read_file

STUDIES = Path("experiments/studies")
MAIN = "main"
"""The name of a study as it is without a preset."""


@dataclass(frozen=True)
class Planned:
    """A run to come: the parameters of a notebook."""

    preset: str
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """For people: the values of its parameters."""
        return ", ".join(f"{key} {value}" for key, value in self.parameters.items())


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Preset(_Strict):
    """What of a study is different; None for what isn't. Parameters are laid over the study's."""

    arms: list[str] | None = None
    seeds: list[int] | None = None
    control: str | None = None
    outcomes: list[str] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class Hypothesis(_Strict):
    """A claim that an arm is better than others, fixed before any run of the study.

    It is a claim about all of `than`: it is only as sure as its weakest comparison.
    """

    question: str
    """As the report asks it."""
    claim: str
    """In one sentence."""
    better: str
    """The arm that is claimed to be better."""
    than: list[str]
    """The arms that it is compared with."""
    outcome: str
    """By which the verdict is made: a metric, or "A - B" for more gain in metric A than in B."""
    matters: float = Field(gt=0)
    """The smallest gain that matters, in the unit of the outcome."""
    expect: Literal["better", "no worse"] = "better"
    """No worse: the loss, if there is any, is smaller than what matters."""
    secondary: list[str] = Field(default_factory=list)
    """Outcomes that are shown beside it and decide nothing."""


class Study(_Strict):
    """Every arm with every seed."""

    notebook: str
    """From the root of the repository; it has the parameters arm, seed, profile and folder."""
    analysis: Literal["scores", "faults"]
    """What is compared: scores with the control's, or what monitors do to faults."""
    arms: list[str]
    """Names of `experiments/arms/*.yaml`."""
    seeds: list[int]
    control: str
    """The arm that others are compared with."""
    outcomes: list[str]
    """The metrics that are compared, each a mean over groups of prompts."""
    hypotheses: dict[str, Hypothesis] = Field(default_factory=dict)
    """By name. They are one family, and corrected together."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the notebook, equal in all runs."""
    presets: dict[str, Preset] = Field(default_factory=dict)
    name: str = ""
    preset: str = MAIN

    @model_validator(mode="after")
    def _check(self) -> Study:
        for name in ("arms", "seeds", "outcomes"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be some that differ from each other, got {values}")
        if self.control not in self.arms:
            raise ValueError(f"control must be one of the arms, got {self.control!r}")
        for name, one in self.hypotheses.items():
            unknown = [arm for arm in (one.better, *one.than) if arm not in self.arms]
            if unknown or not one.than or one.better in one.than:
                raise ValueError(
                    f"hypotheses.{name} must compare different arms of the study, got "
                    f"{one.better!r} with {one.than}"
                )
        if taken := {"arm", "seed", "folder"} & {*self.parameters}:
            raise ValueError(f"parameters must leave {min(taken)} to the study, got {taken}")
        return self

    @classmethod
    def read(cls, name: str, preset: str = MAIN, root: Path = Path()) -> Study:
        """The study `name` as its preset changes it; all its presets are checked.

        Raises ConfigError, naming file and key, for one that is unknown, missing or wrong.
        """
        path = root / STUDIES / f"{name}.yaml"
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        if name not in known:
            raise ConfigError(_none_such("study", name, known))
        found = {MAIN: cls._valid(read_file(path) | {"name": name}, str(path))}
        for one, changes in found[MAIN].presets.items():
            values = found[MAIN].model_dump() | changes.model_dump(exclude_none=True)
            values["parameters"] = found[MAIN].parameters | changes.parameters
            values["hypotheses"] = {}
            found[one] = cls._valid(values | {"preset": one}, f"{path}: presets.{one}")
        if preset not in found:
            raise ConfigError(f"{path}: {_none_such('preset', preset, found)}")
        return found[preset]

    @classmethod
    def _valid(cls, values: dict[str, Any], source: str) -> Study:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # A misspelt key first: it is why another one is missing.
            first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
            key = ".".join(map(str, first["loc"]))
            said = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                nested = {"presets": Preset, "hypotheses": Hypothesis}
                known = nested.get(str(first["loc"][0]), cls).model_fields
                said = _none_such("key", key, known)
            elif first["type"] == "missing":
                said = f"{key} is missing"
            elif key:
                said = f"{key}: {said}, got {first['input']!r}"
            raise ConfigError(f"{source}: {said}") from error

    def runs(self) -> list[Planned]:
        """Every run, seed after seed, so that all arms have the first one early."""
        return [
            Planned(self.preset, {**self.parameters, "arm": arm, "seed": seed})
            for seed in self.seeds
            for arm in self.arms
        ]


def _none_such(what: str, name: str, known: Iterable[str]) -> str:
    """That there is no such thing, what comes close, and what there is."""
    close = get_close_matches(name, known := [*known], 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"no {what} {name!r}{hint}; there are: {', '.join(known)}"
