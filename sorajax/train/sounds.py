"""Training a codec of sound: samples that come back sounding as they did."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from sorajax.codec import moments, plain, sound, sound_loss
from sorajax.codec.codec import Codec
from sorajax.codec.lapped import LappedCodec
from sorajax.codec.past import Past
from sorajax.codec.squeeze import Squeeze, SqueezeConfig, from_linear, padded
from sorajax.codec.statistics import unmeasured
from sorajax.settings import MelCodecSettings, SoundCodecSettings
from sorajax.train.reconstruction import Reconstruction

SILENCE = 1e-8  # power of noise that no ear minds
Made = tuple[jax.Array, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class SoundObjective(Reconstruction):
  """What `loss` weighs together, on the sounds of clips, whatever codes them."""

  modality: ClassVar[str] = 'audio'
  settings: SoundCodecSettings | MelCodecSettings

  def loss(self, params, frozen, batch: Any, key, counts):
    audio, rate = batch['audio'], self.settings.prepare.sample_rate_hz
    smooth = self.settings.loss.smooth
    mean, logvar = self.encode(params, frozen, audio)
    made, terms = self.decode(params, frozen, moments.draw(key, mean, logvar), audio)
    terms |= {
      'waveform': sound_loss.waveform(made, audio),
      'spectra': sound_loss.spectra(made, audio, smooth),
      'convergence': sound_loss.convergence(made, audio),
      'mel': sound_loss.mel(made, audio, rate, smooth),
      'divergence': moments.kl(mean, logvar).mean(),
    }
    return self.weighed(terms, counts)

  def errors(self, params: Any, frozen: Any, batch: Any) -> dict[str, jax.Array]:
    """`snr_db` of what becomes of the mean latents, and its `mel_distance` in nats."""
    audio, rate = batch['audio'], self.settings.prepare.sample_rate_hz
    mean, _ = self.encode(params, frozen, audio)
    made, _ = self.decode(params, frozen, mean, audio)
    power = lambda x: jnp.square(x).mean(axis=(1, 2)) + SILENCE
    ratio = 10 * jnp.log10(power(audio) / power(audio - made))
    return {'snr_db': ratio.mean(), 'mel_distance': sound_loss.mel(made, audio, rate)}

  def encode(self, params: Any, frozen: Any, audio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whole sounds [B, S, A] → mean and logarithm of the variance, [B, n, C] each."""
    raise NotImplementedError

  def decode(self, params: Any, frozen: Any, latents: jax.Array, audio: jax.Array) -> Made:
    """Latents of `audio` → as many samples, and terms of the loss from on the way there."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SqueezeObjective(SoundObjective):
  """A lapped transform squeezed by a network.

  The network begins as a fitted linear codec, whose weights of frequencies it keeps.
  """

  settings: SoundCodecSettings

  @property
  def config(self) -> SqueezeConfig:
    """Of the codec."""
    return self.settings.sound

  @functools.cached_property
  def linear(self) -> Codec:
    """Fitted on training clips, its sound in the learned geometry."""
    own, config = self.config, self.settings.codec
    frame, group, channels = own.frame_samples, own.group, own.channels
    return self.fitted(
      dataclasses.replace(config, frame_samples=frame, group=group, audio_channels=channels)
    )

  @property
  def lapped(self) -> LappedCodec:
    """The sound half of `linear`."""
    half = self.linear.audio
    assert isinstance(half, LappedCodec)
    return half

  def init(self, key: jax.Array) -> Any:
    params = self.started(self.config)
    if params is None:
      drawn = plain.initial(Squeeze, self.config, key)
      params = from_linear(drawn, self.config, self.lapped)
    return {name: jax.tree.map(jnp.asarray, p) for name, p in params.items() if name != 'weight'}

  def frozen(self) -> Any:
    started = self.started(self.config)
    return {'weight': self.lapped.weight if started is None else started['weight']}

  def encode(self, params, frozen, audio):
    module = plain.joined(Squeeze, self.config, {**params, **frozen})
    return module.encode(padded(audio, self.config.geometry), Past())

  def decode(self, params, frozen, latents, audio) -> Made:
    module = plain.joined(Squeeze, self.config, {**params, **frozen})
    return module.decode(latents, Past())[:, : audio.shape[1]], {}

  def codec(self, weights: Any) -> Codec:
    """The learned sound half, its latents normalised over training clips, and a linear picture."""
    params = {**weights, **self.frozen()}
    raw = sound.SqueezeCodec(self.config, params, unmeasured(self.config.channels))
    learned = sound.measured(raw, (clip.audio for clip in self.seen()))
    return Codec(self.linear.video, learned)
