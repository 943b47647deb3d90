"""Log-mel spectrograms → waveforms by way of their spectra: Vocos (Siuzdak 2024).

The network runs at the rate of mel frames, tells amplitude and phase of every frequency of a
window, and the inverse Fourier transform makes the samples. So it costs a small part of a network
that runs at the rate of samples, and its losses have gentle gradients.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax.codec.convolution import Conv, same
from sorajax.codec.mel import overlapped
from sorajax.nn import layers, param

END_SIZE = 7  # of the first convolution
FIRST_LEVEL = -6.0  # nats of amplitude, before the network says more


@dataclasses.dataclass(frozen=True)
class VocosConfig:
  """A small one by default, of 2.7 million parameters.

  Attributes:
    inputs: channels × mels of the spectrogram.
    outputs: channels of the waveform.
    width: D of the network.
    hidden: of its MLPs.
    blocks: in a row.
    kernel: mel frames that the convolution of a block reads, an odd number.
    n_fft: samples of a window, a multiple of `factor`.
    factor: samples to a mel frame.
  """

  inputs: int = 64
  outputs: int = 1
  width: int = 256
  hidden: int = 768
  blocks: int = 6
  kernel: int = 7
  n_fft: int = 640
  factor: int = 160

  def __post_init__(self) -> None:
    if self.n_fft % self.factor or self.n_fft % 2 or self.n_fft < 2 * self.factor:
      raise ValueError(
        f'n_fft {self.n_fft} must be even and at least twice and a multiple of factor {self.factor}'
      )
    if not self.kernel % 2:
      raise ValueError(f'kernel {self.kernel} must be odd')

  @property
  def frequencies(self) -> int:
    """K of a window."""
    return self.n_fft // 2 + 1

  @property
  def reach(self) -> int:
    """How many mel frames either way a sample may depend on."""
    window = -(-self.n_fft // (2 * self.factor))
    return END_SIZE // 2 + self.blocks * (self.kernel // 2) + window


class Block(nnx.Module):
  """x + MLP of a convolution of each channel of x: [B, T, D] → [B, T, D] (Liu et al. 2022)."""

  def __init__(self, c: VocosConfig, *, rngs: nnx.Rngs):
    self.conv = Conv(c.width, c.width, (c.kernel,), groups=c.width, rngs=rngs)
    self.mlp = layers.Mlp(c.width, c.hidden, rngs=rngs)
    self.scale = param.full((c.width,), (None,), 1 / max(c.blocks, 1))

  def __call__(self, x: jax.Array) -> jax.Array:
    return x + self.scale[...] * self.mlp(layers.layer_norm(same(self.conv, x)))


class Vocos(nnx.Module):
  """[B, T, inputs] → [B, T·factor, outputs]."""

  def __init__(self, config: VocosConfig, *, rngs: nnx.Rngs):
    c = self.config = config
    self.first = Conv(c.inputs, c.width, (END_SIZE,), rngs=rngs)
    self.blocks = layers.in_order(Block(c, rngs=rngs) for _ in range(c.blocks))
    self.last = layers.Linear(c.width, 2 * c.outputs * c.frequencies, rngs=rngs)

  def __call__(self, mel: jax.Array) -> jax.Array:
    with jax.default_matmul_precision('highest'):
      return self._waves(self._told(mel.astype(jnp.float32)))

  def _told(self, x: jax.Array) -> jax.Array:
    """[B, T, inputs] → level and phase, [B, T, 2, outputs, K]."""
    c = self.config
    x = layers.layer_norm(same(self.first, x))
    for block in layers.each(self.blocks):
      x = block(x)
    x = self.last(layers.layer_norm(x))
    return x.reshape(*x.shape[:2], 2, c.outputs, c.frequencies)

  def _waves(self, told: jax.Array) -> jax.Array:
    """[B, T, 2, A, K] → [B, T·factor, A]; the window of frame t has sample t·factor in its middle.

    No amplitude is above twice that of a full sine.
    """
    c, (B, T) = self.config, told.shape[:2]
    level, phase = told[:, :, 0], told[:, :, 1]
    amplitude = jnp.exp(jnp.minimum(level + FIRST_LEVEL, math.log(c.n_fft / 2)))
    spectra = amplitude * (jnp.cos(phase) + 1j * jnp.sin(phase))
    spectra = spectra.swapaxes(1, 2).reshape(-1, T, c.frequencies)  # [B·A, T, K]
    made = overlapped(spectra, c.factor)[:, c.n_fft // 2 :][:, : T * c.factor]
    return made.reshape(B, c.outputs, -1).swapaxes(1, 2)
