"""Codecs of sound on the host: float32 [S, A] ↔ float32 [n, C], normalised."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax.codec import plain, statistics
from sorajax.codec.audio import Autoencoder, AutoencoderConfig
from sorajax.codec.mel import MelConfig, log_mel, log_mel_inside
from sorajax.codec.past import Past
from sorajax.codec.plain import Params
from sorajax.codec.squeeze import Squeeze, SqueezeConfig
from sorajax.codec.statistics import Statistics, unmeasured
from sorajax.codec.streams import Carried, Direct, Framing, Overlap, Streamed
from sorajax.codec.vocoder import Vocoder, VocoderConfig, WideConfig, WideVocoder, flattened
from sorajax.codec.vocos import Vocos, VocosConfig
from sorajax.errors import UserError
from sorajax.geometry import AudioGeometry

CHUNK = 16  # latents
STATISTICS = ('mean', 'scale', 'spread')
AnyVocoder = VocoderConfig | WideConfig | VocosConfig
VOCODERS: dict[type, type[nnx.Module]] = {
  VocoderConfig: Vocoder,
  WideConfig: WideVocoder,
  VocosConfig: Vocos,
}


class _Learned(Streamed):
  """What both codecs below share; `params`, `statistics` and `chunk` are theirs."""

  config: Any
  params: Params
  statistics: Statistics
  chunk: int

  @property
  def spread(self) -> np.ndarray:
    return self.statistics.spread

  def encode_chunk(self, samples: np.ndarray, carried: Carried) -> tuple[np.ndarray, Carried]:
    """The samples of a chunk → its latents, and what the next chunk needs."""
    made, carried = self._run_encoder(samples, carried)
    return (np.asarray(made) - self.statistics.mean) / self.statistics.scale, carried

  def decode_chunk(self, latents: np.ndarray, carried: Carried) -> tuple[np.ndarray, Carried]:
    """A chunk's latents → what the tail reads, and what the next chunk needs."""
    made, carried = self._run_decoder(
      latents * self.statistics.scale + self.statistics.mean, carried
    )
    return np.asarray(made), carried

  def _run_encoder(self, samples: np.ndarray, carried: Carried) -> tuple[jax.Array, Carried]:
    raise NotImplementedError

  def _run_decoder(self, latents: np.ndarray, carried: Carried) -> tuple[jax.Array, Carried]:
    raise NotImplementedError

  def shape(self) -> dict[str, Any]:
    """What `restored` needs beside the arrays, fit for json."""
    return {'chunk': self.chunk, 'config': dataclasses.asdict(self.config)}

  def arrays(self) -> dict[str, np.ndarray]:
    """What is learned and measured."""
    statistics = {f'statistics/{n}': getattr(self.statistics, n) for n in STATISTICS}
    return {**statistics, **{f'params/{n}': a for n, a in plain.flat(self.params).items()}}


@dataclasses.dataclass(frozen=True)
class SqueezeCodec(_Learned):
  """The lapped transform through a learned network.

  Attributes:
    config: its size.
    params: of `codec.squeeze.Squeeze`.
    statistics: of its latents.
    chunk: latents that the network codes at once.
  """

  kind: ClassVar[str] = 'squeeze'
  config: SqueezeConfig
  params: Params
  statistics: Statistics
  chunk: int = CHUNK

  @classmethod
  def restored(cls, shape: dict[str, Any], arrays: dict[str, np.ndarray]) -> 'SqueezeCodec':
    """The codec that `shape` and `arrays` are of; `UserError` where they do not fit together."""
    with _refusing():
      config, chunk = SqueezeConfig(**shape['config']), shape['chunk']
      statistics, params = _parted(arrays)
    return cls(config, plain.unflat(params, plain.shapes(Squeeze, config)), statistics, chunk)

  @property
  def geometry(self) -> AudioGeometry:
    return self.config.geometry

  @property
  def output_rate_hz(self) -> int:
    return self.config.sample_rate_hz

  @property
  def framing(self) -> Framing:
    samples = self.chunk * self.geometry.hop_samples
    return Framing(0, False, (samples, samples), (samples, samples))

  def covered(self, latents: int) -> int:
    """Samples that go into so many latents."""
    return latents * self.geometry.hop_samples

  def decoded(self, latents: int) -> int:
    """Samples that come out of so many latents."""
    return latents * self.geometry.hop_samples - self.config.frame_samples

  def tail(self) -> Direct:
    return Direct(self.config.audio_channels)

  def _run_encoder(self, samples, carried):
    return _squeeze_encode(self.config, self.params, samples, carried)

  def _run_decoder(self, latents, carried):
    return _squeeze_decode(self.config, self.params, latents, carried)


@dataclasses.dataclass(frozen=True)
class MelCodecConfig:
  """The defaults are LTX-2.0's: stereo at 16 kHz in, 128 channels 25 times a second, 24 kHz out."""

  mel: MelConfig = dataclasses.field(default_factory=MelConfig)
  autoencoder: AutoencoderConfig = dataclasses.field(default_factory=AutoencoderConfig)
  vocoder: AnyVocoder = dataclasses.field(default_factory=VocoderConfig)

  def __post_init__(self) -> None:
    mel, auto, vocoder = self.mel, self.autoencoder, self.vocoder
    if not auto.streams:
      raise ValueError('an autoencoder that looks ahead cannot stream; make it causal, pixel norm')
    if (auto.audio_channels, auto.mels) != (mel.audio_channels, mel.mels):
      raise ValueError(
        f'the autoencoder reads {auto.audio_channels} × {auto.mels} mels and the spectrogram has '
        f'{mel.audio_channels} × {mel.mels}'
      )
    if (vocoder.inputs, vocoder.outputs) != (mel.audio_channels * mel.mels, mel.audio_channels):
      raise ValueError(
        f'the vocoder makes {vocoder.outputs} channels of {vocoder.inputs} values and the '
        f'spectrogram has {mel.audio_channels} of {mel.audio_channels * mel.mels}'
      )
    if mel.sample_rate_hz * vocoder.factor % mel.hop_samples:
      raise ValueError(
        f'{vocoder.factor} samples for a hop of {mel.hop_samples} are no whole rate of '
        f'{mel.sample_rate_hz} Hz'
      )

  @property
  def geometry(self) -> AudioGeometry:
    """Latent j holds mel frames stride·(j − 1) + 1 … stride·j."""
    mel, stride = self.mel, self.autoencoder.stride
    return AudioGeometry(
      mel.sample_rate_hz, mel.audio_channels, stride * mel.hop_samples, self.autoencoder.channels,
      lead_samples=(stride - 1) * mel.hop_samples,
    )  # fmt: skip

  def frames(self, latents: int) -> int:
    """Mel frames that go into so many latents, and come out of them."""
    return 1 + (latents - 1) * self.autoencoder.stride if latents else 0

  @property
  def output_rate_hz(self) -> int:
    return self.mel.sample_rate_hz * self.vocoder.factor // self.mel.hop_samples


@dataclasses.dataclass(frozen=True)
class MelCodec(_Learned):
  """Mel spectrogram, autoencoder, vocoder. What it decodes may have another rate than it encodes.

  Attributes:
    config: its sizes.
    params: of `codec.audio.Autoencoder` and of the vocoder, under those names.
    statistics: of its latents.
    chunk: latents that the networks code at once.
  """

  kind: ClassVar[str] = 'mel'
  config: MelCodecConfig
  params: Params
  statistics: Statistics
  chunk: int = CHUNK

  @classmethod
  def restored(cls, shape: dict[str, Any], arrays: dict[str, np.ndarray]) -> 'MelCodec':
    """The codec that `shape` and `arrays` are of; `UserError` where they do not fit together."""
    with _refusing():
      config, chunk = _mel_config(shape['config']), shape['chunk']
      statistics, params = _parted(arrays)
    like = {
      'autoencoder': plain.shapes(Autoencoder, config.autoencoder),
      'vocoder': plain.shapes(vocoder_module(config.vocoder), config.vocoder),
    }
    return cls(config, plain.unflat(params, like), statistics, chunk)

  @property
  def geometry(self) -> AudioGeometry:
    return self.config.geometry

  @property
  def output_rate_hz(self) -> int:
    return self.config.output_rate_hz

  @property
  def framing(self) -> Framing:
    mel, frames = self.config.mel, self.chunk * self.config.autoencoder.stride
    first, later = self.decoded(self.chunk), frames
    reads = lambda frames: ((frames - 1) * mel.hop_samples + mel.n_fft, frames * mel.hop_samples)
    return Framing(mel.n_fft // 2, mel.edges == 'reflect', reads(first), reads(later))

  def covered(self, latents: int) -> int:
    """Samples that go into so many latents."""
    return self.decoded(latents) * self.config.mel.hop_samples

  def decoded(self, latents: int) -> int:
    """Mel frames that come out of so many latents."""
    return self.config.frames(latents)

  def tail(self) -> Overlap:
    c = self.config
    run = lambda mel: np.asarray(_vocode(c.vocoder, self.params['vocoder'], mel))
    block = self.chunk * c.autoencoder.stride
    return Overlap(run, c.vocoder.reach, block, c.vocoder.factor, c.vocoder.outputs)

  def _run_encoder(self, samples, carried):
    return _mel_encode(self.config, self.params['autoencoder'], samples, carried)

  def _run_decoder(self, latents, carried):
    return _mel_decode(self.config.autoencoder, self.params['autoencoder'], latents, carried)


C = TypeVar('C', SqueezeCodec, MelCodec)


def new_squeeze(config: SqueezeConfig, key: jax.Array) -> SqueezeCodec:
  """A codec that has learned nothing."""
  params = plain.initial(Squeeze, config, key)
  return SqueezeCodec(config, params, unmeasured(config.channels))


def new_mel(config: MelCodecConfig, key: jax.Array) -> MelCodec:
  """A codec that has learned nothing."""
  keys = jax.random.split(key)
  params = {
    'autoencoder': plain.initial(Autoencoder, config.autoencoder, keys[0]),
    'vocoder': plain.initial(vocoder_module(config.vocoder), config.vocoder, keys[1]),
  }
  return MelCodec(config, params, unmeasured(config.autoencoder.channels))


def measured(codec: C, sounds: Iterable[np.ndarray]) -> C:
  """The codec with its latents' mean and scale measured on clips float32 [S, A].

  Raises:
    UserError: the clips hold no sound.
  """
  channels = codec.geometry.channels
  raw = dataclasses.replace(codec, statistics=unmeasured(channels))
  found = statistics.measured((raw.encode(audio) for audio in sounds), channels)
  return dataclasses.replace(codec, statistics=found)


def whole_mel(audio: jax.Array, config: MelCodecConfig) -> jax.Array:
  """Whole sounds [B, S, A] → all mel frames that `MelCodec.encode` reads of them, [B, T, F, A].

  Silence lies behind them, as long as their latents reach.
  """
  samples, hop = audio.shape[1], config.mel.hop_samples
  count = config.frames(config.geometry.latent_length(samples))
  audio = jnp.pad(audio, ((0, 0), (0, count * hop - samples), (0, 0)))
  return log_mel(audio, config.mel)[:, :count]


def vocoder_module(config: AnyVocoder) -> type[nnx.Module]:
  """The vocoder that a config is of."""
  return VOCODERS[type(config)]


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
  try:
    yield
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f'this is no saved codec of sound ({error}); save it again') from error


def _parted(arrays: dict[str, np.ndarray]) -> tuple[Statistics, dict[str, np.ndarray]]:
  """Saved arrays → the statistics, and the parameters by name."""
  statistics, prefix = Statistics(*(arrays[f'statistics/{n}'] for n in STATISTICS)), 'params/'
  params = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
  return statistics, params


def _mel_config(shape: dict[str, Any]) -> MelCodecConfig:
  parts = _tuples(shape)
  vocoder = parts['vocoder']
  if 'narrow' in vocoder:
    stages = {n: VocoderConfig(**vocoder[n]) for n in ('narrow', 'extension')}
    made: AnyVocoder = WideConfig(**{**vocoder, **stages})
  else:
    made = VocosConfig(**vocoder) if 'n_fft' in vocoder else VocoderConfig(**vocoder)
  mel, autoencoder = MelConfig(**parts['mel']), AutoencoderConfig(**parts['autoencoder'])
  return MelCodecConfig(mel, autoencoder, made)


def _tuples(x: Any) -> Any:
  """Lists, as JSON has them, → tuples, as configs have them."""
  if isinstance(x, dict):
    return {n: _tuples(v) for n, v in x.items()}
  return tuple(_tuples(v) for v in x) if isinstance(x, list | tuple) else x


def _compiled(step):
  """`step(config, …)` compiled for a config, at the highest precision on any device."""

  @functools.wraps(step)
  def exact(*args):
    with jax.default_matmul_precision('highest'):
      return step(*args)

  return jax.jit(exact, static_argnums=0)


@_compiled
def _squeeze_encode(config, params, samples, carried):
  past = Past(carried)
  mean, _ = plain.joined(Squeeze, config, params).encode(samples[None], past)
  return mean[0], past.carried


@_compiled
def _squeeze_decode(config, params, latents, carried):
  past = Past(carried)
  audio = plain.joined(Squeeze, config, params).decode(latents[None], past)
  return audio[0], past.carried


@_compiled
def _mel_encode(config, params, samples, carried):
  past, mel = Past(carried), log_mel_inside(samples[None], config.mel)
  mean, _ = plain.joined(Autoencoder, config.autoencoder, params).encode(mel, past)
  return mean[0], past.carried


@_compiled
def _mel_decode(config, params, latents, carried):
  past = Past(carried)
  mel = plain.joined(Autoencoder, config, params).decode(latents[None], past)
  return mel[0], past.carried


@_compiled
def _vocode(config, params, mel):
  return plain.joined(vocoder_module(config), config, params)(flattened(jnp.asarray(mel)[None]))[0]
