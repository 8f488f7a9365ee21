"""A difference of two arms by another road: a linear mixed model, fitted by REML.

Kinds of prompts are fixed effects, prompts and seeds crossed random ones. Unlike
`ladder.experiments.statistics` it takes how seeds vary from the two arms alone, so that with few
seeds its interval is less sure. It stands in the report as a check.

Letters: S seeds, P prompts.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm
from jaxtyping import Float
from scipy import stats

from ladder.experiments.statistics import LEVEL
from ladder.experiments.strata import Strata


@dataclass(frozen=True)
class Fitted:
    """A mean difference with its 95% interval (normal approximation)."""

    mean: float
    low: float
    high: float
    converged: bool


def fit(values: Float[np.ndarray, "S P"], over: Strata) -> Fitted:
    """The weighted mean of the kinds' means of `values`, an arm's scores minus its control's."""
    seeds, prompts = values.shape
    rows = pd.DataFrame(
        {
            "value": values.ravel(),
            "kind": np.tile(over.kinds, seeds),
            "prompt": np.tile(np.arange(prompts), seeds),
            "seed": np.repeat(np.arange(seeds), prompts),
        }
    )
    crossed = {"seed": "0 + C(seed)", "prompt": "0 + C(prompt)"}
    model = sm.MixedLM.from_formula(
        "value ~ 0 + C(kind)", rows, groups=np.zeros(len(rows)), vc_formula=crossed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of variances at 0; whether it converged is told
        fitted = model.fit(reml=True, method=["powell", "lbfgs"])
    mean = float(over.weights @ fitted.fe_params)
    covariance = fitted.cov_params().to_numpy()[: len(over.weights), : len(over.weights)]
    half = float(stats.norm.ppf(1 - LEVEL / 2)) * float(
        np.sqrt(over.weights @ covariance @ over.weights)
    )
    return Fitted(mean, mean - half, mean + half, bool(fitted.converged))
