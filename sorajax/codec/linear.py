"""The linear codec of picture and sound: needs no training, so that everything else can run."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from sorajax.clip import Clip
from sorajax.codec.codec import Codec
from sorajax.codec.lapped import LappedCodec, fit_lapped, lapped_geometry
from sorajax.codec.mel import MelConfig
from sorajax.codec.patches import fit_patches
from sorajax.codec.spectrogram import SpectrogramCodec, fit_spectrogram, spectrogram_geometry
from sorajax.errors import UserError
from sorajax.geometry import Geometry, VideoGeometry

WINDOW_HOPS = 6  # in a window of a spectrogram


@dataclasses.dataclass(frozen=True)
class LinearConfig:
  """What a linear codec keeps.

  Attributes:
    stride: (frames, height, width) of a patch.
    video_channels: of at most 3 · frames · height · width.
    video_whiten: how far the channels' spreads are made equal, 0 to 1; see `codec.pca.fit`.
    frame_samples: N, coefficients of an MDCT frame, or samples between frames of a spectrogram.
    group: frames in a latent.
    mels: bands of a log-mel spectrogram; 0 for an MDCT, which keeps the waves too.
    floor: of a spectrogram; what is below this amplitude is all alike.
    audio_channels: latent channels, of at most N · group · A, or mels · group · A.
    audio_whiten: as for the picture.
    audio_rms: root mean square of the latents of sound; that of pictures is 1. What is small drowns
      in noise first, so below 1 the sound is decided at lower levels of noise than it is at 1.
  """

  stride: tuple[int, int, int] = (4, 16, 16)
  video_channels: int = 96
  video_whiten: float = 0.5
  frame_samples: int = 320
  group: int = 4
  mels: int = 0
  floor: float = 1e-5
  audio_channels: int = 64
  audio_whiten: float = 0.5
  audio_rms: float = 1.0

  def __post_init__(self) -> None:
    counts = (*self.stride, self.video_channels, self.frame_samples, self.group)
    if min(*counts, self.audio_channels) < 1:
      raise ValueError('stride, channels, frame_samples and group must be above 0')
    if min(self.floor, self.audio_rms) <= 0:
      raise ValueError('floor and audio_rms must be above 0')


def fit_linear(
  clips: Iterable[Clip], config: LinearConfig, sample_rate_hz: int, audio_channels: int
) -> Codec:
  """Fits both halves on clips that can be gone through several times.

  Raises:
    UserError: no clips, or more channels than a patch has values.
  """
  sounds = _Again(lambda: (c.audio for c in clips))
  try:
    video = fit_patches(
      (c.video for c in clips), config.stride, config.video_channels, config.video_whiten
    )
    audio = fit_sound(sounds, config, sample_rate_hz, audio_channels)
  except ValueError as error:
    raise UserError(f'config.codec: {error}') from error
  return Codec(video, audio)


def fit_sound(
  sounds: Iterable[np.ndarray], config: LinearConfig, sample_rate_hz: int, audio_channels: int
) -> LappedCodec | SpectrogramCodec:
  """The sound half, fitted on clips float32 [S, A] that can be gone through twice.

  Raises:
    ValueError: no clips, or more channels than a latent's frames have values.
  """
  c, form = config, (sample_rate_hz, audio_channels)
  if not c.mels:
    return fit_lapped(sounds, linear_geometry(c, *form).audio, c.group, c.audio_whiten, c.audio_rms)
  return fit_spectrogram(
    sounds, _mel(c, *form), c.group, c.audio_channels, c.audio_whiten, c.audio_rms
  )


def linear_geometry(config: LinearConfig, sample_rate_hz: int, audio_channels: int) -> Geometry:
  """How the latents of both halves lie, whatever they are fitted on."""
  c, form = config, (sample_rate_hz, audio_channels)
  if c.mels:
    audio = spectrogram_geometry(_mel(c, *form), c.group, c.audio_channels)
  else:
    audio = lapped_geometry(*form, c.frame_samples, c.group, c.audio_channels)
  return Geometry(VideoGeometry(c.stride, c.video_channels), audio)


def _mel(c: LinearConfig, sample_rate_hz: int, audio_channels: int) -> MelConfig:
  window = WINDOW_HOPS * c.frame_samples
  return MelConfig(
    sample_rate_hz, audio_channels, window, c.frame_samples, c.mels, c.floor, edges='silence'
  )


class _Again:
  """An iterable made anew for every loop."""

  def __init__(self, make):
    self._make = make

  def __iter__(self):
    return iter(self._make())
