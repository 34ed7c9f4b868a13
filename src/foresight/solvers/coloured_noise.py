"""Noise that is coloured along the horizon of a plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def colouring(horizon: int, exponent: float) -> NDArray[np.float32]:
    """The matrix (H, H) that colours white noise (H, ...), leaving every step's variance at 1.

    Power falls with frequency to the exponent (Timmer and Koenig 1995; used for planning by Pinneri
    et al. 2020): with 0 steps are independent, with 2 neighbours move together, so that samples are
    drives rather than jitter. Periods up to two horizons are in it, for a drift across the horizon.
    """
    length = 2 * horizon
    frequency = np.arange(horizon + 1) / length
    frequency[0] = frequency[1]
    covariance = np.fft.irfft(frequency**-exponent, length)[:horizon]
    apart = np.abs(np.subtract.outer(np.arange(horizon), np.arange(horizon)))
    return np.linalg.cholesky(covariance[apart] / covariance[0]).astype(np.float32)
