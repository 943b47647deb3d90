"""The prompts of the generated world's benchmark, and clips of each from mp4 files to be judged."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tqdm

from sorajax.clip import Clip
from sorajax.evaluate.judges import Verdict, judge
from sorajax.geometry import samples_of
from sorajax.media import reader, writer
from sorajax.media.atomic import make_folder
from sorajax.worlds import captions, draw, picture, sound
from sorajax.worlds.scene import Camera, Moves, Scene
from sorajax.worlds.world import SPLITS

FRAMES, FPS, SIZE, RATE_HZ = 49, 12.0, 64, 16_000


@dataclasses.dataclass(frozen=True)
class Prompt:
  """What is asked for.

  Attributes:
    number: in the split; also the seed of what a model makes of it.
    text: the caption.
    scene: what it tells, and one way in which it could look.
  """

  number: int
  text: str
  scene: Scene


def prompt(split: str, number: int, seed: int = 0, fewest: int = 1) -> Prompt:
  """A room with at least `fewest` bodies, drawn plainly, seen by a camera that stands still."""
  rng = np.random.default_rng([seed, SPLITS.index(split), number, 1])
  novel = 'triple' if split == 'novel' else ''
  while True:
    cast = draw.cast(rng, most=2, kind='room', novel=novel)
    drawn, _ = draw.shot(rng, cast, seconds=FRAMES / FPS, width=1.0, novel=novel)
    if len(drawn.bodies) >= fewest:
      scene = dataclasses.replace(drawn, camera=Camera(), style='plain', ambience='quiet')
      return Prompt(number, captions.full(scene, scene.motion(), rng), scene)


def shown(scene: Scene, motion: Moves | None = None) -> Clip:
  """The scene as it is, or as another motion of its bodies has it."""
  motion = scene.motion() if motion is None else motion
  audio = sound.render(
    scene, motion, np.random.default_rng(0), samples=samples_of(FRAMES, FPS, RATE_HZ),
    rate_hz=RATE_HZ, channels=1,
  )  # fmt: skip
  video = picture.render(scene, motion, np.arange(FRAMES) / FPS, SIZE, SIZE)
  return Clip(video, np.tanh(audio).astype(np.float32), FPS, RATE_HZ)


def with_sound_of_another(clips: Sequence[Clip]) -> list[Clip]:
  """Each clip with the sound of the next."""
  return [dataclasses.replace(a, audio=b.audio) for a, b in zip(clips, [*clips[1:], clips[0]])]


def write_missing(
  folder: Path, prompts: Sequence[Prompt], make: Callable[[list[Prompt]], Iterable[Clip]]
) -> None:
  """Writes an mp4 of each prompt; those that are there already are not made again."""
  make_folder(folder)
  missing = [p for p in prompts if not film(folder, p).is_file()]
  made = make(missing) if missing else ()
  for p, clip in tqdm.tqdm(zip(missing, made), total=len(missing), desc=folder.name, unit='clip'):
    writer.write(film(folder, p), clip)


def film(folder: Path, asked: Prompt) -> Path:
  return folder / f'{asked.number:04d}.mp4'


def watch(path: Path) -> Clip:
  """What a viewer gets; its rate is the one that it was written with."""
  return dataclasses.replace(reader.read(path), fps=FPS)


def judged(folder: Path, prompts: Sequence[Prompt]) -> list[Verdict]:
  """A verdict on the clip of each prompt."""
  return [judge(watch(film(folder, p)), p.scene) for p in prompts]
