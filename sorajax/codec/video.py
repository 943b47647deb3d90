"""A convolutional autoencoder over space and time: pixels ↔ latents.

The first frame alone is an image. Pixels are [B, F, H, W, 3] in [-1, 1] with F = 1 + n·stride_t,
latents [B, f, h, w, C]. LTX-2.0's autoencoder is one of its sizes (HaCohen et al. 2026).
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax import sharding
from sorajax.codec import plain
from sorajax.codec.patches import PatchCodec
from sorajax.codec.video_blocks import (
  Block,
  Carried,
  Conv,
  Down,
  DownMap,
  Frames,
  Norm,
  ShiftBlock,
  Up,
  fold,
  led,
  patches,
  pixel_norm,
  unfold,
)
from sorajax.codec.video_config import HalfConfig, Stage, VideoConfig
from sorajax.errors import UserError
from sorajax.nn.layers import each, in_order

Params = plain.Params
ROWS = 2  # of latents, that a device's share has at least, so that they can be reflected
FIRST_LOGVAR = -5.0  # of latents that are about as large as 1 from the first
GAIN = 2.5  # of pixels, whose deviation in [-1, 1] is less than a half


class Encoder(nnx.Module):
  """Pixels [B, F, H, W, 3] → mean and log-variance, each [B, f, h, w, C]."""

  def __init__(self, c: VideoConfig, *, rngs: nnx.Rngs):
    half = c.encoder
    conv = functools.partial(Conv, kernel=half.kernels.change, padding=half.padding, rngs=rngs)
    self.stem = conv(3 * c.patch**2, half.stem, scale=GAIN if half.shifts else 1.0)
    widths = [half.stem, *(s.width for s in half.stages)]
    self.stages = in_order(DownStage(w, s, half, rngs=rngs) for w, s in zip(widths, half.stages))
    self.inner = _blocks(half.inner, widths[-1], half, rngs)
    self.end = Norm(widths[-1]) if half.shifts else None
    self.out = conv(widths[-1], c.channels // c.join**2 + 1, scale=0.0 if c.straight else 1.0)
    self.straight = StraightDown(c, rngs=rngs) if c.straight else None
    self.patch, self.join = c.patch, (1, c.join, c.join)

  def __call__(self, x: jax.Array, frames: Frames) -> tuple[jax.Array, jax.Array]:
    pixels, (x, order) = x, patches(x, self.patch)
    x = self.stem(x, frames, order)
    for stage in each(self.stages):
      x = stage(x, frames)
    for block in each(self.inner):
      x = block(x, frames)
    x = self.out(jax.nn.silu(pixel_norm(x)) if self.end is None else self.end(x), frames)
    mean, logvar = x[..., :-1], x[..., -1:]  # one variance for all channels
    mean, logvar = (fold(a, self.join) for a in (mean, jnp.broadcast_to(logvar, mean.shape)))
    if self.straight is not None:
      mean = mean + self.straight(pixels, frames)
    if self.straight is not None or self.end is not None:
      logvar = logvar + FIRST_LOGVAR
    return mean, logvar


class Decoder(nnx.Module):
  """Latents [B, f, h, w, C] → pixels [B, F, H, W, 3]."""

  def __init__(self, c: VideoConfig, *, rngs: nnx.Rngs):
    half = c.decoder
    conv = functools.partial(Conv, kernel=half.kernels.change, padding=half.padding, rngs=rngs)
    self.stem = conv(c.channels // c.join**2, half.stem)
    self.inner = _blocks(half.inner, half.stem, half, rngs)
    widths = [half.stem, *(s.width for s in half.stages)]
    self.stages = in_order(UpStage(w, s, half, rngs=rngs) for w, s in zip(widths, half.stages))
    self.end = Norm(widths[-1]) if half.shifts else None
    self.out = conv(widths[-1], 3 * c.patch**2, scale=0.0 if c.straight else 1.0)
    self.straight = StraightUp(c, rngs=rngs) if c.straight else None
    self.patch, self.join = c.patch, (1, c.join, c.join)

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    latents, x = x, self.stem(unfold(x, self.join), frames)
    for block in each(self.inner):
      x = block(x, frames)
    for stage in each(self.stages):
      x = stage(x, frames)
    x = self.out(jax.nn.silu(pixel_norm(x)) if self.end is None else self.end(x), frames)
    y = unfold(x, (1, self.patch, self.patch))
    return y if self.straight is None else y + self.straight(latents, frames)


class StraightDown(nnx.Module):
  """A linear map of every patch of frames and pixels, the first frame standing still."""

  def __init__(self, c: VideoConfig, *, rngs: nnx.Rngs):
    values = 3 * math.prod(c.geometry.stride)
    self.map = Conv(values, c.channels, (1, 1, 1), c.encoder.padding, rngs=rngs)
    self.stride = c.geometry.stride

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    t = self.stride[0]
    return self.map(fold(frames.groups(led(x, t, frames), t), self.stride), frames)


class StraightUp(nnx.Module):
  """The way back; the first latent gives one frame, the mean of its patch."""

  def __init__(self, c: VideoConfig, *, rngs: nnx.Rngs):
    values = 3 * math.prod(c.geometry.stride)
    self.map = Conv(c.channels, values, (1, 1, 1), c.decoder.padding, rngs=rngs)
    self.stride = c.geometry.stride

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    t, y = self.stride[0], unfold(self.map(x, frames), self.stride)
    if t > 1 and frames.begin(y):
      y = jnp.concatenate([y[:, :t].mean(axis=1, keepdims=True), y[:, t:]], axis=1)
    return y


class DownStage(nnx.Module):
  """Blocks, then a smaller size."""

  def __init__(self, inputs: int, stage: Stage, half: HalfConfig, *, rngs: nnx.Rngs):
    self.blocks = _blocks(stage.blocks, inputs, half, rngs)
    size = inputs, stage.width, stage.stride
    self.change = (
      DownMap(*size, half, rngs=rngs)
      if half.shifts
      else Down(*size, stage.residual, half, rngs=rngs)
    )

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    for block in each(self.blocks):
      x = block(x, frames)
    return self.change(x, frames)


class UpStage(nnx.Module):
  """A larger size, then blocks."""

  def __init__(self, inputs: int, stage: Stage, half: HalfConfig, *, rngs: nnx.Rngs):
    wide = inputs if half.shifts else stage.factor * stage.width
    self.enter = Block(inputs, wide, half, rngs=rngs) if inputs != wide else None
    change = (stage.stride, stage.residual, half)
    self.change = Up(wide, stage.width, *change, rngs=rngs)
    self.blocks = _blocks(stage.blocks, stage.width, half, rngs)

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    if self.enter is not None:
      x = self.enter(x, frames)
    x = self.change(x, frames)
    for block in each(self.blocks):
      x = block(x, frames)
    return x


def _blocks(count: int, width: int, half: HalfConfig, rngs: nnx.Rngs) -> nnx.Dict:
  if half.shifts:
    return in_order(ShiftBlock(width, half, rngs=rngs) for _ in range(count))
  return in_order(Block(width, width, half, rngs=rngs) for _ in range(count))


HALVES = {'encoder': Encoder, 'decoder': Decoder}


def init(config: VideoConfig, key: jax.Array) -> Params:
  """Initial parameters of both halves, as plain dicts."""
  keys = dict(zip(HALVES, jax.random.split(key)))
  return {name: plain.initial(half, config, keys[name]) for name, half in HALVES.items()}


def shapes(config: VideoConfig) -> Params:
  """The shapes of what `init` gives; computes nothing."""
  return {name: plain.shapes(half, config) for name, half in HALVES.items()}


def from_linear(params: Params, config: VideoConfig, linear: PatchCodec) -> Params:
  """The parameters with the linear maps of a fitted codec, as which they then code.

  Raises:
    UserError: the linear codec has another geometry.
  """
  if linear.geometry != config.geometry:
    raise UserError(f'{linear.geometry} is not the {config.geometry} of the codec; fit it anew')
  t, y, x = config.geometry.stride
  pca = linear.pca
  by_channel = lambda a: (
    a.reshape(t, y, x, 3, -1).transpose(3, 0, 1, 2, 4).reshape(3 * t * y * x, -1)
  )
  inward, outward = by_channel(pca.basis / pca.scale), by_channel(pca.basis * pca.scale).T
  mean = by_channel(pca.mean)[:, 0]
  maps = {
    'encoder': {'kernel': inward, 'bias': -mean @ inward},
    'decoder': {'kernel': outward, 'bias': mean},
  }
  for half, own in maps.items():
    kernel = own['kernel'].reshape(1, 1, 1, *own['kernel'].shape)
    straight = {'map': {'kernel': kernel, 'bias': own['bias']}}
    params = {**params, half: {**params[half], 'straight': straight}}
  return params


def encode(config: VideoConfig, params: Params, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Pixels [B, F, H, W, 3] in [-1, 1] → mean and log-variance, each [B, f, h, w, C]."""
  return encode_chunk(config, params, pixels)[0]


def decode(config: VideoConfig, params: Params, latents: jax.Array) -> jax.Array:
  """Latents [B, f, h, w, C] → pixels [B, F, H, W, 3], about [-1, 1]."""
  return decode_chunk(config, params, latents)[0]


def encode_chunk(
  config: VideoConfig,
  params: Params,
  pixels: jax.Array,
  carried: Carried | None = None,
  *,
  last: bool = True,
) -> tuple[tuple[jax.Array, jax.Array], Carried]:
  """Encodes the next frames of a clip.

  Args:
    config: the autoencoder's size.
    params: as `init` gave them.
    pixels: [B, F, H, W, 3]; the whole clip's F is 1 + n·stride_t.
    carried: what the chunk before returned; None at first.
    last: whether no chunk follows.

  Returns:
    Mean and log-variance of the latent frames that are complete, and what the next chunk needs.
  """
  return _run(config, params, 'encoder', pixels, carried, last)


def decode_chunk(
  config: VideoConfig,
  params: Params,
  latents: jax.Array,
  carried: Carried | None = None,
  *,
  last: bool = True,
) -> tuple[jax.Array, Carried]:
  """Decodes the next latents [B, f, h, w, C] of a clip, as `encode_chunk` encodes."""
  return _run(config, params, 'decoder', latents, carried, last)


def _run(
  config: VideoConfig, params: Params, half: str, x: jax.Array, carried: Carried | None, last: bool
) -> tuple[Any, Carried]:
  """A half over the mesh: devices share the clips, or else the rows of every picture."""

  def coded(weights: Params, given: tuple[jax.Array, Carried | None], split: sharding.Axes):
    pictures, before = given
    frames = Frames(getattr(config, half).causal, before, last, split)
    return plain.joined(HALVES[half], config, weights)(pictures, frames), frames.left

  latent_rows = x.shape[2] // (config.geometry.stride[1] if half == 'encoder' else 1)
  axes = sharding.axes_for_rows(latent_rows, ROWS)
  by_clips = sharding.shards('batch') if sharding.divides(len(x), 'batch') else 1
  if sharding.shards_along(axes) > by_clips:
    return sharding.over_picture_rows(coded, params[half], (x, carried), axes)
  return coded(params[half], (sharding.by_rows(x), carried), split=())
