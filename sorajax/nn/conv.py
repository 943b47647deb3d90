"""One space-time convolution; the forms that it takes are equal, and some are faster.

On a CPU, 2-D convolutions of the frames are 2 to 6 times faster than XLA's 3-D one, and minimal
filtering along time is 1.4 times faster than those (33×32×32×128, 3×3×3, two cores: 196 → 144 ms).
Along rows and columns too it would be 1.5 to 3 times, but would compile 5 times as long.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp

from sorajax import sharding

Padding = Literal['zeros', 'reflect', 'edge']


def conv(
  x: jax.Array, kernel: jax.Array, padding: Padding = 'zeros', *, form: str | None = None
) -> jax.Array:
  """Valid along time, of the same size in space, without bias.

  Args:
    x: [B, F, H, W, C]; may be split over devices along B.
    kernel: [kt, kh, kw, C, C'], odd in space, whole on every device; cast to the type of `x`.
    padding: how space goes on beyond its edges; `reflect` does not repeat the edge.
    form: a name of `FORMS`; chosen by platform and shape where it is None.

  Returns:
    [B, F − kt + 1, H, W, C'] in the type of `x`; no frames where F < kt.
  """
  kt, kh, kw = kernel.shape[:3]
  if x.shape[1] < kt:
    return jnp.zeros_like(x, shape=(x.shape[0], 0, *x.shape[2:4], kernel.shape[4]))
  margin = ((kh // 2, kh // 2), (kw // 2, kw // 2))
  if padding != 'zeros' and (kh > 1 or kw > 1):
    x = jnp.pad(x, ((0, 0), (0, 0), *margin, (0, 0)), mode=padding)
    margin = ((0, 0), (0, 0))
  form = form or choose(jax.default_backend(), x, kernel.shape)
  return FORMS[form](x, kernel.astype(x.dtype), margin)


def choose(platform: str, x: jax.Array, kernel: tuple[int, ...]) -> str:
  """The form that is fastest for x [B, F, H, W, C] and a kernel [kt, kh, kw, C, C']."""
  if kernel[1:3] == (1, 1):
    return 'matmul'
  if platform != 'cpu':
    return 'plain'
  here = jax.typeof(x).sharding.shard_shape(x.shape)  # what one device holds
  if math.prod(here) < x.shape[4] ** 2:  # the kernel is the larger part; it stays as it lies
    return 'shifted'
  exact = x.dtype == jnp.float32  # minimal filtering costs about two bits
  return 'minimal' if kernel[0] == 3 < x.shape[1] and exact else 'stacked'


def _plain(x, kernel, margin):
  numbers = ('NDHWC', 'DHWIO', 'NDHWC')
  pads = ((0, 0), *margin)
  return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), pads, dimension_numbers=numbers)


def _matmul(x, kernel, margin):
  """Of a kernel that reaches along time alone: one product with the frames side by side."""
  del margin
  kt, _, _, C, out = kernel.shape
  n = x.shape[1] - kt + 1
  x = jnp.concatenate([x[:, i : i + n] for i in range(kt)], axis=-1) if kt > 1 else x
  return jnp.einsum('bfhwc,cd->bfhwd', x, kernel.reshape(kt * C, out))


def _shifted(x, kernel, margin):
  """The sum over kt of 2-D convolutions of the frames, each shifted by one more."""
  n = x.shape[1] - len(kernel) + 1
  return _sum([_on_frames(x[:, i : i + n], of, margin) for i, of in enumerate(kernel)])


def _stacked(x, kernel, margin):
  """One 2-D convolution gives what a frame adds to kt answers; each answer is a sum over frames."""
  kt, kh, kw, C, out = kernel.shape
  n = x.shape[1] - kt + 1
  y = _on_frames(x, kernel.transpose(1, 2, 3, 0, 4).reshape(kh, kw, C, kt * out), margin)
  return _sum([y[:, i : i + n, ..., i * out : (i + 1) * out] for i in range(kt)])


def _sum(parts):
  return sum(p.astype(jnp.float32) for p in parts).astype(parts[0].dtype)


def _minimal(x, kernel, margin):
  """Two answers of 3 frames take 4 convolutions instead of 6 (Winograd 1980).

  For networks: Lavin & Gray 2016, whose F(2, 3) this is, along time alone.
  """
  n = x.shape[1] - 2
  if n % 2:
    x = jnp.concatenate([x, x[:, -1:]], axis=1)
  a, b, c, d = (x[:, i : i + n : 2] for i in range(4))
  first, second, third = kernel
  kernels = first, (first + second + third) / 2, (first - second + third) / 2, third
  parts = zip((a - c, b + c, c - b, b - d), kernels)
  a, b, c, d = (_on_frames(part, of, margin) for part, of in parts)
  y = jnp.stack([a + b + c, b - c - d], axis=2)
  return sharding.reshape(y, (len(y), 2 * y.shape[1], *y.shape[3:]))[:, :n]


FORMS: Mapping[str, Callable] = MappingProxyType(
  {
    'plain': _plain,
    'shifted': _shifted,
    'stacked': _stacked,
    'minimal': _minimal,
    'matmul': _matmul,
  }
)


def _on_frames(x, kernel, margin):
  """A 2-D convolution of every frame: [B, F, H, W, C], [kh, kw, C, C'] → [B, F, H', W', C']."""
  B, F, H, W, C = x.shape
  flat = sharding.reshape(x, (B * F, H, W, C))
  bare = not any(map(any, margin))  # XLA takes up to 4 times as long on a CPU; a row more cures it
  margin = ((0, 1), (0, 0)) if bare else margin
  numbers = ('NHWC', 'HWIO', 'NHWC')
  y = jax.lax.conv_general_dilated(flat, kernel, (1, 1), margin, dimension_numbers=numbers)
  y = y[:, :-1] if bare else y
  return sharding.reshape(y, (B, F, *y.shape[1:]))
