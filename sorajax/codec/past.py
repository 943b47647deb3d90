"""What causal layers carry from one chunk of time to the next.

A network that asks its `Past` for the frames before each layer, in the same order at every call,
codes chunk after chunk as it codes the whole: a step is a pure function
(parameters, chunk, carried) → (result, carried).
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp


class Past:
  """Hands out carried frames in the order of the calls and collects the new ones.

  Attributes:
    first: whether nothing came before this chunk.
    carried: what the next chunk needs, complete once the network has run.
  """

  def __init__(self, carried: Sequence[jax.Array] | None = None):
    self.first = carried is None
    self.carried: list[jax.Array] = []
    self._given = iter(carried or ())

  def take(
    self, x: jax.Array, count: int, axis: int, first: Literal['zeros', 'repeat'] = 'zeros',
    stride: int = 1,
  ) -> jax.Array:  # fmt: skip
    """`x` with the past in front, for windows of `count` + 1 frames every `stride` frames.

    Args:
      x: a chunk of at least one frame.
      count: frames in front of the very first frame.
      axis: that of time.
      first: what lies before the first frame: zeros, or that frame again and again.
      stride: of the windows, at most `count` + 1. What no window has passed yet is carried.

    Returns:
      As many frames as lie between the first window's start and the end of `x`.
    """
    if not count and stride == 1:
      return x
    if self.first:
      edge = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
      edge = jnp.zeros_like(edge) if first == 'zeros' else edge
      past = jnp.concatenate([edge] * count, axis=axis)
    else:
      past = next(self._given)
    whole = jnp.concatenate([past, x], axis=axis)
    windows = max((whole.shape[axis] - count - 1) // stride + 1, 0)
    self.carried.append(jax.lax.slice_in_dim(whole, windows * stride, None, axis=axis))
    return whole
