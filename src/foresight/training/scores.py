"""Figures that training and evaluation share, on NumPy arrays."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata


def effective_rank(latent: np.ndarray) -> float:
    """exp of the entropy of the normalised singular values of (N, D) (Roy & Vetterli 2007)."""
    singular = np.linalg.svd(latent - latent.mean(0), compute_uv=False)
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share + 1e-12)).sum()))


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The probability that a score of (N,) is above one of (M,); a tie counts half.

    The area under the ROC curve (Hanley & McNeil 1982); NaN if one of the two is empty.
    """
    if not (len(positive) and len(negative)):
        return math.nan
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() / len(positive) - (len(positive) + 1) / 2) / len(negative))
