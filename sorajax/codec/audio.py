"""A causal autoencoder of log-mel spectrograms.

Two-dimensional residual convolutions over (time, mel) as in latent diffusion (Rombach et al. 2022),
causal along time as in LTX-2 (Lightricks 2026), of which the released one is the default config:
mel frames 0, 1…4, 5…8, … become one latent each. Latents are told as tokens of C·F′ channels.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax.codec import moments
from sorajax.codec.convolution import Conv
from sorajax.codec.past import Past
from sorajax.nn import layers, param

NORM_EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
  """The defaults are LTX-2's.

  Attributes:
    audio_channels: A, spectrograms side by side.
    mels: F of a spectrogram.
    latent_channels: C, each over F′ = F / stride bands.
    width: channels of the first level.
    multipliers: of the width, one a level; every level but the first halves time and mel.
    blocks: residual blocks a level; the decoder has one more.
    attention_levels: levels that attend over the whole clip, by number.
    middle_attention: whether the middle does.
    norm: over channels at each place, or over groups of channels of the whole clip.
    groups: of the latter.
    causal: whether a frame sees only the past.
  """

  audio_channels: int = 2
  mels: int = 64
  latent_channels: int = 8
  width: int = 128
  multipliers: tuple[int, ...] = (1, 2, 4)
  blocks: int = 2
  attention_levels: tuple[int, ...] = ()
  middle_attention: bool = False
  norm: Literal['pixel', 'group'] = 'pixel'
  groups: int = 32
  causal: bool = True

  def __post_init__(self) -> None:
    if self.mels % self.stride:
      raise ValueError(f'{self.mels} mels do not divide by the stride {self.stride}')
    if self.norm == 'group' and self.width % self.groups:
      raise ValueError(f'width {self.width} does not divide into {self.groups} groups')

  @property
  def stride(self) -> int:
    """Mel frames to a latent, and mel bands to a latent's band."""
    return 2 ** (len(self.multipliers) - 1)

  @property
  def channels(self) -> int:
    """C·F′ of a token."""
    return self.latent_channels * self.mels // self.stride

  @property
  def streams(self) -> bool:
    """Whether chunks give what the whole gives."""
    attends = self.attention_levels or self.middle_attention
    return self.causal and self.norm == 'pixel' and not attends


class PlaneConv(nnx.Module):
  """[B, T, F, in] → [B, T/stride, F/stride, out], a convolution padded with zeros."""

  def __init__(
    self, inputs: int, outputs: int, size: int, *, stride: int = 1, causal: bool, rngs: nnx.Rngs
  ):
    self.conv = Conv(inputs, outputs, (size, size), stride=stride, rngs=rngs)
    self.size, self.stride, self.causal = size, stride, causal

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    spare = self.size - 1 if self.stride == 1 else 1  # halving pads at the end alone
    sides = (spare // 2, spare - spare // 2)
    if self.causal:
      x = past.take(x, self.size - 1, axis=1, stride=self.stride)
    time = (0, 0) if self.causal else sides
    return self.conv(jnp.pad(x, ((0, 0), time, sides, (0, 0))))


class PixelNorm(nnx.Module):
  """Root mean square 1 over the channels at each place."""

  def __call__(self, x: jax.Array) -> jax.Array:
    return layers.rms_norm(x, eps=NORM_EPS)


class GroupNorm(nnx.Module):
  """Mean 0 and variance 1 over each group of channels of a whole clip (Wu & He 2018)."""

  def __init__(self, width: int, groups: int):
    self.scale, self.bias = param.ones((width,), (None,)), param.zeros((width,), (None,))
    self.groups = groups

  def __call__(self, x: jax.Array) -> jax.Array:
    y = x.astype(jnp.float32).reshape(*x.shape[:3], self.groups, -1)
    y = y - y.mean(axis=(1, 2, 4), keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=(1, 2, 4), keepdims=True) + NORM_EPS)
    return (y.reshape(x.shape) * self.scale[...] + self.bias[...]).astype(x.dtype)


def _norm(c: AutoencoderConfig, width: int) -> PixelNorm | GroupNorm:
  return PixelNorm() if c.norm == 'pixel' else GroupNorm(width, c.groups)


class Block(nnx.Module):
  """x + convolutions of x, twice norm → SiLU → 3×3."""

  def __init__(self, c: AutoencoderConfig, inputs: int, outputs: int, *, rngs: nnx.Rngs):
    self.norm1, self.norm2 = _norm(c, inputs), _norm(c, outputs)
    self.conv1 = PlaneConv(inputs, outputs, 3, causal=c.causal, rngs=rngs)
    self.conv2 = PlaneConv(outputs, outputs, 3, causal=c.causal, rngs=rngs)
    self.skip = Conv(inputs, outputs, (1, 1), rngs=rngs) if inputs != outputs else None

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    h = self.conv1(jax.nn.silu(self.norm1(x)), past)
    h = self.conv2(jax.nn.silu(self.norm2(h)), past)
    return h + (x if self.skip is None else self.skip(x))


class Attention(nnx.Module):
  """x + one head of attention over all places of the clip."""

  def __init__(self, c: AutoencoderConfig, width: int, *, rngs: nnx.Rngs):
    self.norm = _norm(c, width)
    self.q, self.k, self.v, self.out = (Conv(width, width, (1, 1), rngs=rngs) for _ in range(4))

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    h = self.norm(x)
    maps = (self.q, self.k, self.v)
    q, k, v = (m(h).reshape(len(x), -1, x.shape[-1])[:, :, None] for m in maps)  # [B, T·F, 1, C]
    mixed = jax.nn.dot_product_attention(q, k, v)[:, :, 0]
    return x + self.out(mixed.reshape(x.shape))


class Halve(nnx.Module):
  """Half the frames, rounded up, and half the bands."""

  def __init__(self, c: AutoencoderConfig, width: int, *, rngs: nnx.Rngs):
    self.conv = PlaneConv(width, width, 3, stride=2, causal=c.causal, rngs=rngs)

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    return self.conv(x, past)


class Double(nnx.Module):
  """Twice the frames, but of the very first only one where time is causal, and twice the bands."""

  def __init__(self, c: AutoencoderConfig, width: int, *, rngs: nnx.Rngs):
    self.conv = PlaneConv(width, width, 3, causal=c.causal, rngs=rngs)

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    y = self.conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), past)
    return y[:, 1:] if self.conv.causal and past.first else y


class Stack(nnx.Module):
  """3×3, layers in a row, norm → SiLU → 3×3: [B, T, F, inputs] → [B, T′, F′, outputs]."""

  def __init__(
    self, c: AutoencoderConfig, channels: tuple[int, int], widths: tuple[int, int],
    inner: list[nnx.Module], *, rngs: nnx.Rngs,
  ):  # fmt: skip
    (inputs, outputs), (first, last) = channels, widths
    self.first = PlaneConv(inputs, first, 3, causal=c.causal, rngs=rngs)
    self.layers = layers.in_order(inner)
    self.norm = _norm(c, last)
    self.last = PlaneConv(last, outputs, 3, causal=c.causal, rngs=rngs)

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    x = self.first(x, past)
    for layer in layers.each(self.layers):
      x = layer(x, past)
    return self.last(jax.nn.silu(self.norm(x)), past)


class Autoencoder(nnx.Module):
  """Log-mel spectrograms ↔ latents."""

  def __init__(self, config: AutoencoderConfig, *, rngs: nnx.Rngs):
    c = self.config = config
    self.encoder, self.decoder = _encoder(c, rngs), _decoder(c, rngs)

  def encode(self, mel: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
    """[B, T, F, A] → mean and logarithm of the variance, float32 [B, n, C·F′] each.

    n is T / stride rounded up; T must be at least the stride where the config is not causal.
    """
    mean, logvar = moments.split(self.encoder(mel, past))
    return self._told(mean), self._told(logvar)

  def decode(self, latents: jax.Array, past: Past) -> jax.Array:
    """[B, n, C·F′] → [B, T, F, A]; T = n·stride, less stride − 1 before the first if causal."""
    B, n, _ = latents.shape
    return self.decoder(latents.reshape(B, n, self.config.latent_channels, -1).swapaxes(2, 3), past)

  def _told(self, x: jax.Array) -> jax.Array:
    """[B, n, F′, C] → tokens [B, n, C·F′]."""
    return x.swapaxes(2, 3).reshape(*x.shape[:2], -1)


def _encoder(c: AutoencoderConfig, rngs: nnx.Rngs) -> Stack:
  layers: list[nnx.Module] = []
  width = c.width
  for level in range(len(c.multipliers)):
    if level:
      layers.append(Halve(c, width, rngs=rngs))
    layers += _level(c, level, width, c.blocks, rngs)
    width = c.width * c.multipliers[level]
  layers += _middle(c, width, rngs)
  channels = (c.audio_channels, 2 * c.latent_channels)
  return Stack(c, channels, (c.width, width), layers, rngs=rngs)


def _decoder(c: AutoencoderConfig, rngs: nnx.Rngs) -> Stack:
  first = width = c.width * c.multipliers[-1]
  layers = _middle(c, width, rngs)
  for level in reversed(range(len(c.multipliers))):
    layers += _level(c, level, width, c.blocks + 1, rngs)
    width = c.width * c.multipliers[level]
    if level:
      layers.append(Double(c, width, rngs=rngs))
  channels = (c.latent_channels, c.audio_channels)
  return Stack(c, channels, (first, width), layers, rngs=rngs)


def _middle(c: AutoencoderConfig, width: int, rngs: nnx.Rngs) -> list[nnx.Module]:
  """Block, attention if any, block."""
  attention = [Attention(c, width, rngs=rngs)] if c.middle_attention else []
  return [Block(c, width, width, rngs=rngs), *attention, Block(c, width, width, rngs=rngs)]


def _level(
  c: AutoencoderConfig, level: int, inputs: int, blocks: int, rngs: nnx.Rngs
) -> list[nnx.Module]:
  """The blocks of a level, each with attention if any."""
  layers: list[nnx.Module] = []
  width = c.width * c.multipliers[level]
  for i in range(blocks):
    layers.append(Block(c, width if i else inputs, width, rngs=rngs))
    if level in c.attention_levels:
      layers.append(Attention(c, width, rngs=rngs))
  return layers
