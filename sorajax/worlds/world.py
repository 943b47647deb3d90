"""A generated miniature world: seed → clip, caption and truth, the same bytes on any machine."""

import dataclasses
import itertools

import numpy as np

from sorajax.clip import Clip
from sorajax.geometry import samples_of
from sorajax.worlds import captions, draw, picture, sound, truth
from sorajax.worlds.scene import SOLID
from sorajax.worlds.truth import Truth

SPLITS = ('train', 'validation', 'test', 'novel')  # `novel` shows combinations never trained on
TERSE = 0.2  # share of captions that only name what plays
SHOTS = (0.8, 0.16, 0.04)  # share of clips with one shot, with two, with three
CUT_TO = '; cut to: '


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
    cut_frames: cuts come before frames 1 + n · this.
    kind: of all scenes, one of `scene.KINDS` or `scene.SOLID`; '' for any of `KINDS`.
  """

  frames: int = 49
  fps: float = 12.0
  height: int = 64
  width: int = 64
  sample_rate_hz: int = 16_000
  audio_channels: int = 1
  most: int = 2
  cut_frames: int = 8
  kind: str = ''


def generate(config: WorldConfig, split: str, seed: int, number: int) -> tuple[Clip, str, Truth]:
  """Clip `number` of a split, its caption and its truth; splits never share a clip.

  Raises:
    ValueError: a split that is none of `SPLITS`.
    UserError: the kind is `scene.SOLID` and MuJoCo is not installed.
  """
  rng = np.random.default_rng([seed, SPLITS.index(split), number])
  c = config
  novelties = draw.NOVELTIES[: 3 if c.kind in ('', 'room') else 2]
  novel = novelties[number % len(novelties)] if split == 'novel' else ''
  who = draw.cast(rng, most=c.most, novel=novel, kind=c.kind)
  short = rng.random() < TERSE
  samples = samples_of(c.frames, c.fps, c.sample_rate_hz)
  audio = np.zeros((samples, c.audio_channels))
  video, shots = [], list[truth.Shot]()
  for frames in _shots(rng, c, who.kind, novel):
    scene, motion = draw.shot(
      rng, who, seconds=len(frames) / c.fps, width=c.width / c.height, novel=novel
    )
    caption = captions.terse(scene) if short else captions.full(scene, motion, rng)
    times = np.arange(len(frames)) / c.fps
    video.append(picture.render(scene, motion, times, c.height, c.width))
    first = samples_of(frames[0], c.fps, c.sample_rate_hz)
    audio[first:] += sound.render(
      scene, motion, rng, samples=samples - first, rate_hz=c.sample_rate_hz,
      channels=c.audio_channels,
    )  # fmt: skip
    shots.append(truth.of(scene, motion, caption, frames, c.fps))
  found = Truth.from_json(Truth(shots, novel).to_json())  # lists for tuples, as it will be read
  told = CUT_TO.join(shot.caption for shot in shots)
  return Clip(np.concatenate(video), sound.limited(audio), c.fps, c.sample_rate_hz), told, found


def _shots(rng: np.random.Generator, config: WorldConfig, kind: str, novel: str) -> list[range]:
  """The frames of each shot."""
  places = np.arange(
    1 + config.cut_frames, config.frames - config.cut_frames + 1, config.cut_frames
  )
  places = places[1:] if len(places) > 2 else places  # no first shot of less than a second
  drawn = int(rng.choice(len(SHOTS), p=SHOTS))
  several = kind in ('room', 'speech', SOLID) and not novel
  count = min(drawn, len(places)) if several else 0
  cuts = rng.choice(places, count, replace=False)
  edges = [0, *sorted(int(cut) for cut in cuts), config.frames]
  return [range(a, b) for a, b in itertools.pairwise(edges)]
