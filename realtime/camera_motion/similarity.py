"""A similarity through pairs of points of which some are wrong. In complex numbers it is `end = a * start + b`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engines.types import F32

F64: TypeAlias = npt.NDArray[np.float64]

_GUESSES = np.random.default_rng(0).random((2, 40))
"""Which two pairs each guess is made of, as shares of their number. With half of the pairs wrong, all fail once in 10^5."""

_ROUNDS = 3


def fit_similarity(start: F32, end: F32, agree_px: float) -> tuple[F64, npt.NDArray[np.bool_]]:
    """Shift, turn and zoom that most pairs agree on, and which pairs do.

    start, end: (K, 2), K >= 2, where each point was and is. agree_px: a pair that is farther off than this has no say.
    Returns the (2, 3) float64 matrix from start to end, and (K,) bool. Pure: the guesses are the same in every call.
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
