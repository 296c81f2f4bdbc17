"""Agreement of models beyond chance: pairwise Cohen's kappa and Fleiss' kappa of all."""

import numpy as np


def kappas(predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return pairwise Cohen's kappa of models, float64, M x M; NaN where undefined.

    Args:
        predicted: integers, M x N.
    """
    onehot = np.eye(classes, dtype=np.float32)[predicted]  # counts below 2**24 are exact
    models, pictures, _ = onehot.shape
    flat = onehot.reshape(models, -1)
    agreed = (flat @ flat.T).astype(np.float64) / pictures
    shares = onehot.mean(axis=1, dtype=np.float64)
    chance = shares @ shares.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1, (agreed - chance) / (1 - chance), np.nan)


def between_configs(predicted: np.ndarray, config: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean kappa between the runs of each pair of configurations, K x K.

    The diagonal is between different seeds of one configuration; NaN with one seed.

    Args:
        predicted: integers, M x N, of M runs.
        config: integers, M; index of each run's configuration.
    """
    found = kappas(predicted, classes)
    np.fill_diagonal(found, np.nan)
    member = np.eye(config.max() + 1)[config]  # M x K
    defined = np.isfinite(found)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((member.T @ np.where(defined, found, 0.0) @ member)
                          / (member.T @ defined @ member))


def fleiss(predicted: np.ndarray, classes: int) -> float | None:
    """Return Fleiss' kappa of all models (M x N); None for one model or one predicted class."""
    from statsmodels.stats.inter_rater import fleiss_kappa

    counts = np.stack([(predicted == name).sum(axis=0) for name in range(classes)], axis=1)
    if len(predicted) < 2 or (counts.sum(axis=0) > 0).sum() < 2:
        return None
    return float(fleiss_kappa(counts))
