"""Rotary positions in seconds and pixels (Su et al. 2021), with LTX-2's fractional angles.

The angle of position p along one axis is θ^e · π/2 · (2p/max − 1), with e spread evenly over
[0, 1]. The frequencies of all axes are interleaved and cut over the heads in turn, so that each
head sees different ones. Frequencies are computed in float64 on the host.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import sharding

Pairs = Literal['split', 'interleaved']


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rope:
  """By what the channels of a head turn.

  Attributes:
    cos: float32 [..., K], of each channel's angle.
    sin: [..., K], with − for the first of a pair.
    pairs: which two channels turn together: k and k + K/2 (`split`), or 2k and 2k + 1.
  """

  cos: jax.Array
  sin: jax.Array
  pairs: Pairs = dataclasses.field(default='split', metadata={'static': True})

  @property
  def back(self) -> 'Rope':
    """The other way round."""
    return dataclasses.replace(self, sin=-self.sin)


def by(angle: jax.Array, pairs: Pairs = 'split') -> Rope:
  """The rotation of each pair by its angle [..., K/2]."""
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return Rope(_joined(cos, cos, pairs), _joined(-sin, sin, pairs), pairs)


def table(
  position: jax.Array, heads: int, head_dim: int, maximum: tuple[float, ...], theta: float,
  pairs: Pairs = 'split',
) -> Rope:  # fmt: skip
  """The rotation of queries and keys by their places.

  Args:
    position: float32 [B, T, 3]; the first `len(maximum)` coordinates are used.
    heads: H.
    head_dim: K, even.
    maximum: the largest expected value of each coordinate, in seconds and pixels.
    theta: ratio of the highest to the lowest frequency.
    pairs: which two channels turn together.

  Returns:
    of [B, T, H, K].
  """
  axes, count_of_pairs = len(maximum), heads * head_dim // 2
  count = count_of_pairs // axes
  frequency = np.power(theta, np.linspace(0.0, 1.0, count, dtype=np.float64)) * np.pi / 2
  fraction = 2 * position[..., :axes] / np.asarray(maximum, np.float32) - 1
  angle = fraction[..., None, :] * frequency.astype(np.float32)[:, None]
  angle = angle.reshape(*position.shape[:-1], count * axes)
  angle = jnp.pad(angle, ((0, 0), (0, 0), (count_of_pairs - count * axes, 0)))
  return by(angle.reshape(*position.shape[:-1], heads, head_dim // 2), pairs)


def rotate(x: jax.Array, rope: Rope) -> jax.Array:
  """Turns the pairs of x [..., K] by their angles, in float32 within, back in the type of x.

  On a TPU, whose registers have a place for each channel of a head, the two of a pair change places
  by a product with ones and zeros: half a head would fill a whole register, and be written to
  memory between. Elsewhere each half is turned by itself.
  """
  if sharding.platform() == 'tpu':
    return _by_product(x, rope)
  y, pairs = x.astype(jnp.float32), rope.pairs
  (first, second), (cos, _), (_, sin) = (_apart(part, pairs) for part in (y, rope.cos, rope.sin))
  return _joined(first * cos - second * sin, second * cos + first * sin, pairs).astype(x.dtype)


@jax.custom_vjp
def _by_product(x: jax.Array, rope: Rope) -> jax.Array:
  y = x.astype(jnp.float32) * rope.cos + _exchanged(x, rope.pairs) * rope.sin
  return y.astype(x.dtype)


# Gradients turn back; as the sum of those of both terms they would be rounded thrice.
_by_product.defvjp(
  lambda x, rope: (_by_product(x, rope), rope),
  lambda rope, cotangent: (_by_product(cotangent, rope.back), None),
)


def _exchanged(x: jax.Array, pairs: Pairs) -> jax.Array:
  """The other channel of each pair, in float32.

  Written as a batch of one, since a policy that keeps the products of layers keeps those without.
  """
  first, second = _apart(np.eye(x.shape[-1], dtype=np.float32), pairs)
  other = _joined(second, first, pairs).astype(x.dtype)
  made = {'precision': 'highest', 'preferred_element_type': jnp.float32}
  return jnp.einsum('n...k,nkl->n...l', x[None], other[None], **made)[0]


def _apart(x, pairs: Pairs):
  """[..., K] → the first and the second of each pair, [..., K/2] each."""
  if pairs == 'split':
    return jnp.split(x, 2, axis=-1)
  apart = x.reshape(*x.shape[:-1], -1, 2)
  return apart[..., 0], apart[..., 1]


def _joined(first: jax.Array, second: jax.Array, pairs: Pairs) -> jax.Array:
  """[..., K/2], of the first and the second of each pair → [..., K]."""
  if pairs == 'split':
    return jnp.concatenate([first, second], axis=-1)
  return jnp.stack([first, second], axis=-1).reshape(*first.shape[:-1], -1)
