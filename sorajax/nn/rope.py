"""Rotary positions in seconds and pixels (Su et al. 2021), with LTX-2's fractional angles.

The angle of position p along one axis is θ^e · π/2 · (2p/max − 1), with e spread evenly over
[0, 1]. The frequencies of all axes are interleaved and cut over the heads in turn, so that each
head sees different ones. Frequencies are computed in float64 on the host.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

Rope = tuple[jax.Array, jax.Array]


def table(
  position: jax.Array, heads: int, head_dim: int, maximum: tuple[float, ...], theta: float
) -> Rope:
  """The cosines and sines by which queries and keys turn.

  Args:
    position: float32 [B, T, 3]; the first `len(maximum)` coordinates are used.
    heads: H.
    head_dim: K, even.
    maximum: the largest expected value of each coordinate, in seconds and pixels.
    theta: ratio of the highest to the lowest frequency.

  Returns:
    cos and sin, float32 [B, T, H, K/2].
  """
  axes, pairs = len(maximum), heads * head_dim // 2
  count = pairs // axes
  frequency = np.power(theta, np.linspace(0.0, 1.0, count, dtype=np.float64)) * np.pi / 2
  fraction = 2 * position[..., :axes] / np.asarray(maximum, np.float32) - 1
  angle = fraction[..., None, :] * frequency.astype(np.float32)[:, None]
  angle = angle.reshape(*position.shape[:-1], count * axes)
  angle = jnp.pad(angle, ((0, 0), (0, 0), (pairs - count * axes, 0)))
  angle = angle.reshape(*position.shape[:-1], heads, head_dim // 2)
  return jnp.cos(angle), jnp.sin(angle)


def rotate(x: jax.Array, rope: Rope) -> jax.Array:
  """Turns the pair (x[k], x[k + K/2]) by its angle: [B, T, H, K] → the same, in float32 within."""
  cos, sin = rope
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def rotate_neighbours(x: jax.Array, rope: Rope) -> jax.Array:
  """Turns the pair (x[2k], x[2k + 1]) by its angle: [B, T, H, K] → the same, in float32 within."""
  cos, sin = rope
  pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
  first, second = pairs[..., 0], pairs[..., 1]
  turned = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.reshape(x.shape).astype(x.dtype)


ROTATIONS: Mapping[str, Callable[[jax.Array, Rope], jax.Array]] = MappingProxyType(
  {'split': rotate, 'interleaved': rotate_neighbours}
)
