"""A generated miniature world: seed → clip, caption and truth, the same on any machine."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from sorajax.clip import Clip
from sorajax.errors import UserError
from sorajax.geometry import samples_of
from sorajax.worlds import captions, draw, picture, sound, truth
from sorajax.worlds.physics import Motion
from sorajax.worlds.scene import SOLID, Scene
from sorajax.worlds.truth import Truth

SPLITS = ('train', 'validation', 'test', 'novel')  # `novel` shows combinations never trained on
TERSE = 0.2  # share of captions that only name what plays
SHOTS = (0.8, 0.16, 0.04)  # share of clips with one shot, with two, with three
CUT_TO = '; cut to: '
NARROWEST = 4  # heights to a width, at most
Film = tuple[np.ndarray, np.ndarray]  # pictures uint8 [F, H, W, 3], and sound [S, A] of any size


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
    most: bodies in a scene, at most; 1 to 4.
    cut_frames: cuts come before frames 1 + n · this.
    kind: of all scenes, one of `scene.KINDS` or `scene.SOLID`; '' for any of `KINDS`.

  Raises:
    UserError: clips of such a form cannot be made.
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

  def __post_init__(self) -> None:
    for name in ('frames', 'fps', 'height', 'width', 'sample_rate_hz', 'cut_frames'):
      if not 0 < getattr(self, name) < math.inf:
        raise UserError(f'{name} of the generated world is {getattr(self, name)}; give more than 0')
    for name, highest in (('audio_channels', 2), ('most', captions.MOST)):
      if not 1 <= getattr(self, name) <= highest:
        raise UserError(
          f'{name} of the generated world is {getattr(self, name)}; give 1 to {highest}'
        )
    if NARROWEST * self.width < self.height:
      raise UserError(
        f'pictures of the generated world are {self.height} high and {self.width} wide; widen them '
        f'to {math.ceil(self.height / NARROWEST)} or more'
      )


def generate(config: WorldConfig, split: str, seed: int, number: int) -> tuple[Clip, str, Truth]:
  """Clip `number` of a split, its caption and its truth; splits never share a clip.

  Raises:
    ValueError: a split that is none of `SPLITS`.
    UserError: the kind is `scene.SOLID` and MuJoCo is not installed.
  """
  rng = np.random.default_rng([seed, SPLITS.index(split), number])
  c = config
  novelties = draw.novelties(c.kind)
  novel = novelties[number % len(novelties)] if split == 'novel' else ''
  who = draw.cast(rng, most=c.most, novel=novel, kind=c.kind)
  short = rng.random() < TERSE
  several = who.kind in ('room', 'speech', SOLID) and not novel
  cuts = int(rng.choice(len(SHOTS), p=SHOTS))
  films, shots = list[Film](), list[truth.Shot]()
  for frames in spans(rng, c, cuts if several else 0):
    scene, motion = draw.shot(
      rng, who, seconds=len(frames) / c.fps, width=c.width / c.height, novel=novel
    )
    caption = captions.terse(scene) if short else captions.full(scene, motion, rng)
    films.append(film(c, scene, motion, frames, rng))
    shots.append(truth.of(scene, motion, caption, frames, c.fps))
  found = Truth.from_json(Truth(shots, novel).to_json())  # lists for tuples, as it will be read
  told = CUT_TO.join(shot.caption for shot in shots)
  return joined(c, films), told, found


def film(
  config: WorldConfig, scene: Scene, motion: Motion, frames: range, rng: np.random.Generator
) -> Film:
  """The shot that is seen in `frames` of a clip, and is heard from there to its end."""
  c = config
  silent = samples_of(frames[0], c.fps, c.sample_rate_hz)
  audio = sound.render(
    scene, motion, rng, samples=samples_of(c.frames, c.fps, c.sample_rate_hz) - silent,
    rate_hz=c.sample_rate_hz, channels=c.audio_channels,
  )  # fmt: skip
  times = np.arange(len(frames)) / c.fps
  return picture.render(scene, motion, times, c.height, c.width), audio


def joined(config: WorldConfig, films: Sequence[Film]) -> Clip:
  """A clip of shots, one after the other."""
  c = config
  audio = np.zeros((samples_of(c.frames, c.fps, c.sample_rate_hz), c.audio_channels))
  for _, heard in films:
    audio[len(audio) - len(heard) :] += heard
  video = np.concatenate([seen for seen, _ in films])
  return Clip(video, sound.limited(audio), c.fps, c.sample_rate_hz)


def spans(rng: np.random.Generator, config: WorldConfig, cuts: int) -> list[range]:
  """The frames of each shot of a clip with so many cuts, or as many as it has room for."""
  places = np.arange(
    1 + config.cut_frames, config.frames - config.cut_frames + 1, config.cut_frames
  )
  places = places[1:] if len(places) > 2 else places  # no first shot of less than a second
  drawn = rng.choice(places, min(cuts, len(places)), replace=False)
  edges = [0, *sorted(int(cut) for cut in drawn), config.frames]
  return [range(a, b) for a, b in itertools.pairwise(edges)]
