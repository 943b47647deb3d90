"""A linear transform fitted on data, and the normalisation of what it gives (Pearson 1901)."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import scipy.linalg


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


def fit(batches: Iterable[np.ndarray], channels: int, whiten: float) -> Pca:
  """Fits on batches of vectors, one pass, memory of N².

  Args:
    batches: arrays [M, N].
    channels: C.
    whiten: how far the channels' spreads are made equal: a coefficient of spread s is divided by
      s^whiten. 1 gives every channel spread 1; 0 keeps the spectrum, so that fine detail drowns in
      noise first, as it does in pixels. In any case the mean square over channels is 1.

  Raises:
    ValueError: no vectors, or fewer dimensions than channels.
  """
  count, total, square = 0, np.zeros(()), np.zeros(())
  for batch in batches:
    rows = batch.astype(np.float64)
    count, total, square = count + len(rows), total + rows.sum(axis=0), square + rows.T @ rows
  if not count:
    raise ValueError('there is nothing to fit a linear codec on')
  mean = total / count
  if channels > len(mean):
    raise ValueError(f'{channels} channels are more than the {len(mean)} values of a patch')
  covariance = square / count - np.outer(mean, mean)
  last = len(mean) - 1
  variance, basis = scipy.linalg.eigh(covariance, subset_by_index=[last - channels + 1, last])
  variance, basis = variance[::-1], basis[:, ::-1]
  spread = np.sqrt(np.maximum(variance, 1e-8 * max(variance[0], 1e-12)))
  scale = spread**whiten
  scale *= np.sqrt(np.mean((spread / scale) ** 2))
  arrays = (mean, basis, scale, spread / scale)
  return Pca(*(a.astype(np.float32) for a in arrays))
