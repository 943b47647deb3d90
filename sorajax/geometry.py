"""Pixels ↔ latents ↔ tokens, frames ↔ seconds: the only place that counts them."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from sorajax.clip import Latents
from sorajax.errors import UserError


@dataclasses.dataclass(frozen=True)
class VideoGeometry:
  """How a picture codec's latents lie over the pixels.

  The first frame stands alone, so an image is a clip of one frame: F frames become
  1 + (F − 1) / stride_t latent frames. Latent frame i > 0 covers frames
  stride_t·(i − 1) + 1 … stride_t·i.

  Attributes:
    stride: (frames, height, width) of the pixels that one latent covers.
    channels: C of a latent.
  """

  stride: tuple[int, int, int]
  channels: int

  def latent_size(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
    """(F, H, W) in pixels → (f, h, w) in latents; `UserError` where they do not divide."""
    t, y, x = self.stride
    if frames and (frames - 1) % t:
      near = self.frames_at_least(frames)
      raise UserError(f'{frames} frames do not fit a codec of 1 + {t}·n frames; try {near}')
    if height % y or width % x or min(height, width) < 1:
      near_hw = f'{math.ceil(max(height, 1) / y) * y}×{math.ceil(max(width, 1) / x) * x}'
      raise UserError(f'{height}×{width} pixels do not divide by {y}×{x}; try {near_hw}')
    return (1 + (frames - 1) // t if frames else 0), height // y, width // x

  def frames_at_least(self, frames: int) -> int:
    """The least clip length that the codec takes and that holds `frames` frames."""
    t = self.stride[0]
    return 1 + math.ceil(max(frames - 1, 0) / t) * t

  def pixel_frames(self, latent_frames: int) -> int:
    """f latent frames → F frames."""
    return 1 + (latent_frames - 1) * self.stride[0] if latent_frames else 0

  def spans_s(self, latent_frames: int, fps: float) -> np.ndarray:
    """The seconds that each latent frame covers: float64 [f, 2] of (start, end)."""
    edges = np.maximum(np.arange(latent_frames + 1) * self.stride[0] - (self.stride[0] - 1), 0)
    return np.stack([edges[:-1], edges[1:]], axis=-1) / fps

  def positions(
    self, latent_size: tuple[int, int, int], fps: float, smaller: int = 1
  ) -> np.ndarray:  # fmt: skip
    """The midpoint of every latent: float32 [f·h·w, 3] of (seconds, y, x), y and x in pixels.

    Those of a picture that is so many times `smaller` than another lie where they are in that.
    """
    seconds = self.spans_s(latent_size[0], fps).mean(axis=-1)
    return self._grid(seconds, latent_size[1:], smaller)

  def positions_of_frames(
    self, at: Sequence[int], latent_size: tuple[int, int], fps: float
  ) -> np.ndarray:
    """The same of frames that stand alone, each for as long as it is seen; `at`: their numbers."""
    return self._grid((np.array(at) + 0.5) / fps, latent_size, 1)

  def _grid(self, seconds: np.ndarray, latent_size: tuple[int, int], smaller: int) -> np.ndarray:
    h, w = latent_size
    y = (np.arange(h) + 0.5) * self.stride[1] * smaller
    x = (np.arange(w) + 0.5) * self.stride[2] * smaller
    return np.stack(np.meshgrid(seconds, y, x, indexing='ij'), -1).reshape(-1, 3).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class AudioGeometry:
  """How a sound codec's latents lie over the samples.

  Latent j covers samples hop·j − lead … hop·(j + 1) − lead, clamped at 0.

  Attributes:
    sample_rate_hz: samples a second.
    audio_channels: A, 1 for mono and 2 for stereo.
    hop_samples: samples between latents.
    channels: C of a latent.
    lead_samples: how far the first latent reaches before the first sample.
    tail_samples: how far the last latent must reach past the last sample.
  """

  sample_rate_hz: int
  audio_channels: int
  hop_samples: int
  channels: int
  lead_samples: int = 0
  tail_samples: int = 0

  @property
  def latents_per_second(self) -> float:
    return self.sample_rate_hz / self.hop_samples

  def latent_length(self, samples: int) -> int:
    """S samples → n latents; 0 → 0."""
    if not samples:
      return 0
    return math.ceil((samples + self.lead_samples + self.tail_samples) / self.hop_samples)

  def spans_s(self, latents: int) -> np.ndarray:
    """The seconds that each latent covers: float64 [n, 2] of (start, end)."""
    edges = np.maximum(np.arange(latents + 1) * self.hop_samples - self.lead_samples, 0)
    return np.stack([edges[:-1], edges[1:]], axis=-1) / self.sample_rate_hz

  def positions(self, latents: int) -> np.ndarray:
    """The midpoint of every latent: float32 [n, 3] of (seconds, 0, 0)."""
    seconds = self.spans_s(latents).mean(axis=-1)
    return np.stack([seconds, 0 * seconds, 0 * seconds], axis=-1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Layout:
  """Where a clip's latents lie.

  Attributes:
    size: (f, h, w) of the picture's latents.
    video_s: float64 [f, 2], the seconds that each latent frame covers.
    audio_s: float64 [n, 2], the seconds that each latent of the sound covers.
    keyframes: how many frames that stand alone lie beside them.
  """

  size: tuple[int, int, int]
  video_s: np.ndarray
  audio_s: np.ndarray
  keyframes: int = 0


@dataclasses.dataclass(frozen=True)
class Beside:
  """What lies beside the pictures of clips, in their context.

  Attributes:
    smaller: how many times smaller than a clip the reference is that it is made after; 0 for none.
    keyframes: how many frames of a clip are coded alone too.
  """

  smaller: int = 0
  keyframes: int = 0


NOTHING = Beside()


@dataclasses.dataclass(frozen=True)
class Geometry:
  """Both codecs' geometries: what the rest of the walk knows of a codec."""

  video: VideoGeometry
  audio: AudioGeometry

  def tokens(
    self, frames: int, height: int, width: int, samples: int, beside: Beside = NOTHING
  ) -> tuple[int, int]:
    """The picture and sound tokens of a clip of that size, with those of what lies beside it."""
    count = lambda frames, k: math.prod(self.video.latent_size(frames, height // k, width // k))
    pictures = count(frames, 1) + beside.keyframes * count(1, 1)
    if beside.smaller:
      pictures += count(frames, beside.smaller)
    return pictures, self.audio.latent_length(samples)

  def layout(self, latents: Latents) -> Layout:
    """Where the latents of a clip lie."""
    f, h, w = latents.video.shape[:3]
    audio_s = self.audio.spans_s(len(latents.audio))
    alone = len(latents.keyframe_at)
    return Layout((f, h, w), self.video.spans_s(f, latents.fps), audio_s, alone)

  def positions(self, latents: Latents) -> dict[str, np.ndarray]:
    """modality → float32 [T, 3] of (seconds, y, x).

    After the picture comes its reference, then frames that stand alone.
    """
    video = [self.video.positions(latents.video.shape[:3], latents.fps)]
    if latents.reference is not None:
      size = latents.reference.shape[:3]
      video.append(self.video.positions(size, latents.fps, latents.video.shape[1] // size[1]))
    if latents.keyframes is not None:
      size = latents.keyframes.shape[1:3]
      video.append(self.video.positions_of_frames(latents.keyframe_at, size, latents.fps))
    return {'video': np.concatenate(video), 'audio': self.audio.positions(len(latents.audio))}


def samples_of(frames: int, fps: float, sample_rate_hz: int) -> int:
  """The samples that sound for exactly as long as `frames` frames, to the nearest sample."""
  return round(frames * sample_rate_hz / fps)
