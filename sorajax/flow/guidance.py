"""Guidance: velocity functions in, a velocity function out.

Everything is stated on v. At one x and t the data estimate x − t·v is linear in v, so guiding v
and guiding the data estimate are the same.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sorajax.flow.solver import Velocity


def classifier_free(
  conditional: Velocity, unconditional: Velocity, scale: Mapping[str, float], rescale: float = 0.0
) -> Velocity:
  """v_u + scale·(v_c − v_u), with a scale for each stream (Ho & Salimans 2022, equation 6).

  Args:
    conditional: the velocity that has read the prompt.
    unconditional: the velocity that has not.
    scale: modality → scale; 1 is no guidance.
    rescale: how far the guided data estimate's spread is brought back to the conditional one's,
      from 0 to 1 (Lin et al. 2024, section 3.4).
  """

  def velocity(x, t):
    with_text, without = conditional(x, t), unconditional(x, t)
    guided = {m: without[m] + scale[m] * (with_text[m] - without[m]) for m in with_text}
    if not rescale:
      return guided
    return {m: _rescaled(x[m], t, guided[m], with_text[m], rescale) for m in guided}

  return velocity


def _rescaled(x, t, guided, plain, share):
  data, wanted = x - t * guided, x - t * plain
  axes = tuple(range(1, data.ndim))
  ratio = wanted.std(axis=axes, keepdims=True) / (data.std(axis=axes, keepdims=True) + 1e-6)
  factor = share * ratio + (1 - share)
  return (x - factor * data) / jnp.maximum(t, 1e-6)


def in_interval(guided: Velocity, plain: Velocity, low: float, high: float) -> Velocity:
  """`guided` where low ≤ t ≤ high, `plain` elsewhere (Kynkäänniemi et al. 2024)."""

  def velocity(x, t):
    inside = (low <= t) & (t <= high)
    return jax.lax.cond(inside, guided, plain, x, t)

  return velocity
