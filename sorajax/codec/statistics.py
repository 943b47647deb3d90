"""By what latents are made equal, channel by channel."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from sorajax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Statistics:
  """What latents are made equal by: (latent − mean) / scale.

  Attributes:
    mean: float32 [C].
    scale: float32 [C].
    spread: float32 [C], the standard deviation of what comes out.
  """

  mean: np.ndarray
  scale: np.ndarray
  spread: np.ndarray


def unmeasured(channels: int) -> Statistics:
  """Those that change nothing."""
  one = np.ones(channels, np.float32)
  return Statistics(np.zeros(channels, np.float32), one, one)


def measured(latents: Iterable[np.ndarray], channels: int) -> Statistics:
  """Those that give the latents [..., C] mean 0 in every channel and mean square 1 over all.

  Channels keep their proportions, so that one that hardly matters is not blown up.

  Raises:
    UserError: there are no latents.
  """
  count, total, squares = 0, np.zeros(channels), np.zeros(channels)
  for some in latents:
    flat = some.reshape(-1, channels).astype(np.float64)
    count, total, squares = count + len(flat), total + flat.sum(0), squares + (flat**2).sum(0)
  if not count:
    raise UserError('0 latents to measure and at least 1 is needed; give clips that hold some')
  mean = total / count
  deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
  scale = np.full(channels, max(np.sqrt(np.mean(deviation**2)), 1e-6))
  arrays = (a.astype(np.float32) for a in (mean, scale, deviation / scale))
  return Statistics(*arrays)
