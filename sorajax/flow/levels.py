"""Which noise levels to train on and to sample through."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

LevelSampler = Callable[[jax.Array, tuple[int, ...]], jax.Array]  # (key, shape) → levels in [0, 1]


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Levels spread evenly over [0, 1)."""
  return jax.random.uniform(key, shape)


def logit_normal(mean: float, std: float) -> LevelSampler:
  """sigmoid of N(mean, std²) (Esser et al. 2024, section 3.1)."""
  return lambda key, shape: jax.nn.sigmoid(mean + std * jax.random.normal(key, shape))


def mixed(first: LevelSampler, second: LevelSampler, share: float) -> LevelSampler:
  """`second` for a share of the draws, `first` for the rest."""

  def sample(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    key_a, key_b, key_choice = jax.random.split(key, 3)
    choice = jax.random.uniform(key_choice, shape) < share
    return jnp.where(choice, second(key_b, shape), first(key_a, shape))

  return sample


def shifted(sampler: LevelSampler, mu: float) -> LevelSampler:
  """The draws of `sampler`, moved towards noise by `mu`."""
  return lambda key, shape: shift(sampler(key, shape), mu)


def shift(t, mu: float):
  """e^μ / (e^μ + 1/t − 1): long sequences need more noise (Esser et al. 2024, section 5.3.2)."""
  return math.exp(mu) * t / (math.exp(mu) * t + (1 - t))


def shift_of_length(
  tokens: int, low: tuple[float, float] = (1024, 0.95), high: tuple[float, float] = (4096, 2.05)
) -> float:
  """μ on the line through two (tokens, μ), not clamped (LTX-2's scheduler)."""
  slope = (high[1] - low[1]) / (high[0] - low[0])
  return low[1] + slope * (tokens - low[0])


def times(steps: int, mu: float = 0.0, start: float = 1.0, last: float = 0.0) -> np.ndarray:
  """The times of a sampling run: float32 [steps + 1], falling from `start` to 0.

  Args:
    steps: of the solver.
    mu: by which times move towards noise; see `shift`.
    start: the first one.
    last: if not 0, 1 − t is scaled so that the last time before 0 is this one (LTX-Video's
      scheduler). Near noise, 1 − t has no digits left in float32, so all this is in float64.
  """
  found = shift(np.linspace(1.0, 0.0, steps + 1), mu)
  if last and steps > 1:
    factor = (1 - found[-2]) / (1 - last)
    found = np.append(1 - (1 - found[:-1]) / factor, 0.0)
  return (start * found).astype(np.float32)
