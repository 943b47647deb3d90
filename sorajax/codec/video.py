"""A causal space-time autoencoder of convolutions: pixels ↔ latents.

The first frame stands alone: F frames become 1 + (F − 1)/r latent frames, and none of them hears of
later ones. Sizes change by moving pixels into channels and back, with a shortcut that does the same
without weights. The LTX-2 video autoencoder (Lightricks 2026) is one of its configs.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from sorajax import sharding
from sorajax.codec.past import Past
from sorajax.nn import layers, param
from sorajax.nn.conv import conv3d
from sorajax.sharding import reshape_rows

Stride = tuple[int, int, int]
QUIET = 1e-8  # added to the mean square in every norm
LOGVAR = (-30.0, 20.0)  # least and most log-variance of a latent


@dataclasses.dataclass(frozen=True)
class Level:
  """Blocks of one size.

  Attributes:
    width: channels of the blocks.
    blocks: how many.
    stride: (time, height, width) by which this level is coarser than the one outside it.
  """

  width: int
  blocks: int
  stride: Stride = (1, 1, 1)


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
  """A picture autoencoder.

  Attributes:
    channels: C of a latent.
    patch: pixels to a side that are moved into channels first.
    encoder: levels from the pixels inwards.
    decoder: levels from the latents outwards.
    stem: channels after the encoder's first convolution.
    causal_decoder: whether the decoder, too, never hears of later frames.
    encoder_edges: what the encoder sees beyond the picture.
    decoder_edges: what the decoder sees beyond it.
    factored: whether each convolution is one over time, then one over space (Tran et al. 2018),
      at a third of the cost.
  """

  channels: int
  patch: int
  encoder: tuple[Level, ...]
  decoder: tuple[Level, ...]
  stem: int
  causal_decoder: bool = True
  encoder_edges: Literal['zeros', 'reflect'] = 'zeros'
  decoder_edges: Literal['zeros', 'reflect'] = 'zeros'
  factored: bool = False

  def __post_init__(self) -> None:
    inwards, outwards = (_total(levels, self.patch) for levels in (self.encoder, self.decoder))
    if inwards != outwards:
      raise ValueError(f'the encoder shrinks by {inwards} and the decoder grows by {outwards}')
    width = self.stem
    for level in self.encoder:
      _check_fits('encoder', level.width, width, level.stride)
      width = level.width
    for level, outer in zip(self.decoder, [*self.decoder[1:], self.decoder[-1]]):
      _check_fits('decoder', level.width, outer.width, level.stride)

  @property
  def stride(self) -> Stride:
    """(frames, height, width) of the pixels that one latent covers."""
    return _total(self.encoder, self.patch)

  @property
  def reach(self) -> int:
    """How far, in latents, a latent or pixel hears to either side, at most."""
    size, total = 1.0 * self.patch, self.stride[1]
    inwards = size  # the first convolution
    for level in self.encoder:
      inwards += size * (level.stride != (1, 1, 1))
      size *= max(level.stride[1:])
      inwards += 2 * level.blocks * size
    outwards = 2 * size
    for level in self.decoder:
      outwards += size * (2 * level.blocks + (level.stride != (1, 1, 1)))
      size /= max(level.stride[1:])
    return math.ceil(max(inwards + total, outwards + size) / total)


def _total(levels: tuple[Level, ...], patch: int) -> Stride:
  t, y, x = (math.prod(level.stride[i] for level in levels) for i in range(3))
  return t, y * patch, x * patch


def _check_fits(part: str, inner: int, outer: int, stride: Stride) -> None:
  """Raises unless the channels of two levels divide by the cells that move between them."""
  cells = math.prod(stride)
  if inner % cells or (outer * cells) % inner:
    raise ValueError(
      f'{part}: {outer} channels outside and {inner} inside do not go with a stride of {cells} '
      f'cells; the inner width must be a multiple of {cells} that divides {outer * cells}'
    )


@dataclasses.dataclass(frozen=True)
class _Kind:
  """What all convolutions of one half share: edges, causality, factors; see the config."""

  edges: str
  causal: bool
  factored: bool


class Conv(nnx.Module):
  """A 3×3×3 convolution that sees the present and two past frames, or one to either side."""

  def __init__(self, inputs: int, outputs: int, kind: _Kind, *, scale=1.0, rngs):
    self.kind, axes = kind, (None, None, None, None, 'embed')
    size, time = (3, 3, 3), None
    if kind.factored:
      size, time = (1, 3, 3), (3, 1, 1, inputs, inputs)
    fan = math.prod(size) * inputs
    self.kernel = param.normal(rngs, (*size, inputs, outputs), axes, scale=scale * fan**-0.5)
    self.bias = param.zeros((outputs,), (None,))
    self.time = param.normal(rngs, time, axes, scale=(3 * inputs) ** -0.5) if time else None

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    """[B, F, H, W, in] → [B, F, H, W, out]."""
    if self.kind.causal:
      x = past.lead(x, 2)
    else:
      x = jnp.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
    if self.time is not None:
      x = conv3d(x, self.time[...])
    return conv3d(x, self.kernel[...], edges=self.kind.edges) + self.bias[...].astype(x.dtype)


class Block(nnx.Module):
  """Twice norm, SiLU, convolution; added to what came in."""

  def __init__(self, width: int, kind: _Kind, *, rngs: nnx.Rngs):
    self.first = Conv(width, width, kind, rngs=rngs)
    self.second = Conv(width, width, kind, scale=0.1, rngs=rngs)

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    return x + self.second(_active(self.first(_active(x), past)), past)


class Shrink(nnx.Module):
  """A convolution whose result is moved into channels, beside the mean over groups of channels."""

  def __init__(self, inputs: int, outputs: int, stride: Stride, kind: _Kind, *, rngs: nnx.Rngs):
    self.stride, self.outputs = stride, outputs
    self.conv = Conv(inputs, outputs // math.prod(stride), kind, rngs=rngs)

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    if past.first:  # the first frame fills a latent frame of its own
      x = jnp.concatenate([jnp.repeat(x[:, :1], self.stride[0] - 1, axis=1), x], axis=1)
    short = into_channels(x, self.stride)
    groups = short.shape[-1] // self.outputs
    short = reshape_rows(short, *short.shape[:-1], self.outputs, groups).mean(axis=-1)
    return into_channels(self.conv(x, past), self.stride) + short


class Grow(nnx.Module):
  """A convolution whose channels are moved out into pixels, beside the same without weights."""

  def __init__(self, inputs: int, outputs: int, stride: Stride, kind: _Kind, *, rngs: nnx.Rngs):
    self.stride, cells = stride, math.prod(stride)
    self.conv = Conv(inputs, outputs * cells, kind, rngs=rngs)
    self.repeats = outputs * cells // inputs

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    short = jnp.tile(out_of_channels(x, self.stride), self.repeats)
    y = out_of_channels(self.conv(x, past), self.stride) + short
    return y[:, self.stride[0] - 1 :] if past.first else y


class Encoder(nnx.Module):
  """Pixels → moments of the latents."""

  def __init__(self, c: AutoencoderConfig, *, rngs: nnx.Rngs):
    kind, width = _Kind(c.encoder_edges, True, c.factored), c.stem
    self.patch = c.patch
    self.stem = Conv(3 * c.patch**2, width, kind, rngs=rngs)
    steps: list[nnx.Module] = []
    for level in c.encoder:
      if level.stride != (1, 1, 1) or level.width != width:
        steps.append(Shrink(width, level.width, level.stride, kind, rngs=rngs))
      width = level.width
      steps += [Block(width, kind, rngs=rngs) for _ in range(level.blocks)]
    self.steps = _in_order(steps)
    self.out = Conv(width, c.channels + 1, kind, rngs=rngs)

  def __call__(self, pixels: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
    """[B, F, H, W, 3] in [−1, 1] → mean [B, f, h, w, C], log-variance [B, f, h, w, 1]."""
    x = self.stem(into_channels(pixels, (1, self.patch, self.patch)), past)
    for name in sorted(self.steps):
      x = self.steps[name](x, past)
    y = self.out(_active(x), past).astype(jnp.float32)
    return y[..., :-1], y[..., -1:].clip(*LOGVAR)


class Decoder(nnx.Module):
  """Latents → pixels."""

  def __init__(self, c: AutoencoderConfig, *, rngs: nnx.Rngs):
    kind = _Kind(c.decoder_edges, c.causal_decoder, c.factored)
    self.patch = c.patch
    self.stem = Conv(c.channels, c.decoder[0].width, kind, rngs=rngs)
    steps: list[nnx.Module] = []
    for level, outer in zip(c.decoder, [*c.decoder[1:], c.decoder[-1]]):
      steps += [Block(level.width, kind, rngs=rngs) for _ in range(level.blocks)]
      if level.stride != (1, 1, 1) or level.width != outer.width:
        steps.append(Grow(level.width, outer.width, level.stride, kind, rngs=rngs))
    self.steps = _in_order(steps)
    self.out = Conv(c.decoder[-1].width, 3 * c.patch**2, kind, scale=0.1, rngs=rngs)

  def __call__(self, latents: jax.Array, past: Past) -> jax.Array:
    """[B, f, h, w, C] → [B, F, H, W, 3], about [−1, 1], float32."""
    x = self.stem(latents, past)
    for name in sorted(self.steps):
      x = self.steps[name](x, past)
    y = self.out(_active(x), past).astype(jnp.float32)
    return out_of_channels(y, (1, self.patch, self.patch))


class Autoencoder(nnx.Module):
  """Encoder and decoder; both see a piece of a clip at a time."""

  def __init__(self, config: AutoencoderConfig, *, rngs: nnx.Rngs):
    self.config = config
    self.encoder = Encoder(config, rngs=rngs)
    self.decoder = Decoder(config, rngs=rngs)

  def encode(self, pixels: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
    """As `Encoder`; a piece has 1 + n·r frames at first and n·r later."""
    chex.assert_rank(pixels, 5)
    return self.encoder(pixels, past)

  def decode(self, latents: jax.Array, past: Past) -> jax.Array:
    """As `Decoder`."""
    chex.assert_shape(latents, (None, None, None, None, self.config.channels))
    return self.decoder(latents, past)


def _in_order(steps: list[nnx.Module]) -> nnx.Dict:
  """By names that sort in their order, and that every checkpoint keeps as they are."""
  return nnx.Dict({f'step_{i:02d}': step for i, step in enumerate(steps)})


def initial(config: AutoencoderConfig, key: jax.Array) -> dict[str, Any]:
  """Fresh parameters, as plain dicts."""
  return nnx.to_pure_dict(nnx.state(Autoencoder(config, rngs=nnx.Rngs(key)), nnx.Param))


def merged(config: AutoencoderConfig, params: dict[str, Any]) -> Autoencoder:
  """The autoencoder with these parameters."""
  return nnx.merge(_graphdef(config), params)


@functools.cache
def _graphdef(config: AutoencoderConfig) -> nnx.GraphDef:
  with sharding.no_mesh():
    return nnx.graphdef(nnx.eval_shape(lambda: Autoencoder(config, rngs=nnx.Rngs(0))))


def into_channels(x: jax.Array, stride: Stride) -> jax.Array:
  """[B, F, H, W, C] → [B, F/t, H/y, W/x, C·t·y·x], channels (C, t, y, x)."""
  B, F, H, W, C = x.shape
  t, y, s = stride
  x = reshape_rows(x, B, F // t, t, H // y, y, W // s, s, C).transpose(0, 1, 3, 5, 7, 2, 4, 6)
  return reshape_rows(x, B, F // t, H // y, W // s, C * t * y * s)


def out_of_channels(x: jax.Array, stride: Stride) -> jax.Array:
  """The inverse of `into_channels`."""
  B, F, H, W, channels = x.shape
  t, y, s = stride
  C = channels // (t * y * s)
  x = reshape_rows(x, B, F, H, W, C, t, y, s).transpose(0, 1, 5, 2, 6, 3, 7, 4)
  return reshape_rows(x, B, F * t, H * y, W * s, C)


def _active(x: jax.Array) -> jax.Array:
  return jax.nn.silu(layers.rms_norm(x, eps=QUIET))
