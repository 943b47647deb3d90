"""Guidance: velocity functions of (x, t) in, one out; x and t have an entry for every modality.

Everything is stated on v. At one x and t the data estimate x − t·v is linear in v, so guiding v
and guiding the data estimate are the same.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from sorajax.flow.solver import Velocity


def guided(
  plain: Velocity, weaker: Sequence[tuple[Velocity, Mapping[str, float]]], rescale: float = 0.0
) -> Velocity:
  """v + Σ push·(v − v_w): away from what velocities say that know less, or are worse at it.

  One that has not read the prompt makes this classifier-free guidance of scale 1 + push (Ho &
  Salimans 2022, equation 6); one whose streams do not attend to each other LTX-2's guidance of
  modalities; one without some of its self-attention spatiotemporal skip guidance (Hyung et al.
  2024).

  Args:
    plain: v.
    weaker: each v_w, and modality → its push; 0 is no guidance.
    rescale: how far the guided data estimate's spread is brought back to the plain one's, from 0
      to 1 (Lin et al. 2024, section 3.4).
  """

  def velocity(x, t):
    v = plain(x, t)
    out = v
    for other, push in weaker:
      less = other(x, t)
      out = {m: out[m] + push[m] * (v[m] - less[m]) for m in v}
    if not rescale:
      return out
    return {m: _rescaled(x[m], t[m], out[m], v[m], rescale) for m in out}

  return velocity


def _rescaled(x, t, guided, plain, share):
  data, wanted = x - t * guided, x - t * plain
  axes = tuple(range(1, data.ndim))
  ratio = wanted.std(axis=axes, keepdims=True) / (data.std(axis=axes, keepdims=True) + 1e-6)
  factor = share * ratio + (1 - share)
  return (x - factor * data) / jnp.maximum(t, 1e-6)


def in_interval(guided: Velocity, plain: Velocity, low: float, high: float) -> Velocity:
  """`guided` where low ≤ t ≤ high for one modality at least, `plain` elsewhere.

  Kynkäänniemi et al. 2024.
  """

  def velocity(x, t):
    inside = jnp.stack([(low <= of_one) & (of_one <= high) for of_one in t.values()])
    return jax.lax.cond(inside.any(), guided, plain, x, t)

  return velocity
