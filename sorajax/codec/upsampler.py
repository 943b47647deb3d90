"""Latents of pictures → latents of larger pictures, or of more of them a second.

As the latent upsamplers of LTX-2 (Lightricks 2026): residual blocks, a convolution whose channels
become positions, residual blocks. It reads latents as the autoencoder makes them, not normalised.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.codec import plain
from sorajax.codec.video_blocks import unfold
from sorajax.errors import UserError
from sorajax.nn import layers, param
from sorajax.nn.conv import conv

GROUPS = 32  # of the channels that are normed together
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
RATIOS = ((2, 1), (3, 2), (4, 1), (3, 4))


@dataclasses.dataclass(frozen=True)
class UpsamplerConfig:
  """Its size, and what it does.

  Attributes:
    channels: C of a latent.
    width: of the blocks; a multiple of 32.
    blocks: on either side of the change of size.
    ratio: (p, q), height and width become p/q times as large; (1, 1) where they stay.
    doubled: whether frames become twice as many, less the first.
    deep: whether blocks convolve over time too.
  """

  channels: int
  width: int
  blocks: int
  ratio: tuple[int, int] = (2, 1)
  doubled: bool = False
  deep: bool = True

  def __post_init__(self) -> None:
    if self.width < GROUPS or self.width % GROUPS:
      raise ValueError(f'width is {self.width}; give a multiple of {GROUPS}')
    if self.ratio not in (*RATIOS, (1, 1)):
      raise ValueError(f'ratio is {self.ratio}; known: {RATIOS}')
    if self.ratio == (1, 1) and not self.doubled:
      raise ValueError('neither frames become more nor pictures larger; choose one')
    if self.doubled and self.ratio not in ((1, 1), (2, 1)):
      raise ValueError(f'ratio is {self.ratio} where frames are doubled; (1, 1) and (2, 1) do')

  @property
  def stride(self) -> tuple[int, int, int]:
    """By how much the convolution's channels multiply frames, rows and columns."""
    return (2 if self.doubled else 1, self.ratio[0], self.ratio[0])

  def before(
    self, size: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
  ) -> tuple[int, int, int]:
    """(f, h, w) of the latents that become `size`; each covers `stride` of frames and pixels.

    Raises:
      UserError: a size that it cannot make, with the nearest that it can.
    """
    up, down = self.ratio
    frames, *sides = size
    if self.doubled and frames % 2 == 0:
      less, more = (1 + (n - 1) * stride[0] for n in (frames - 1, frames + 1))
      raise UserError(
        f'{frames} frames of latents cannot come of half as many; ask for {less} or {more} frames'
      )
    for side, unit in zip(sides, stride[1:]):
      less, more = max(side - side % up, up), side - side % up + up
      if side % up:
        raise UserError(
          f'{side * unit} pixels in height or width cannot come of {down}/{up} as many; ask for '
          f'{less * unit} or {more * unit}'
        )
    height, width = (side * down // up for side in sides)
    return ((frames + 1) // 2 if self.doubled else frames, height, width)


class Conv(nnx.Module):
  """A convolution with bias that keeps the size, beyond which all is 0: [B, F, H, W, C]."""

  def __init__(self, inputs: int, outputs: int, deep: bool, *, rngs: nnx.Rngs):
    shape = (3 if deep else 1, 3, 3, inputs, outputs)
    self.kernel = param.normal(rngs, shape, (None,) * 5, scale=math.prod(shape[:4]) ** -0.5)
    self.bias = param.zeros((outputs,), (None,))

  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.kernel[...]
    beyond = len(kernel) // 2
    x = jnp.pad(x, ((0, 0), (beyond, beyond), (0, 0), (0, 0), (0, 0)))
    return conv(x, kernel) + self.bias[...].astype(x.dtype)


class GroupNorm(nnx.Module):
  """Groups of channels normed over all positions, or over those of a frame (Wu & He 2018)."""

  def __init__(self, width: int, deep: bool):
    self.scale, self.bias = param.ones((width,), (None,)), param.zeros((width,), (None,))
    self.deep = deep

  def __call__(self, x: jax.Array) -> jax.Array:
    B, F, H, W, C = x.shape
    rows = (B, F * H * W) if self.deep else (B * F, H * W)
    y = x.astype(jnp.float32).reshape(*rows, GROUPS, C // GROUPS)
    y = y.swapaxes(1, 2).reshape(rows[0], GROUPS, -1)
    y = layers.layer_norm(y, eps=1e-5).reshape(rows[0], GROUPS, rows[1], C // GROUPS)
    y = y.swapaxes(1, 2).reshape(x.shape)
    return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


class Block(nnx.Module):
  """silu(x + norm(conv(silu(norm(conv(x))))))."""

  def __init__(self, width: int, deep: bool, *, rngs: nnx.Rngs):
    self.first = Conv(width, width, deep, rngs=rngs)
    self.first_norm = GroupNorm(width, deep)
    self.second = Conv(width, width, deep, rngs=rngs)
    self.second_norm = GroupNorm(width, deep)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = jax.nn.silu(self.first_norm(self.first(x)))
    return jax.nn.silu(x + self.second_norm(self.second(y)))


class Upsampler(nnx.Module):
  """[B, f, h, w, C] → [B, f', h', w', C]."""

  def __init__(self, config: UpsamplerConfig, *, rngs: nnx.Rngs):
    c = config
    blocks = lambda: layers.in_order(Block(c.width, c.deep, rngs=rngs) for _ in range(c.blocks))
    self.enter = Conv(c.channels, c.width, c.deep, rngs=rngs)
    self.norm = GroupNorm(c.width, c.deep)
    self.before = blocks()
    self.change = Conv(c.width, c.width * math.prod(c.stride), c.doubled, rngs=rngs)
    self.after = blocks()
    self.leave = Conv(c.width, c.channels, c.deep, rngs=rngs)
    self.config = config

  def __call__(self, x: jax.Array) -> jax.Array:
    c = self.config
    x = jax.nn.silu(self.norm(self.enter(x)))
    for block in layers.each(self.before):
      x = block(x)
    x = unfold(self.change(x), c.stride)[:, c.stride[0] - 1 :]
    x = thinned(x, c.ratio[1])
    for block in layers.each(self.after):
      x = block(x)
    return self.leave(x)


def thinned(x: jax.Array, factor: int) -> jax.Array:
  """Every `factor`-th row and column of pictures [B, F, H, W, C], smoothed before."""
  if factor == 1:
    return x
  for axis in (2, 3):
    pad = [(0, 0)] * 5
    pad[axis] = (2, 2)
    wide, size = jnp.pad(x, pad), x.shape[axis]
    slices = [jax.lax.slice_in_dim(wide, i, i + size, stride=factor, axis=axis) for i in range(5)]
    x = jnp.stack(slices, axis=-1) @ BINOMIAL.astype(x.dtype)
  return x


@dataclasses.dataclass(frozen=True)
class Enlarger:
  """An upsampler between normalised latents of one codec.

  Attributes:
    config: its size.
    params: its parameters.
    mean: float32 [C] of the codec's latents before they are normalised.
    scale: float32 [C], by which they are then divided.
  """

  config: UpsamplerConfig
  params: plain.Params
  mean: np.ndarray
  scale: np.ndarray

  def __call__(self, latents: np.ndarray) -> np.ndarray:
    """float32 [B, f, h, w, C] → float32 [B, f', h', w', C], whole on every process."""
    x = sharding.everywhere(np.asarray(latents, np.float32))
    made = _enlarged(self.config, self._params, (self.mean, self.scale), x)
    return np.asarray(jax.device_get(made))

  @functools.cached_property
  def _params(self) -> plain.Params:
    return sharding.everywhere(self.params)


@functools.partial(jax.jit, static_argnames='config')
def _enlarged(config, params, statistics, x):
  mean, scale = statistics
  made = plain.joined(Upsampler, config, params)(x * scale + mean)
  return (made - mean) / scale
