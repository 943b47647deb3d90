"""Training a mel autoencoder, and beside it the vocoder on what the autoencoder makes."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.codec import plain, sound
from sorajax.codec.audio import Autoencoder
from sorajax.codec.codec import Codec
from sorajax.codec.past import Past
from sorajax.codec.sound import MelCodecConfig, vocoder_module, whole_mel
from sorajax.codec.squeeze import FIRST_LOGVAR
from sorajax.codec.statistics import unmeasured
from sorajax.codec.vocoder import CONSTANT, VocoderConfig, flattened
from sorajax.settings import MelCodecSettings
from sorajax.train.sounds import Made, SoundObjective

HEARD_CLIPS = 48  # from which the level and the spread of mel frames are measured
QUIET = 0.02  # of a drawn last layer that makes samples, so that they are first far from ±1


@dataclasses.dataclass(frozen=True)
class MelObjective(SoundObjective):
  """Log-mel frames through an autoencoder, and what it makes of them through a vocoder.

  `spectrogram` holds the frames between the two networks near those of the sound, and is what the
  autoencoder learns from; the losses of all sounds are the vocoder's, and do not reach beyond it.
  """

  settings: MelCodecSettings

  @property
  def config(self) -> MelCodecConfig:
    """Of the codec."""
    return self.settings.mel_codec

  @functools.cached_property
  def linear(self) -> Codec:
    """Fitted on training clips; its picture half stands beside the learned sound."""
    return self.fitted(self.settings.codec)

  @functools.cached_property
  def level(self) -> tuple[float, float]:
    """Mean and standard deviation of the mel frames of training clips, in nats."""
    clips = [clip.audio for clip in self._cuts(self.source, HEARD_CLIPS)]
    with jax.ensure_compile_time_eval():
      mel = np.asarray(whole_mel(jnp.asarray(np.stack(clips)), self.config))
    return float(mel.mean()), max(float(mel.std()), 1.0)

  def init(self, key: jax.Array) -> Any:
    params = self.started(self.config)
    if params is None:
      quiet = QUIET if isinstance(self.config.vocoder, VocoderConfig) else 1.0
      params = levelled(sound.new_mel(self.config, key).params, *self.level, quiet)
    return jax.tree.map(jnp.asarray, plain.parted(params, CONSTANT)[0])

  def frozen(self) -> Any:
    params = self.started(self.config)
    if params is None:
      params = sound.new_mel(self.config, jax.random.key(0)).params
    return {'constant': plain.parted(params, CONSTANT)[1]}

  def encode(self, params, frozen, audio):
    return self._autoencoder(params).encode(whole_mel(audio, self.config), Past())

  def decode(self, params, frozen, latents, audio) -> Made:
    mel = self._autoencoder(params).decode(latents, Past())
    heard = plain.whole(params, frozen['constant'])['vocoder']
    vocoder = plain.joined(vocoder_module(self.config.vocoder), self.config.vocoder, heard)
    difference = jnp.abs(mel - whole_mel(audio, self.config)).mean()
    made = vocoder(flattened(jax.lax.stop_gradient(mel)))[:, : audio.shape[1]]
    return made, {'spectrogram': difference}

  def codec(self, weights: Any) -> Codec:
    """The learned sound half, its latents normalised over training clips, and a linear picture."""
    learned = {name: weights[name] for name in ('autoencoder', 'vocoder')}
    params = plain.whole(learned, self.frozen()['constant'])
    raw = sound.MelCodec(self.config, params, unmeasured(self.config.autoencoder.channels))
    measured = sound.measured(raw, (clip.audio for clip in self.seen()))
    return Codec(self.linear.video, measured)

  def _autoencoder(self, params: Any) -> Autoencoder:
    return plain.joined(Autoencoder, self.config.autoencoder, params['autoencoder'])


def levelled(params: plain.Params, mean: float, scale: float, quiet: float) -> plain.Params:
  """Drawn parameters that take frames of this mean and scale as if these were 0 and 1.

  Layers are drawn for values around 1, and frames lie around −6 nats. Latents begin
  with little noise, and the vocoder's last layer begins `quiet` times as loud.
  """
  autoencoder, vocoder = params['autoencoder'], params['vocoder']
  encoder, decoder = autoencoder['encoder'], autoencoder['decoder']

  def reads(conv: plain.Params) -> plain.Params:
    taps = conv['kernel'].sum(axis=tuple(range(conv['kernel'].ndim - 1)))
    return {'kernel': conv['kernel'] / scale, 'bias': conv['bias'] - mean / scale * taps}

  def tells(conv: plain.Params) -> plain.Params:
    return {'kernel': conv['kernel'] * scale, 'bias': conv['bias'] * scale + mean}

  def sure(conv: plain.Params) -> plain.Params:
    means, logvars = jnp.split(conv['bias'], 2)
    return {**conv, 'bias': jnp.concatenate([means, logvars + FIRST_LOGVAR])}

  encoder_ends = {
    'first': {'conv': reads(encoder['first']['conv'])},
    'last': {'conv': sure(encoder['last']['conv'])},
  }
  decoder_end = {'last': {'conv': tells(decoder['last']['conv'])}}
  autoencoder = {'encoder': {**encoder, **encoder_ends}, 'decoder': {**decoder, **decoder_end}}
  last = {**vocoder['last'], 'kernel': vocoder['last']['kernel'] * quiet}
  vocoder = {**vocoder, 'first': reads(vocoder['first']), 'last': last}
  return {'autoencoder': autoencoder, 'vocoder': vocoder}
