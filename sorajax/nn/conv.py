"""One space-time convolution; the forms that it takes are equal, and some are faster.

On a CPU, 2-D convolutions of the frames are 2 to 6 times faster than XLA's 3-D one. Minimal
filtering along time takes half as many of their products, and down the rows too a third. Where a
picture is small, one matrix product is up to 30 times faster than those.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import sharding
from sorajax.nn import param

SMALL = 16  # pixels of a picture that is taken apart into windows
ROWS = 8  # of a picture that minimal filtering is worth it down
NARROW = 48  # channels, of which it is not worth it down the rows: moving them takes too long
FEW = 1024  # positions, for which a kernel takes longer to change than to use
Padding = Literal['zeros', 'reflect', 'edge']


def conv(
  x: jax.Array,
  kernel: jax.Array,
  padding: Padding = 'zeros',
  *,
  still: int = 0,
  split: sharding.Axes = (),
  form: str | None = None,
) -> jax.Array:
  """Valid along time, of the same size in space, without bias.

  Args:
    x: [B, F, H, W, C]; may be split over devices along B.
    kernel: [kt, kh, kw, C, C'], odd in space, whole on every device; cast to the type of `x`.
    padding: how space goes on beyond its edges; `reflect` does not repeat the edge.
    still: how many frames at the beginning equal the one after them; they need not be read.
    split: the mesh axes over which x is this device's share of the rows; see
      `sharding.over_picture_rows`.
    form: a name of `FORMS`; chosen by platform and shape where it is None.

  Returns:
    [B, F − kt + 1, H, W, C'] in the type of `x`; no frames where F < kt.
  """
  kt, kh, kw = kernel.shape[:3]
  if x.shape[1] < kt:
    return jnp.zeros_like(x, shape=(x.shape[0], 0, *x.shape[2:4], kernel.shape[4]))
  still = min(still, kt - 1)
  if split and kh > 1:
    x = _with_rows_around(x, kh // 2, padding, split)
  margin = ((0, 0) if split else (kh // 2, kh // 2), (kw // 2, kw // 2))
  if padding != 'zeros' and (kh > 1 or kw > 1):
    x = jnp.pad(x, ((0, 0), (0, 0), *margin, (0, 0)), mode=padding)
    margin = ((0, 0), (0, 0))
  kernel, platform = kernel.astype(x.dtype), sharding.platform()
  form = form or choose(platform, x, kernel.shape)
  count = x.shape[1] - kt + 1
  one_left = count == 1 or (form in MINIMAL and count % len(FOUR[-1]) == 1)
  if form == 'plain' or kt == 1 or not one_left:
    return FORMS[form](x, kernel, margin)
  # A clip is one frame and groups of frames: by itself the one takes fewer products.
  seen, taps = _side_by_side(x[:, :kt], kernel, still)
  one = FORMS[choose(platform, seen, taps.shape)](seen, taps, margin)
  rest = [FORMS[form](x[:, 1:], kernel, margin)] if count > 1 else []
  return jnp.concatenate([one, *rest], axis=1)


def _side_by_side(x, kernel, still):
  """As many frames as the kernel has, as channels of one; frames that stand still count once."""
  taps = [sum(kernel[1 : still + 1], kernel[0]), *kernel[still + 1 :]]
  frames = [x[:, i : i + 1] for i in range(still, len(kernel))]
  return jnp.concatenate(frames, axis=-1), jnp.concatenate(taps, axis=-2)[None]


def _with_rows_around(x, rows, padding, split):
  """A share of a picture with the rows above and below it, beyond the edges as `padding` says."""
  above, below = sharding.neighbours(x, rows, split)
  if padding != 'zeros':
    beyond = jnp.pad(x, ((0, 0), (0, 0), (rows, rows), (0, 0), (0, 0)), mode=padding)
    topmost, lowest = sharding.at_edges(split)
    above = jnp.where(topmost, beyond[:, :, :rows], above)
    below = jnp.where(lowest, beyond[:, :, -rows:], below)
  return jnp.concatenate([above, x, below], axis=2)


def choose(platform: str, x: jax.Array, kernel: tuple[int, ...]) -> str:
  """The form that is fastest for x [B, F, H, W, C] and a kernel [kt, kh, kw, C, C']."""
  if kernel[1:3] == (1, 1):
    return 'columns'
  if platform != 'cpu':
    return 'plain'
  here = sharding.shape_here(x)
  if math.prod(here[2:4]) <= SMALL or math.prod(here[:4]) < FEW:
    return 'columns'
  exact = x.dtype == jnp.float32  # minimal filtering costs about four bits
  if kernel[0] != 3 or x.shape[1] <= 3 or not exact:
    return 'stacked'
  worth_it = kernel[1] == 3 and here[2] >= ROWS and min(kernel[3:]) > NARROW
  return 'minimal' if worth_it else 'minimal_in_time'


def _plain(x, kernel, margin):
  numbers = ('NDHWC', 'DHWIO', 'NDHWC')
  pads = ((0, 0), *margin)
  return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), pads, dimension_numbers=numbers)


def _columns(x, kernel, margin):
  """One matrix product with all that a window covers side by side."""
  kt, kh, kw, _, out = kernel.shape
  if any(map(any, margin)):
    x = jnp.pad(x, ((0, 0), (0, 0), *margin, (0, 0)))
  n, H, W = (size - k + 1 for size, k in zip(x.shape[1:4], (kt, kh, kw)))
  places = np.ndindex(kt, kh, kw)
  parts = [x[:, f : f + n, y : y + H, z : z + W] for f, y, z in places]
  x = jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
  equation, kernel = 'bfhwc,cd->bfhwd', kernel.reshape(-1, out)
  if sharding.alone() and param.in_16_bits(x):
    return sharding.like(param.rounded(equation, x, kernel), x)
  return jnp.einsum(equation, x, kernel)


def _stacked(x, kernel, margin):
  """One 2-D convolution gives what a frame adds to kt answers; each answer is a sum over frames."""
  kt, kh, kw, C, out = kernel.shape
  n = x.shape[1] - kt + 1
  y = _on_frames(x, kernel.transpose(1, 2, 3, 0, 4).reshape(kh, kw, C, kt * out), margin)
  return _sum([y[:, i : i + n, ..., i * out : (i + 1) * out] for i in range(kt)])


def _sum(parts):
  return sum(p.astype(jnp.float32) for p in parts).astype(parts[0].dtype)


def _minimal_in_time(x, kernel, margin):
  frames = lambda x, kernel: _on_frames(x, kernel, margin)
  # What reads the answer would else do all this again.
  return jax.lax.optimization_barrier(_filtered(x, kernel, 1, frames, FOUR))


def _minimal(x, kernel, margin):
  """Along time and down the rows; what is left are convolutions along rows."""
  x = jnp.pad(x, ((0, 0), (0, 0), margin[0], (0, 0), (0, 0)))
  rows = lambda x, kernel: _on_frames(x, kernel[None], ((0, 0), margin[1]))
  frames = lambda x, kernel: _filtered(x, kernel, 2, rows, TWO)
  return jax.lax.optimization_barrier(_filtered(x, kernel, 1, frames, FOUR))


def _filtered(x, kernel, axis, convolve, maps):
  """n answers of 3 places along `axis` take n + 2 convolutions instead of 3n (Winograd 1980).

  For networks: Lavin & Gray 2016, whose F(n, 3) this is. The first axis of `kernel` lies along
  `axis`, the others are left to `convolve`.
  """
  into, of_kernel, out_of = maps
  n, count = len(out_of), x.shape[axis] - 2
  groups = -(-count // n)
  x = jnp.pad(x, [(0, n * groups - count if i == axis else 0) for i in range(x.ndim)])
  ends = [(i, i + n * (groups - 1) + 1) for i in range(n + 2)]
  places = [jax.lax.slice_in_dim(x, *end, n, axis) for end in ends]
  parts = zip(_combined(into, places), _combined(of_kernel, list(kernel)))
  y = jnp.stack(_combined(out_of, [convolve(*part) for part in parts]), axis=axis + 1)
  y = sharding.reshape(y, (*y.shape[:axis], n * groups, *y.shape[axis + 2 :]))
  return jax.lax.slice_in_dim(y, 0, count, axis=axis)


def _filters(points: tuple[float, ...], answers: int, taps: int) -> tuple[np.ndarray, ...]:
  """What makes `answers` of `taps` frames each with the fewest products (Toom 1963, Cook 1966).

  Polynomials are multiplied by their values at `points` and at infinity; filtering is that
  multiplication transposed.

  Returns:
    What the frames, the kernel and the products are multiplied by.
  """

  def values(terms: int) -> np.ndarray:
    at_infinity = np.eye(terms)[-1:]
    return np.concatenate([np.vander(points, terms, increasing=True), at_infinity])

  into = np.linalg.inv(values(answers + taps - 1)).T
  scale = 2 ** np.rint(np.log2(np.linalg.norm(into, axis=1, keepdims=True)))
  return (into / scale).round(12), values(taps) * scale, values(answers).T


# These points lose half as many digits as 0, ±1 and ±2 do.
FOUR = _filters((0, 2 / 3, -2 / 3, 3 / 2, -3 / 2), answers=4, taps=3)
TWO = _filters((0, 1, -1), answers=2, taps=3)  # four would cost two bits more than this


def _combined(rows, parts):
  return [sum(float(c) * part for c, part in zip(row, parts) if c) for row in rows]


FORMS: Mapping[str, Callable] = MappingProxyType(
  {
    'plain': _plain,
    'stacked': _stacked,
    'minimal': _minimal,
    'minimal_in_time': _minimal_in_time,
    'columns': _columns,
  }
)
MINIMAL = ('minimal', 'minimal_in_time')


def _on_frames(x, kernel, margin):
  """A 2-D convolution of every frame: [B, F, H, W, C], [kh, kw, C, C'] → [B, F, H', W', C']."""
  B, F, H, W, C = x.shape
  flat = sharding.reshape(x, (B * F, H, W, C))
  # Without a margin XLA takes up to 4 times as long on a CPU; a row more cures it.
  bare = len(kernel) > 1 and not any(map(any, margin))
  margin = ((0, 1), (0, 0)) if bare else margin
  numbers = ('NHWC', 'HWIO', 'NHWC')
  y = jax.lax.conv_general_dilated(flat, kernel, (1, 1), margin, dimension_numbers=numbers)
  y = y[:, :-1] if bare else y
  return sharding.reshape(y, (B, F, *y.shape[1:]))
