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
from sorajax.settings import SoundCodecSettings
from sorajax.train.reconstruction import Reconstruction

SILENCE = 1e-8  # power of noise that no ear minds


@dataclasses.dataclass(frozen=True)
class SoundObjective(Reconstruction):
  """What `loss` weighs together, on the sounds of clips.

  The network begins as a fitted linear codec, whose weights of frequencies it keeps.
  """

  modality: ClassVar[str] = 'audio'
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
    drawn = plain.initial(Squeeze, self.config, key)
    params = from_linear(drawn, self.config, self.lapped)
    return {name: p for name, p in params.items() if name != 'weight'}

  def frozen(self) -> Any:
    return {'weight': self.lapped.weight}

  def loss(self, params, frozen, batch: Any, key, counts):
    audio = batch['audio']
    mean, logvar = self._encode(params, frozen, audio)
    made = self._decode(params, frozen, moments.draw(key, mean, logvar), audio.shape[1])
    terms = {
      'waveform': sound_loss.waveform(made, audio),
      'spectra': sound_loss.spectra(made, audio),
      'convergence': sound_loss.convergence(made, audio),
      'mel': sound_loss.mel(made, audio, self.config.sample_rate_hz),
      'divergence': moments.kl(mean, logvar).mean(),
    }
    return self.weighed(terms, counts)

  def errors(self, params: Any, frozen: Any, batch: Any) -> dict[str, jax.Array]:
    """`snr_db` of what becomes of the mean latents, and its `mel_distance` in nats."""
    audio = batch['audio']
    mean, _ = self._encode(params, frozen, audio)
    made = self._decode(params, frozen, mean, audio.shape[1])
    power = lambda x: jnp.square(x).mean(axis=(1, 2)) + SILENCE
    ratio = 10 * jnp.log10(power(audio) / power(audio - made))
    return {
      'snr_db': ratio.mean(),
      'mel_distance': sound_loss.mel(made, audio, self.config.sample_rate_hz),
    }

  def codec(self, weights: Any) -> Codec:
    """The learned sound half, its latents normalised over training clips, and a linear picture."""
    params = {**weights, **self.frozen()}
    raw = sound.SqueezeCodec(self.config, params, unmeasured(self.config.channels))
    learned = sound.measured(raw, (clip.audio for clip in self.seen()))
    return Codec(self.linear.video, learned)

  def _encode(self, params, frozen, audio):
    module = plain.joined(Squeeze, self.config, {**params, **frozen})
    return module.encode(padded(audio, self.config.geometry), Past())

  def _decode(self, params, frozen, latents, samples):
    module = plain.joined(Squeeze, self.config, {**params, **frozen})
    return module.decode(latents, Past())[:, :samples]
