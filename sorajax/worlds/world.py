"""A generated miniature world: seed → clip, caption and truth, the same bytes on any machine."""

import dataclasses

import numpy as np

from sorajax.clip import Clip
from sorajax.geometry import samples_of
from sorajax.worlds import captions, picture, sound, truth
from sorajax.worlds import scene as scenes
from sorajax.worlds.truth import Truth

SPLITS = ('train', 'validation', 'test', 'novel')  # `novel` shows combinations never trained on
TERSE = 0.2  # share of captions that only name the bodies


@dataclasses.dataclass(frozen=True)
class WorldConfig:
  """The form of the clips.

  Attributes:
    frames: F.
    fps: frames a second.
    height: in pixels.
    width: in pixels.
    sample_rate_hz: of the sound.
    audio_channels: 1, or 2 for a sound that comes from where things are.
    most: bodies in a scene.
  """

  frames: int = 49
  fps: float = 12.0
  height: int = 64
  width: int = 64
  sample_rate_hz: int = 16_000
  audio_channels: int = 1
  most: int = 2


def generate(config: WorldConfig, split: str, seed: int, number: int) -> tuple[Clip, str, Truth]:
  """Clip `number` of a split, its caption and its truth; splits never share a clip.

  Raises:
    ValueError: a split that is none of `SPLITS`.
  """
  rng = np.random.default_rng([seed, SPLITS.index(split), number])
  c = config
  scene, motion = scenes.draw(
    rng, seconds=c.frames / c.fps, width=c.width / c.height, most=c.most, novel=split == 'novel'
  )
  times = np.arange(c.frames) / c.fps
  short = rng.random() < TERSE
  caption = captions.terse(scene) if short else captions.full(scene, motion, rng)
  video = picture.render(scene, motion, times, c.height, c.width)
  audio = sound.render(
    scene, motion, rng, samples=samples_of(c.frames, c.fps, c.sample_rate_hz),
    rate_hz=c.sample_rate_hz, channels=c.audio_channels,
  )  # fmt: skip
  return Clip(video, audio, c.fps, c.sample_rate_hz), caption, truth.of(scene, motion, times)
