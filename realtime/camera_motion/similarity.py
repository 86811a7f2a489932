"""Fitting a similarity to pairs of points with outliers. In complex numbers it is `end = a * start + b`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.types import F32, F64, Bools

_GUESSES = np.random.default_rng(0).random((2, 40))
"""The two pairs of each guess, as shares of their number. With half of the pairs wrong, all guesses fail once in 10^5."""

_ROUNDS = 3


def fit_similarity(start: F32, end: F32, agree_px: float) -> tuple[F64, Bools]:
    """The shift, rotation and zoom that most pairs agree on, and which pairs agree.

    start, end: (K, 2), K >= 2, positions of each point. agree_px: pairs with a larger error are outliers.
    Returns the (2, 3) float64 matrix from start to end, and (K,) bool. Pure: every call uses the same guesses.
    Source: MSAC (Torr and Zisserman, 2000) for the guess, then reweighted least squares with Tukey's weights.
    """
    z, w = _as_complex(start), _as_complex(end)
    i, j = (_GUESSES * len(z)).astype(np.intp)
    apart = z[j] - z[i]
    far = np.abs(apart) > agree_px
    if not far.any():
        return np.eye(2, 3), np.zeros(len(z), np.bool_)
    i, j = i[far], j[far]
    turn = (w[j] - w[i]) / apart[far]
    error2 = _squared(turn[:, np.newaxis] * (z - z[i][:, np.newaxis]) + w[i][:, np.newaxis] - w)
    error2 = error2[np.minimum(error2, agree_px**2).sum(axis=1).argmin()]
    a, b = complex(1), complex(0)
    for _ in range(_ROUNDS):
        weight = np.square(np.maximum(1 - error2 / agree_px**2, 0))
        weight /= weight.sum()
        z_mean, w_mean = weight @ z, weight @ w
        around = z - z_mean
        a = complex((weight * around.conj()) @ (w - w_mean)) / max(float(weight @ _squared(around)), 1e-9)
        b = complex(w_mean - a * z_mean)
        error2 = _squared(a * z + b - w)
    matrix = np.array(((a.real, -a.imag, b.real), (a.imag, a.real, b.imag)))
    return matrix, error2 < agree_px**2


def _as_complex(points: F32) -> npt.NDArray[np.complex128]:
    return points[:, 0] + 1j * points[:, 1].astype(np.float64)


def _squared(numbers: npt.NDArray[np.complex128]) -> F64:
    return np.square(numbers.real) + np.square(numbers.imag)
