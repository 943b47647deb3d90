"""Small clips that tests make for themselves."""

import numpy as np

from sorajax.clip import Clip

FPS = 12.0
RATE_HZ = 16_000


def scene(seed: int, frames: int, height: int = 64, width: int = 64) -> np.ndarray:
  """A coloured background with a bright square that moves: uint8 [F, H, W, 3]."""
  random = np.random.default_rng(seed)
  y, x = np.mgrid[0:height, 0:width] / max(height, width)
  low, high = random.integers(20, 120, 3), random.integers(120, 235, 3)
  slope = random.uniform(0, 1)
  ground = low + (high - low) * (slope * x + (1 - slope) * y)[..., None]
  video = np.repeat(ground[None], frames, 0)
  side = max(min(height, width) // 4, 1)
  for frame in range(frames):
    left = (frame * 2 + seed * 7) % max(width - side, 1)
    top = (frame + seed * 5) % max(height - side, 1)
    video[frame, top : top + side, left : left + side] = random.integers(180, 255, 3)
  return video.astype(np.uint8)


def noise(seed: int, samples: int, channels: int = 1) -> np.ndarray:
  """Soft noise without high tones, so that a codec keeps its wave form: float32 [S, A]."""
  white = np.random.default_rng(seed).standard_normal((samples + 64, channels))
  kernel = np.hanning(18)[1:-1]
  soft = np.stack([np.convolve(white[:, c], kernel, 'same') for c in range(channels)], 1)
  return (0.05 * soft[32 : 32 + samples]).astype(np.float32)


def make_clip(
  frames: int = 25,
  *,
  seed: int = 0,
  size: tuple[int, int] = (64, 64),
  fps: float = FPS,
  rate_hz: int = RATE_HZ,
  channels: int = 1,
) -> Clip:
  """A moving clip with sound of just its length; `channels` 0 is a silent film."""
  samples = round(frames * rate_hz / fps) if channels else 0
  return Clip(scene(seed, frames, *size), noise(seed, samples, max(channels, 1)), fps, rate_hz)


def join(*clips: Clip) -> Clip:
  """Clips one after the other: a film of as many shots."""
  first = clips[0]
  video = np.concatenate([clip.video for clip in clips])
  audio = np.concatenate([clip.audio for clip in clips])
  return Clip(video, audio, first.fps, first.sample_rate_hz)
