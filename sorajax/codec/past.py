"""What a causal network carries from one piece of a clip to the next."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


class Past:
  """Hands every causal layer the end of what it saw before, and collects what it sees now.

  Layers are visited in the same order for every piece, so the carried arrays are a plain list, and
  coding a piece is a pure function (parameters, piece, carried) → (output, carried).

  Attributes:
    first: whether the clip begins with this piece.
    carried: for the next piece, one array a layer.
  """

  def __init__(self, carried: Sequence[jax.Array] | None = None):
    self.first = carried is None
    self.carried: list[jax.Array] = []
    self._before = iter(carried or ())

  def lead(self, x: jax.Array, count: int) -> jax.Array:
    """`x` [B, F, ...] with `count` frames of its past in front: at first, its first frame."""
    if not count:
      return x
    before = jnp.repeat(x[:, :1], count, axis=1) if self.first else next(self._before)
    joined = jnp.concatenate([before, x], axis=1)
    self.carried.append(joined[:, joined.shape[1] - count :])
    return joined
