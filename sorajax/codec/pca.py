"""A linear transform fitted on data, and the normalisation of what it gives (Pearson 1901)."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

DENSE = 6144  # values of a vector, from which on the vectors are kept and no covariance is made


@dataclasses.dataclass(frozen=True)
class Pca:
  """vector [N] ↔ latent [C], C ≤ N; exact both ways at C = N.

  Attributes:
    mean: float32 [N], subtracted first.
    basis: float32 [N, C], orthonormal columns in order of falling variance.
    scale: float32 [C], by which each coefficient is divided.
    spread: float32 [C], the standard deviation of each channel of the latents.
  """

  mean: np.ndarray
  basis: np.ndarray
  scale: np.ndarray
  spread: np.ndarray

  def arrays(self) -> dict[str, np.ndarray]:
    """The fields by name, to be saved."""
    return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

  @classmethod
  def restored(cls, arrays: dict[str, np.ndarray]) -> 'Pca':
    """From what `arrays` gave, other names aside; `KeyError` where one is missing."""
    return cls(*(arrays[field.name] for field in dataclasses.fields(cls)))

  def encode(self, vectors: np.ndarray) -> np.ndarray:
    """[..., N] → [..., C]."""
    return (vectors - self.mean) @ (self.basis / self.scale)

  def decode(self, latents: np.ndarray) -> np.ndarray:
    """[..., C] → [..., N]."""
    return latents @ (self.basis * self.scale).T + self.mean


def fit(batches: Iterable[np.ndarray], channels: int, whiten: float, rms: float = 1.0) -> Pca:
  """Fits on batches of vectors in one pass, in memory of N² or, for large N, of all vectors.

  Args:
    batches: arrays [M, N].
    channels: C.
    whiten: how far the channels' spreads are made equal: a coefficient of spread s is divided by
      s^whiten. 1 gives every channel spread 1; 0 keeps the spectrum, so that fine detail drowns in
      noise first, as it does in pixels.
    rms: root mean square of the latents over all channels.

  Raises:
    ValueError: no vectors, or fewer dimensions (or, for large N, vectors) than channels.
  """
  given = iter(batches)
  first = next(given, np.zeros((0, 0)))
  if not first.size:
    raise ValueError('there is nothing to fit a linear codec on')
  if channels > first.shape[1]:
    raise ValueError(f'{channels} channels are more than the {first.shape[1]} values of a patch')
  principal = _by_covariance if first.shape[1] <= DENSE else _by_vectors
  mean, variance, basis = principal(itertools.chain([first], given), channels)
  spread = np.sqrt(np.maximum(variance, 1e-8 * max(variance[0], 1e-12)))
  scale = spread**whiten
  scale *= np.sqrt(np.mean((spread / scale) ** 2)) / rms
  arrays = (mean, basis, scale, spread / scale)
  return Pca(*(a.astype(np.float32) for a in arrays))


Principal = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean [N], variances [C], directions [N, C]


def _by_covariance(batches: Iterable[np.ndarray], channels: int) -> Principal:
  count, total, square = 0, np.zeros(()), np.zeros(())
  for batch in batches:
    rows = batch.astype(np.float64)
    count, total, square = count + len(rows), total + rows.sum(axis=0), square + rows.T @ rows
  mean = total / count
  covariance, last = square / count - np.outer(mean, mean), len(mean) - 1
  variance, basis = scipy.linalg.eigh(covariance, subset_by_index=[last - channels + 1, last])
  return mean, variance[::-1], basis[:, ::-1]


def _by_vectors(batches: Iterable[np.ndarray], channels: int) -> Principal:
  rows = np.concatenate([batch.astype(np.float32) for batch in batches])
  if channels >= len(rows):
    raise ValueError(f'{len(rows)} patches are too few to fit {channels} channels on')
  mean = rows.mean(axis=0, dtype=np.float64)
  rows -= mean.astype(np.float32)
  start = np.random.default_rng(0).standard_normal(min(rows.shape))
  _, singular, basis = scipy.sparse.linalg.svds(rows, channels, v0=start)
  order = np.argsort(-singular)
  return mean, singular[order] ** 2 / len(rows), basis[order].T
