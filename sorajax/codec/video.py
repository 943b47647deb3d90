"""A convolutional autoencoder over space and time: pixels ↔ latents.

The first frame alone is an image. Pixels are [B, F, H, W, 3] in [-1, 1] with F = 1 + n·stride_t,
latents [B, f, h, w, C]. LTX-2.0's autoencoder is one of its sizes (HaCohen et al. 2026).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax import sharding
from sorajax.codec import plain
from sorajax.codec.video_blocks import (
  Block,
  Carried,
  Conv,
  Down,
  Frames,
  Up,
  each,
  fold,
  in_order,
  pixel_norm,
  unfold,
)
from sorajax.codec.video_config import HalfConfig, Stage, VideoConfig

Params = plain.Params


class Encoder(nnx.Module):
  """Pixels [B, F, H, W, 3] → mean and log-variance, each [B, f, h, w, C]."""

  def __init__(self, c: VideoConfig, *, rngs: nnx.Rngs):
    half = c.encoder
    conv = functools.partial(Conv, padding=half.padding, rngs=rngs)
    self.stem = conv(3 * c.patch**2, half.stem)
    widths = [half.stem, *(s.width for s in half.stages)]
    self.stages = in_order(DownStage(w, s, half, rngs=rngs) for w, s in zip(widths, half.stages))
    self.inner = _blocks(half.inner, widths[-1], half, rngs)
    self.out = conv(widths[-1], c.channels + 1)
    self.patch = c.patch

  def __call__(self, x: jax.Array, frames: Frames) -> tuple[jax.Array, jax.Array]:
    x = self.stem(fold(x, (1, self.patch, self.patch)), frames)
    for stage in each(self.stages):
      x = stage(x, frames)
    for block in each(self.inner):
      x = block(x, frames)
    x = self.out(jax.nn.silu(pixel_norm(x)), frames)
    mean = x[..., :-1]
    return mean, jnp.broadcast_to(x[..., -1:], mean.shape)  # one variance for all channels


class Decoder(nnx.Module):
  """Latents [B, f, h, w, C] → pixels [B, F, H, W, 3]."""

  def __init__(self, c: VideoConfig, *, rngs: nnx.Rngs):
    half = c.decoder
    conv = functools.partial(Conv, padding=half.padding, rngs=rngs)
    self.stem = conv(c.channels, half.stem)
    self.inner = _blocks(half.inner, half.stem, half, rngs)
    widths = [half.stem, *(s.width for s in half.stages)]
    self.stages = in_order(UpStage(w, s, half, rngs=rngs) for w, s in zip(widths, half.stages))
    self.out = conv(widths[-1], 3 * c.patch**2)
    self.patch = c.patch

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    x = self.stem(x, frames)
    for block in each(self.inner):
      x = block(x, frames)
    for stage in each(self.stages):
      x = stage(x, frames)
    x = self.out(jax.nn.silu(pixel_norm(x)), frames)
    return unfold(x, (1, self.patch, self.patch))


class DownStage(nnx.Module):
  """Blocks, then a smaller size."""

  def __init__(self, inputs: int, stage: Stage, half: HalfConfig, *, rngs: nnx.Rngs):
    self.blocks = _blocks(stage.blocks, inputs, half, rngs)
    change = (stage.stride, stage.residual, half.padding)
    self.change = Down(inputs, stage.width, *change, rngs=rngs)

  def __call__(self, x: jax.Array, frames: Frames) -> jax.Array:
    for block in each(self.blocks):
      x = block(x, frames)
    return self.change(x, frames)


class UpStage(nnx.Module):
  """A larger size, then blocks."""

  def __init__(self, inputs: int, stage: Stage, half: HalfConfig, *, rngs: nnx.Rngs):
    wide = stage.factor * stage.width
    self.enter = Block(inputs, wide, half.padding, rngs=rngs) if inputs != wide else None
    change = (stage.stride, stage.residual, half.padding)
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
  return in_order(Block(width, width, half.padding, rngs=rngs) for _ in range(count))


HALVES = {'encoder': Encoder, 'decoder': Decoder}


def init(config: VideoConfig, key: jax.Array) -> Params:
  """Initial parameters of both halves, as plain dicts."""
  keys = dict(zip(HALVES, jax.random.split(key)))
  return {name: plain.initial(half, config, keys[name]) for name, half in HALVES.items()}


def shapes(config: VideoConfig) -> Params:
  """The shapes of what `init` gives; computes nothing."""
  return {name: plain.shapes(half, config) for name, half in HALVES.items()}


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
  frames = Frames(config.encoder.causal, carried, last)
  return _merge(config, params, 'encoder')(_by_rows(pixels), frames), frames.left


def decode_chunk(
  config: VideoConfig,
  params: Params,
  latents: jax.Array,
  carried: Carried | None = None,
  *,
  last: bool = True,
) -> tuple[jax.Array, Carried]:
  """Decodes the next latents [B, f, h, w, C] of a clip, as `encode_chunk` encodes."""
  frames = Frames(config.decoder.causal, carried, last)
  return _merge(config, params, 'decoder')(_by_rows(latents), frames), frames.left


def _by_rows(x: jax.Array) -> jax.Array:
  """Clips split over devices where they divide, and each clip whole on its device."""
  axis = 'batch' if sharding.divides(len(x), 'batch') else None
  return sharding.reshard(x, axis, None, None, None, None)


def _merge(config: VideoConfig, params: Params, half: str) -> Any:
  return plain.joined(HALVES[half], config, params[half])
