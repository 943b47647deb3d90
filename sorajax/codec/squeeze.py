"""Sound as a lapped transform squeezed by a small causal network.

The lapped transform loses nothing (`codec.lapped`), so all that is learned is how `group` frames of
its coefficients fit into a latent. What the network adds to a linear map starts at zero, and the
linear map may start as a fitted one: training begins where the linear codec ends. No layer has a
bias and each is as loud as what it reads, so a sound twice as loud has latents twice as large, and
silence is the zero latent.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax.codec import moments, plain
from sorajax.codec.convolution import CausalConv1d
from sorajax.codec.lapped import LappedCodec, basis, lapped_geometry
from sorajax.codec.past import Past
from sorajax.errors import UserError
from sorajax.geometry import AudioGeometry
from sorajax.nn import layers, param

FIRST_LOGVAR = -6.0
LEAST_POWER = 1e-12  # of what is taken to be silence


@dataclasses.dataclass(frozen=True)
class SqueezeConfig:
  """A codec of 3 million parameters by default.

  Attributes:
    sample_rate_hz: samples a second.
    audio_channels: A.
    frame_samples: N, coefficients of an MDCT frame.
    group: frames in a latent.
    channels: C of a latent.
    width: D of the networks.
    hidden: of their MLPs.
    blocks: of the encoder at the rate of latents, and as many of the decoder.
    fine: the same at the rate of MDCT frames.
    kernel: latents or frames that a convolution reads, its own and those before.
  """

  sample_rate_hz: int = 16_000
  audio_channels: int = 1
  frame_samples: int = 320
  group: int = 4
  channels: int = 32
  width: int = 192
  hidden: int = 512
  blocks: int = 2
  fine: int = 2
  kernel: int = 3

  def __post_init__(self) -> None:
    least = min(dataclasses.astuple(self)[:-3])
    if least < 1 or min(self.blocks, self.fine) < 0 or self.kernel < 1:
      raise ValueError(f'sizes must be above 0, and the least is {least}')

  @property
  def geometry(self) -> AudioGeometry:
    """Latents are `group` · N samples apart."""
    return lapped_geometry(
      self.sample_rate_hz, self.audio_channels, self.frame_samples, self.group, self.channels
    )

  @property
  def values(self) -> int:
    """group · A · N coefficients, of which a latent is made."""
    return self.group * self.audio_channels * self.frame_samples


class Block(nnx.Module):
  """x + MLP of a causal convolution of x, as loud as that: [B, n, D] → [B, n, D]."""

  def __init__(self, c: SqueezeConfig, *, rngs: nnx.Rngs):
    self.conv = CausalConv1d(c.width, c.width, c.kernel, bias=False, rngs=rngs)
    self.mlp = layers.Mlp(c.width, c.hidden, bias=False, rngs=rngs)

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    h = self.conv(x, past)
    loudness = jnp.sqrt(jnp.mean(h * h, axis=-1, keepdims=True) + LEAST_POWER)
    return x + loudness * self.mlp(h / loudness)


class Encoder(nnx.Module):
  """Coefficients [B, n, group·A·N] → latents [B, n, C]: a linear map, and what blocks add to it."""

  def __init__(self, c: SqueezeConfig, *, rngs: nnx.Rngs):
    linear = functools.partial(layers.Linear, bias=False, rngs=rngs)
    self.straight = linear(c.values, c.channels)
    self.enter = linear(c.values // c.group, c.width)
    self.fine = layers.in_order(Block(c, rngs=rngs) for _ in range(c.fine))
    self.join = linear(c.group * c.width, c.width)
    self.blocks = layers.in_order(Block(c, rngs=rngs) for _ in range(c.blocks))
    self.last = linear(c.width, c.channels, scale=0.0)
    self.group = c.group

  def __call__(self, x: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
    """The latents, and the hidden state [B, n, D] that they were read from."""
    h = self.enter(_parted(x, self.group))
    for block in layers.each(self.fine):
      h = block(h, past)
    h = self.join(_grouped(h, self.group))
    for block in layers.each(self.blocks):
      h = block(h, past)
    return self.straight(x) + self.last(h), h


class Decoder(nnx.Module):
  """The way back: latents [B, n, C] → coefficients [B, n, group·A·N]."""

  def __init__(self, c: SqueezeConfig, *, rngs: nnx.Rngs):
    linear = functools.partial(layers.Linear, bias=False, rngs=rngs)
    self.straight = linear(c.channels, c.values)
    self.enter = linear(c.channels, c.width)
    self.blocks = layers.in_order(Block(c, rngs=rngs) for _ in range(c.blocks))
    self.part = linear(c.width, c.group * c.width)
    self.fine = layers.in_order(Block(c, rngs=rngs) for _ in range(c.fine))
    self.last = linear(c.width, c.values // c.group, scale=0.0)
    self.group = c.group

  def __call__(self, x: jax.Array, past: Past) -> jax.Array:
    h = self.enter(x)
    for block in layers.each(self.blocks):
      h = block(h, past)
    h = _parted(self.part(h), self.group)
    for block in layers.each(self.fine):
      h = block(h, past)
    return self.straight(x) + _grouped(self.last(h), self.group)


def _parted(x: jax.Array, group: int) -> jax.Array:
  """[B, n, group·D] → [B, n·group, D], one axis at a time, so that shards stay."""
  x = x.reshape(*x.shape[:2], group, -1)
  return x.reshape(len(x), -1, x.shape[3])


def _grouped(x: jax.Array, group: int) -> jax.Array:
  """The inverse of `_parted`."""
  x = x.reshape(len(x), -1, group, x.shape[2])
  return x.reshape(*x.shape[:2], -1)


class Squeeze(nnx.Module):
  """Waveforms ↔ latents.

  A whole sound [B, S, A] is `encode(padded(audio, config.geometry), Past())`, and comes back as
  `decode(latents, Past())[:, :S]`.

  Attributes:
    weight: [N], constant: multiplies the coefficients, so that quiet high bands count.
    logvar: [C], the logarithm of the latents' variance before the network says more.
  """

  def __init__(self, config: SqueezeConfig, *, rngs: nnx.Rngs):
    c = self.config = config
    self.weight = param.ones((c.frame_samples,), (None,))
    self.encoder = Encoder(c, rngs=rngs)
    self.decoder = Decoder(c, rngs=rngs)
    self.logvar = nnx.Param(jnp.full((c.channels,), FIRST_LOGVAR))
    self.doubt = layers.Linear(c.width, c.channels, bias=False, scale=0.0, rngs=rngs)

  def encode(self, audio: jax.Array, past: Past) -> tuple[jax.Array, jax.Array]:
    """[B, n·hop, A] → mean and logarithm of the variance, float32 [B, n, C] each."""
    c = self.config
    values = lapped(audio.astype(jnp.float32), c.frame_samples, past) * self._weight()
    values = values.reshape(len(audio), -1, c.group, *values.shape[2:])  # so that shards stay
    mean, h = self.encoder(values.reshape(*values.shape[:2], c.values), past)
    logvar = jnp.clip(
      self.logvar[...] + self.doubt(layers.rms_norm(h, eps=LEAST_POWER)), *moments.LOGVAR
    )
    return mean, logvar

  def decode(self, latents: jax.Array, past: Past) -> jax.Array:
    """[B, n, C] → [B, n·hop, A], less N samples before the first."""
    c = self.config
    values = self.decoder(latents.astype(jnp.float32), past)
    values = values.reshape(*values.shape[:2], c.group, c.audio_channels, c.frame_samples)
    values = values.reshape(len(values), -1, *values.shape[3:])
    return unlapped(values / self._weight(), past)

  def _weight(self) -> jax.Array:
    return jax.lax.stop_gradient(self.weight[...].astype(jnp.float32))


def lapped(audio: jax.Array, N: int, past: Past) -> jax.Array:
  """[B, f·N, A] → MDCT coefficients [B, f, A, N]; frame i reads blocks i − 1 and i of N samples."""
  B, _, A = audio.shape
  blocks = past.take(audio.reshape(B, -1, N, A), 1, axis=1)
  before, own = np.split(basis(N).T, 2)
  product = lambda x, w: jnp.einsum('bfna,nk->bfak', x, w, precision='highest')
  return product(blocks[:, :-1], before) + product(blocks[:, 1:], own)


def unlapped(values: jax.Array, past: Past) -> jax.Array:
  """The inverse of `lapped`, a block behind: [B, f, A, N] → [B, f·N, A], less N at first."""
  B, _, A, N = values.shape
  product = lambda w: jnp.einsum('bfak,kn->bfna', values, w, precision='highest')
  own, after = (product(w) for w in np.split(basis(N), 2, axis=1))
  first = past.first
  blocks = past.take(after, 1, axis=1)[:, :-1] + own
  return blocks[:, first:].reshape(B, -1, A)


def padded(audio: jax.Array, geometry: AudioGeometry) -> jax.Array:
  """A whole sound [B, S, A] with silence after it, as long as its latents reach."""
  silence = geometry.latent_length(audio.shape[1]) * geometry.hop_samples - audio.shape[1]
  return jnp.pad(audio, ((0, 0), (0, silence), (0, 0)))


def from_linear(params: plain.Params, config: SqueezeConfig, linear: LappedCodec) -> plain.Params:
  """The parameters with the linear maps of a fitted codec: they code as it does, but its mean.

  Raises:
    UserError: the linear codec has another geometry.
  """
  if linear.geometry != config.geometry or linear.group != config.group:
    raise UserError(f'{linear.geometry} is not the {config.geometry} of the codec; fit it anew')
  fitted = {
    'encoder': (linear.pca.basis / linear.pca.scale),
    'decoder': (linear.pca.basis * linear.pca.scale).T,
  }
  halves = {half: {**params[half], 'straight': {'kernel': k}} for half, k in fitted.items()}
  return {**params, **halves, 'weight': linear.weight}
