"""Log-mel spectrograms → waveforms: HiFi-GAN (Kong et al. 2020) and BigVGAN (Lee et al. 2023).

The 24 kHz vocoder of LTX-2.0 is the default config; that of 2.3 and later, which lays a second one
over the waveform of the first to reach 48 kHz, is the default of `WideConfig`. Everything is
computed in float32 at the highest precision, since rounding is heard.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax.codec.convolution import Conv, Upsampler, centre, reach, same
from sorajax.codec.mel import floored_log, fourier_basis, frames, magnitude, mel_bank
from sorajax.codec.resample import (
  anti_aliased,
  anti_aliased_reach,
  hann_sinc,
  kaiser_sinc,
  upsample,
)
from sorajax.nn import layers, param

END_SIZE = 7  # of the first and last convolutions
LAST_SLOPE = 0.01  # of the last leaky activation
SNAKE_EPS = 1e-9
MEL_FLOOR = 1e-5
CONSTANT = ('lowpass', 'basis', 'bank')  # held as parameters, and never trained


@dataclasses.dataclass(frozen=True)
class VocoderConfig:
  """The defaults are LTX-2.0's.

  Attributes:
    inputs: channels × mels of the spectrogram.
    outputs: channels of the waveform.
    width: channels before the first stage; each stage halves them.
    factors: by how much each stage multiplies the rate.
    sizes: of the stages' transposed convolutions; each less its factor is even.
    kernels: of the residual blocks side by side in a stage.
    dilations: of the convolutions one after another in such a block.
    activation: `snake` has one parameter a channel, `snakebeta` two, `leaky` none.
    slope: of the leaky one below 0.
    oversampling: the rate at which activations work, 1 for none.
    filter_size: taps of the filters that take them there and back.
    ending: what keeps samples within −1 … 1.
    last_bias: whether the last convolution has one.
  """

  inputs: int = 128
  outputs: int = 2
  width: int = 1024
  factors: tuple[int, ...] = (6, 5, 2, 2, 2)
  sizes: tuple[int, ...] = (16, 15, 8, 4, 4)
  kernels: tuple[int, ...] = (3, 7, 11)
  dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
  activation: Literal['leaky', 'snake', 'snakebeta'] = 'leaky'
  slope: float = 0.1
  oversampling: int = 1
  filter_size: int = 12
  ending: Literal['tanh', 'clamp', 'none'] = 'tanh'
  last_bias: bool = True

  def __post_init__(self) -> None:
    if len(self.factors) != len(self.sizes):
      raise ValueError(f'{len(self.factors)} factors for {len(self.sizes)} sizes')
    if len(self.kernels) != len(self.dilations):
      raise ValueError(f'{len(self.kernels)} kernels for {len(self.dilations)} dilations')
    for size, factor in zip(self.sizes, self.factors):
      if size < factor or (size - factor) % 2:
        raise ValueError(f'size {size} less factor {factor} must be even and not negative')
    if not all(k % 2 for k in self.kernels):
      raise ValueError(f'kernels {self.kernels} must be odd')

  @property
  def factor(self) -> int:
    """Samples to a mel frame."""
    return math.prod(self.factors)

  @property
  def reach(self) -> int:
    """How many mel frames either way a sample may depend on."""
    filtered = anti_aliased_reach(self.filter_size, max(self.oversampling, 2))
    inner = filtered if self.oversampling > 1 else 0
    block = max(
      sum((k - 1) // 2 * (d + 1) + 2 * inner for d in dilations)
      for k, dilations in zip(self.kernels, self.dilations)
    )
    count = END_SIZE // 2 + (inner if self.activation == 'leaky' else filtered)
    for size, factor in zip(reversed(self.sizes), reversed(self.factors)):
      count = -(-(count + block) // factor) + max(reach(size, factor, centre(size, factor)))
    return count + END_SIZE // 2


STAGE_ONE = VocoderConfig(
  width=1536, factors=(5, 2, 2, 2, 2, 2), sizes=(11, 4, 4, 4, 4, 4), activation='snakebeta',
  oversampling=2, ending='none', last_bias=False,
)  # fmt: skip
STAGE_TWO = dataclasses.replace(
  STAGE_ONE, width=512, factors=(6, 5, 2, 2, 2), sizes=(12, 11, 4, 4, 4)
)


@dataclasses.dataclass(frozen=True)
class WideConfig:
  """A vocoder and the extension of its bandwidth; the defaults are those of LTX-2.3 and later.

  Attributes:
    narrow: mel frames to a waveform.
    extension: the waveform's own mel frames to what it lacks at `ratio` times the rate.
    narrow_rate_hz: of the first waveform.
    ratio: of the two rates.
    n_fft: samples of a window of that spectrogram, which ends where its hop ends.
    hop_samples: between them.
    mels: bands of it.
  """

  narrow: VocoderConfig = STAGE_ONE
  extension: VocoderConfig = STAGE_TWO
  narrow_rate_hz: int = 16_000
  ratio: int = 3
  n_fft: int = 512
  hop_samples: int = 80
  mels: int = 64

  def __post_init__(self) -> None:
    if self.extension.factor != self.hop_samples * self.ratio:
      raise ValueError(
        f'the extension makes {self.extension.factor} samples a hop, not '
        f'{self.hop_samples} · {self.ratio}'
      )
    if self.extension.inputs != self.mels * self.narrow.outputs:
      raise ValueError(
        f'the extension reads {self.extension.inputs} values, not '
        f'{self.mels} mels · {self.narrow.outputs} channels'
      )
    if self.narrow.factor % self.hop_samples:
      raise ValueError(
        f'{self.narrow.factor} samples a frame do not divide by the hop {self.hop_samples}'
      )

  @property
  def inputs(self) -> int:
    return self.narrow.inputs

  @property
  def outputs(self) -> int:
    return self.extension.outputs

  @property
  def factor(self) -> int:
    """Samples to a mel frame."""
    return self.narrow.factor * self.ratio

  @property
  def reach(self) -> int:
    """How many mel frames either way a sample may depend on."""
    samples = self.extension.reach * self.hop_samples + self.n_fft
    return -(-samples // self.narrow.factor) + self.narrow.reach


class Leaky(nnx.Module):
  """max(x, slope·x)."""

  def __init__(self, slope: float):
    self.slope = slope

  def __call__(self, x: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(x, self.slope)


class Snake(nnx.Module):
  """x + sin²(αx)/β with logarithms of α and β for each channel (Ziyin et al. 2020); β may be α."""

  def __init__(self, width: int, *, beta: bool):
    self.alpha = param.zeros((width,), (None,))
    self.beta = param.zeros((width,), (None,)) if beta else None

  def __call__(self, x: jax.Array) -> jax.Array:
    alpha = jnp.exp(self.alpha[...].astype(x.dtype))
    beta = alpha if self.beta is None else jnp.exp(self.beta[...].astype(x.dtype))
    return x + jnp.sin(alpha * x) ** 2 / (beta + SNAKE_EPS)


def _activation(c: VocoderConfig, width: int) -> Leaky | Snake:
  return (
    Leaky(c.slope) if c.activation == 'leaky' else Snake(width, beta=c.activation == 'snakebeta')
  )


class ResBlock(nnx.Module):
  """x + convolutions of x, of growing dilations."""

  def __init__(
    self, c: VocoderConfig, width: int, size: int, dilations: tuple[int, ...], *, rngs: nnx.Rngs
  ):
    self.acts1 = layers.in_order(_activation(c, width) for _ in dilations)
    self.acts2 = layers.in_order(_activation(c, width) for _ in dilations)
    make = lambda d: Conv(width, width, (size,), dilation=d, rngs=rngs)
    self.convs1 = layers.in_order(make(d) for d in dilations)
    self.convs2 = layers.in_order(make(1) for _ in dilations)
    self.oversampling = c.oversampling

  def __call__(self, x: jax.Array, lowpass: jax.Array | None) -> jax.Array:
    parts = map(layers.each, (self.acts1, self.convs1, self.acts2, self.convs2))
    for act1, conv1, act2, conv2 in zip(*parts):
      h = same(conv1, self._act(act1, x, lowpass))
      x = x + same(conv2, self._act(act2, h, lowpass))
    return x

  def _act(self, act: Leaky | Snake, x: jax.Array, lowpass: jax.Array | None) -> jax.Array:
    if self.oversampling == 1 or lowpass is None:
      return act(x)
    return anti_aliased(act, x, lowpass, self.oversampling)


class Vocoder(nnx.Module):
  """[B, T, inputs] → [B, T·factor, outputs]."""

  def __init__(self, config: VocoderConfig, *, rngs: nnx.Rngs):
    c = self.config = config
    self.first = Conv(c.inputs, c.width, (END_SIZE,), rngs=rngs)
    widths = [c.width >> stage for stage in range(len(c.factors) + 1)]
    stages = zip(widths, widths[1:], c.sizes, c.factors)
    self.ups = layers.in_order(Upsampler(*stage, rngs=rngs) for stage in stages)
    self.blocks = layers.in_order(
      layers.in_order(ResBlock(c, w, *kind, rngs=rngs) for kind in zip(c.kernels, c.dilations))
      for w in widths[1:]
    )
    width = widths[-1]
    self.snake = Snake(width, beta=True) if c.activation != 'leaky' else None
    self.last = Conv(width, c.outputs, (END_SIZE,), bias=c.last_bias, rngs=rngs)
    filtered = c.oversampling > 1 or self.snake is not None
    self.ratio = max(c.oversampling, 2)  # the last snake is always oversampled
    self.lowpass = (
      nnx.Param(jnp.asarray(kaiser_sinc(self.ratio, c.filter_size))) if filtered else None
    )

  def __call__(self, mel: jax.Array) -> jax.Array:
    with jax.default_matmul_precision('highest'):
      return self._run(mel.astype(jnp.float32))

  def _run(self, x: jax.Array) -> jax.Array:
    c = self.config
    lowpass = None if self.lowpass is None else jax.lax.stop_gradient(self.lowpass[...])
    x = same(self.first, x)
    for up, blocks in zip(layers.each(self.ups), layers.each(self.blocks)):
      if self.snake is None:
        x = jax.nn.leaky_relu(x, c.slope)
      x = up(x)
      x = sum(block(x, lowpass) for block in layers.each(blocks)) / len(blocks)
    if self.snake is None or lowpass is None:
      x = jax.nn.leaky_relu(x, LAST_SLOPE)
    else:
      x = anti_aliased(self.snake, x, lowpass, self.ratio)
    return _ended(same(self.last, x), c.ending)


def _ended(x: jax.Array, ending: str) -> jax.Array:
  if ending == 'none':
    return x
  return jnp.tanh(x) if ending == 'tanh' else jnp.clip(x, -1, 1)


class WideVocoder(nnx.Module):
  """[B, T, inputs] → [B, T·factor, outputs] within −1 … 1, at `ratio` times the narrow rate."""

  def __init__(self, config: WideConfig, *, rngs: nnx.Rngs):
    c = self.config = config
    self.narrow = Vocoder(c.narrow, rngs=rngs)
    self.extension = Vocoder(c.extension, rngs=rngs)
    # Held as parameters, for released weights bring them rounded, and constant all the same.
    self.basis = nnx.Param(jnp.asarray(fourier_basis(c.n_fft)))
    self.bank = nnx.Param(jnp.asarray(mel_bank(c.narrow_rate_hz, c.n_fft, c.mels)))

  def __call__(self, mel: jax.Array) -> jax.Array:
    c = self.config
    with jax.default_matmul_precision('highest'):
      narrow = self.narrow(mel)
      beyond = self.extension(self._spectrogram(narrow))
      taps = hann_sinc(c.ratio)
      held = upsample(narrow, jnp.asarray(taps), c.ratio, left=len(taps) // 2)
      return jnp.clip(held + beyond, -1, 1)

  def _spectrogram(self, x: jax.Array) -> jax.Array:
    """[B, S, A] → log-mel [B, S/hop, A·F] of windows that end with their hop."""
    c = self.config
    basis, bank = (jax.lax.stop_gradient(p[...]).astype(x.dtype) for p in (self.basis, self.bank))
    x = jnp.pad(x, ((0, 0), (c.n_fft - c.hop_samples, 0), (0, 0)))
    real, imaginary = jnp.split(
      jnp.einsum('btna,nk->btak', frames(x, c.n_fft, c.hop_samples), basis), 2, axis=-1
    )
    mel = floored_log(jnp.einsum('btak,kf->btaf', magnitude(real, imaginary), bank), MEL_FLOOR)
    return mel.reshape(*mel.shape[:2], -1)


def flattened(mel: jax.Array) -> jax.Array:
  """A spectrogram [B, T, F, A] as vocoders read it, [B, T, A·F]."""
  return mel.swapaxes(2, 3).reshape(*mel.shape[:2], -1)
