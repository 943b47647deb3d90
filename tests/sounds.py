"""The smallest codecs of sound that the laws are tested on."""

import functools
from typing import Any

import jax
import numpy as np
import tiny

from sorajax.clip import Clip
from sorajax.codec import plain, sound
from sorajax.codec.audio import Autoencoder, AutoencoderConfig
from sorajax.codec.mel import MelConfig
from sorajax.codec.squeeze import Squeeze, SqueezeConfig
from sorajax.codec.statistics import Statistics
from sorajax.codec.vocoder import Vocoder, VocoderConfig

RATE_HZ = 1_000
CONSTANT = ('weight', 'lowpass', 'basis', 'bank')

SQUEEZE = SqueezeConfig(
  RATE_HZ, audio_channels=2, frame_samples=8, group=2, channels=5, width=8, hidden=12, blocks=2
)
MEL = MelConfig(RATE_HZ, audio_channels=2, n_fft=32, hop_samples=8, mels=8)
AUTOENCODER = AutoencoderConfig(
  audio_channels=2, mels=8, latent_channels=2, width=4, multipliers=(1, 2), blocks=1
)
VOCODER = VocoderConfig(
  inputs=16, outputs=2, width=8, factors=(4, 2), sizes=(8, 4), kernels=(3,), dilations=((1, 3),)
)


@functools.cache
def drawn(module: Any, config: Any) -> plain.Params:
  """Parameters none of which is zero, so that every path is open."""
  with tiny.initialised_by_waves:
    params = plain.initial(module, config, jax.random.key(0))
  rng = np.random.default_rng(0)

  def draw(path: Any, leaf: Any) -> np.ndarray:
    if jax.tree_util.keystr(path[-1:], simple=True) in CONSTANT:
      return np.asarray(leaf)
    scale = 0.5 * max(np.prod(leaf.shape[:-1]), 4) ** -0.5
    return (np.asarray(leaf) + scale * rng.standard_normal(leaf.shape)).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, params)


@functools.cache
def codec(kind: str) -> sound.SqueezeCodec | sound.MelCodec:
  """A codec of either kind, in chunks of 3 latents, whose statistics are its own."""
  rng = np.random.default_rng(1)
  channels = SQUEEZE.channels if kind == 'squeeze' else AUTOENCODER.channels
  mean, scale = rng.standard_normal(channels), np.exp(rng.standard_normal(channels))
  arrays = (a.astype(np.float32) for a in (mean, scale, 1 / scale))
  statistics = Statistics(*arrays)
  if kind == 'squeeze':
    return sound.SqueezeCodec(SQUEEZE, drawn(Squeeze, SQUEEZE), statistics, chunk=3)
  config = sound.MelCodecConfig(MEL, AUTOENCODER, VOCODER)
  params = {'autoencoder': drawn(Autoencoder, AUTOENCODER), 'vocoder': drawn(Vocoder, VOCODER)}
  return sound.MelCodec(config, params, statistics, chunk=3)


def noise(samples: int, channels: int = 2, seed: int = 0) -> np.ndarray:
  """Sound float32 [S, A] of no pattern."""
  shape = (samples, channels)
  return (0.3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def cut(x: np.ndarray, pieces: int, seed: int) -> list[np.ndarray]:
  """`x` cut anywhere, some of it into pieces of nothing."""
  places = np.random.default_rng(seed).integers(0, len(x) + 1, pieces - 1)
  return np.split(x, np.sort(places))


def clip_of(audio: np.ndarray, rate_hz: int) -> Clip:
  """The sound with pictures of no pattern."""
  frames = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3)).astype(np.uint8)
  return Clip(frames, audio, 8.0, rate_hz)
