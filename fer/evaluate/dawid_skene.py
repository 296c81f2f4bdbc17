"""True labels from noisy votes, with the skill of each annotator: Dawid and Skene 1979.

Expectation-maximisation (10.2307/2346806): each annotator has a confusion matrix, each category a
prevalence, and the true label of a picture is latent. Started from the shares of votes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.evaluate.agreement import Matrix

MOST_STEPS = 500
CLOSE = 1e-9  # change of the mean log-likelihood per picture that ends the iteration
SMALL = 0.01  # pseudo-count of each cell, so that no vote is impossible


@dataclass(frozen=True)
class TrueLabels:
    """The fitted model.

    Attributes:
        posterior: float64, N x C; the probability of each category; prevalence without votes.
        prevalence: float64, C.
        skill: float64, A x C x C; row: the true category, column: what the annotator says.
        log_likelihood: of the votes, nats.
    """

    posterior: NDArray[np.float64]
    prevalence: NDArray[np.float64]
    skill: NDArray[np.float64]
    log_likelihood: float


def dawid_skene(votes: Matrix, categories: int, smoothing: float = SMALL) -> TrueLabels:
    """Return the fit to one vote a picture and annotator; int64, N x A; negative without a vote."""
    given = np.stack([votes == one for one in range(categories)], axis=2)
    return fit_dawid_skene(given.astype(np.float64), smoothing)


def fit_dawid_skene(given: NDArray[np.float64], smoothing: float = SMALL) -> TrueLabels:
    """Return the fit.

    Args:
        given: float64, N x A x C; how often each annotator gave each category. At least one vote.
        smoothing: added to every cell of the confusion counts; 0 is maximum likelihood.
    """
    categories = given.shape[2]
    counts = given.sum(axis=1)
    total = counts.sum(axis=1, keepdims=True)
    if not total.any():
        raise ValueError("no votes")
    posterior = np.where(total > 0, counts / np.maximum(total, 1), counts.sum(0) / counts.sum())
    judged = total[:, 0] > 0
    before = -np.inf
    for _ in range(MOST_STEPS):
        prevalence = posterior[judged].mean(axis=0)
        table = np.einsum("nt,nac->atc", posterior, given) + smoothing
        row = table.sum(axis=2, keepdims=True)
        skill = np.where(row > 0, table / np.maximum(row, 1e-300), 1 / categories)
        with np.errstate(divide="ignore"):
            logs, start = np.log(skill), np.log(prevalence)
        # 0 * -inf: a vote that was not given says nothing, whatever its probability
        score = start + np.einsum("nac,atc->nt", given, np.maximum(logs, -1e9))
        top = score.max(axis=1, keepdims=True)
        weight = np.exp(score - top)
        posterior = weight / weight.sum(axis=1, keepdims=True)
        likelihood = float((top[:, 0] + np.log(weight.sum(axis=1)))[judged].sum())
        if likelihood - before < CLOSE * max(int(judged.sum()), 1):
            break
        before = likelihood
    return TrueLabels(posterior, prevalence, skill, likelihood)
