"""Guidance: velocity functions of (x, t) in, one out; x and t have an entry for every modality.

Everything is stated on v. At one x and t the data estimate x − t·v is linear in v, so guiding v
and guiding the data estimate are the same.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from sorajax.flow.solver import Velocity

LEAST_TIME = 1e-3  # nearer to 0 what rescaling does to v drowns in rounding


def guided(
  plain: Velocity,
  weaker: Sequence[tuple[Velocity, Mapping[str, float]]],
  rescale: float = 0.0,
  counted: Mapping[str, jax.Array] | None = None,
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
      to 1 (Lin et al. 2024, section 3.4). That moves every token, those too that are given.
    counted: modality → bool, as v broadcasts; what of v counts for the spread. None counts all.
  """

  def velocity(x, t):
    v = plain(x, t)
    out = v
    for other, push in weaker:
      less = other(x, t)
      out = {m: out[m] + push[m] * (v[m] - less[m]) for m in v}
    if not rescale:
      return out
    among = lambda m: None if counted is None else counted[m]
    return {m: _rescaled(x[m], t[m], out[m], v[m], rescale, among(m)) for m in out}

  return velocity


def _rescaled(x, t, guided, plain, share, counted):
  t = jnp.maximum(t, LEAST_TIME)
  data, wanted = x - t * guided, x - t * plain
  axes = tuple(range(1, data.ndim))
  spread = lambda of: of.std(axis=axes, where=counted, keepdims=True)
  factor = share * spread(wanted) / jnp.maximum(spread(data), 1e-6) + (1 - share)
  return (x - factor * data) / t


def in_interval(guided: Velocity, plain: Velocity, low: float, high: float) -> Velocity:
  """`guided` where low ≤ t ≤ high for one modality at least, `plain` elsewhere.

  Kynkäänniemi et al. 2024.
  """

  def velocity(x, t):
    inside = jnp.stack([(low <= of_one) & (of_one <= high) for of_one in t.values()])
    return jax.lax.cond(inside.any(), guided, plain, x, t)

  return velocity
