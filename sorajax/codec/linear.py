"""The linear codec of picture and sound: needs no training, so that everything else can run."""

import dataclasses
from collections.abc import Iterable

from sorajax.clip import Clip
from sorajax.codec.codec import Codec
from sorajax.codec.lapped import fit_lapped, lapped_geometry
from sorajax.codec.patches import fit_patches
from sorajax.errors import UserError


@dataclasses.dataclass(frozen=True)
class LinearConfig:
  """What a linear codec keeps.

  Attributes:
    stride: (frames, height, width) of a patch.
    video_channels: of at most 3 · frames · height · width.
    video_whiten: how far the channels' spreads are made equal, 0 to 1; see `codec.pca.fit`.
    frame_samples: N, coefficients of an MDCT frame.
    group: MDCT frames in a latent.
    audio_channels: latent channels, of at most N · group · A.
    audio_whiten: as for the picture.
  """

  stride: tuple[int, int, int] = (4, 16, 16)
  video_channels: int = 96
  video_whiten: float = 0.5
  frame_samples: int = 320
  group: int = 4
  audio_channels: int = 64
  audio_whiten: float = 0.5

  def __post_init__(self) -> None:
    counts = (*self.stride, self.video_channels, self.frame_samples, self.group)
    if min(*counts, self.audio_channels) < 1:
      raise ValueError('stride, channels, frame_samples and group must be above 0')


def fit_linear(
  clips: Iterable[Clip], config: LinearConfig, sample_rate_hz: int, audio_channels: int
) -> Codec:
  """Fits both halves on clips that can be gone through several times.

  Raises:
    UserError: no clips, or more channels than a patch has values.
  """
  geometry = lapped_geometry(
    sample_rate_hz, audio_channels, config.frame_samples, config.group, config.audio_channels
  )
  try:
    video = fit_patches(
      (c.video for c in clips), config.stride, config.video_channels, config.video_whiten
    )
    sounds = _Again(lambda: (c.audio for c in clips))
    audio = fit_lapped(sounds, geometry, config.group, config.audio_whiten)
  except ValueError as error:
    raise UserError(f'config.codec: {error}') from error
  return Codec(video, audio)


class _Again:
  """An iterable made anew for every loop."""

  def __init__(self, make):
    self._make = make

  def __iter__(self):
    return iter(self._make())
