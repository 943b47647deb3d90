"""The prompts of the generated world's benchmark, and clips of each from mp4 files to be judged."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import tqdm

from sorajax.clip import Clip
from sorajax.errors import UserError
from sorajax.evaluate import events, judges
from sorajax.evaluate.fidelity import psnr_db
from sorajax.generate import inputs, service
from sorajax.generate.request import Request
from sorajax.generate.sampler import Sampler
from sorajax.generate.service import Model
from sorajax.media import reader, writer
from sorajax.media.atomic import make_folder
from sorajax.worlds import captions, draw, world
from sorajax.worlds.face import Speaker
from sorajax.worlds.physics import Motion
from sorajax.worlds.scene import Camera, Scene
from sorajax.worlds.world import SPLITS, WorldConfig

FRAMES, FPS, SIZE, RATE_HZ = 49, 12.0, 64, 16_000
KEYFRAMES = (12, 36)  # those that a clip comes by where it is asked to
CONFIG = WorldConfig(FRAMES, FPS, SIZE, SIZE, RATE_HZ)
TRUTH, MODEL, CUT, CHANCE = 'truth', 'model', 'sound and picture apart', 'sound of another clip'


@dataclasses.dataclass(frozen=True)
class Asked:
  """What is asked for.

  Attributes:
    number: in the split; also the seed of what a model makes of it.
    text: the caption.
  """

  number: int
  text: str


@dataclasses.dataclass(frozen=True)
class Prompt(Asked):
  """One shot.

  Attributes:
    scene: what the caption tells, and one way in which it could look.
  """

  scene: Scene


@dataclasses.dataclass(frozen=True)
class Line(Prompt):
  """A prompt in which a character speaks.

  Attributes:
    speaker: of the scene.
  """

  speaker: Speaker


def prompt(split: str, number: int, seed: int = 0, fewest: int = 1) -> Prompt:
  """A room with at least `fewest` bodies, drawn plainly, seen by a camera that stands still.

  Its caption tells the first events as far as a viewer can tell them, `events.told`.
  """
  rng = np.random.default_rng([seed, SPLITS.index(split), number, 1])
  novel = 'triple' if split == 'novel' else ''
  while True:
    cast = draw.cast(rng, most=2, kind='room', novel=novel)
    drawn, _ = draw.shot(rng, cast, seconds=FRAMES / FPS, width=1.0, novel=novel)
    if len(drawn.bodies) >= fewest:
      scene = _plain(drawn)
      text = captions.full(scene, scene.motion(), rng, events.told(scene))
      return Prompt(number, text, scene)


def spoken(split: str, number: int, seed: int = 0) -> Line:
  """A character that speaks, alone, drawn plainly, seen by a camera that stands still."""
  rng = np.random.default_rng([seed, SPLITS.index(split), number, 2])
  while True:
    cast = draw.cast(rng, kind='speech')
    if cast.bodies:
      continue
    drawn, _ = draw.shot(rng, cast, seconds=FRAMES / FPS, width=1.0)
    if drawn.speaker is not None:
      scene = _plain(drawn)
      return Line(number, captions.full(scene, scene.motion(), rng), scene, drawn.speaker)


@dataclasses.dataclass(frozen=True)
class Storyboard(Asked):
  """Shots of the same bodies, whose captions are one text.

  Attributes:
    scenes: what each shot shows.
    cuts: first frames of all shots but the first.
  """

  scenes: tuple[Scene, ...]
  cuts: tuple[int, ...]

  @property
  def spans(self) -> list[range]:
    """The frames of each shot."""
    return [range(a, b) for a, b in itertools.pairwise([0, *self.cuts, FRAMES])]


def storyboard(split: str, number: int, seed: int = 0) -> Storyboard:
  """Two or three shots of a room, all drawn plainly, seen by cameras that stand still."""
  rng = np.random.default_rng([seed, SPLITS.index(split), number, 3])
  novel = 'triple' if split == 'novel' else ''
  cast = draw.cast(rng, most=2, kind='room', novel=novel)
  spans = world.spans(rng, CONFIG, cuts=int(rng.integers(1, 3)))
  scenes, told = list[Scene](), list[str]()
  for frames in spans:
    drawn, _ = draw.shot(rng, cast, seconds=len(frames) / FPS, width=1.0, novel=novel)
    scenes.append(_plain(drawn))
    told.append(captions.full(scenes[-1], scenes[-1].motion(), rng, events.told(scenes[-1])))
  cuts = tuple(frames[0] for frames in spans[1:])
  return Storyboard(number, world.CUT_TO.join(told), tuple(scenes), cuts)


def _plain(scene: Scene) -> Scene:
  return dataclasses.replace(scene, camera=Camera(), style='plain', ambience='quiet')


def shown(scene: Scene, motion: Motion | None = None) -> Clip:
  """The scene as it is, or as another motion of its bodies has it."""
  motion = scene.motion() if motion is None else motion
  film = world.film(CONFIG, scene, motion, range(FRAMES), np.random.default_rng(0))
  return world.joined(CONFIG, [film])


def shown_shots(board: Storyboard) -> Clip:
  """The scenes of a storyboard, cut where it says."""
  rng = np.random.default_rng(0)
  films = list[world.Film]()
  for drawn, frames in zip(board.scenes, board.spans):
    scene = dataclasses.replace(drawn, seconds=len(frames) / FPS)
    films.append(world.film(CONFIG, scene, scene.motion(), frames, rng))
  return world.joined(CONFIG, films)


@dataclasses.dataclass(frozen=True)
class Kind:
  """Prompts that are judged alike.

  Attributes:
    name: of the kind.
    ask: for the prompt of a split that has a number.
    judge: the clip of a prompt.
    sum_up: many verdicts.
    task: what the model does with them, one of `tasks.capabilities`.
    show: the true clip of a prompt.
  """

  name: str
  ask: Callable[[str, int], Asked]
  judge: Callable[[Clip, Any], Any]
  sum_up: Callable[[Sequence[Any]], Any]
  task: str = 'text_to_clip'
  show: Callable[[Any], Clip] = lambda asked: shown(asked.scene)

  def judged(self, folder: Path, prompts: Sequence[Asked]) -> list[Any]:
    """A verdict on the clip of each prompt."""
    return [self.judge(watch(film(folder, p)), p) for p in prompts]


def make(
  model: Model, kind: Kind, prompts: Sequence[Asked], out: Path, batch: int
) -> dict[str, Path]:
  """Writes the clips of all rows as mp4 and tells in which folder each row lies.

  What is there already is not made again; `origin.keep` sees to it that it is of this model.

  Args:
    model: which is judged.
    kind: of the prompts; what its task is given comes from the true clip of a prompt.
    prompts: from 0 on, without a gap.
    out: the rows' folders are made in it.
    batch: clips sampled at once.
  """
  folders = {row: out / row.replace(' ', '_') for row in (TRUTH, MODEL, CUT, CHANCE)}
  true = lambda missing: [kind.show(p) for p in missing]
  foreign = lambda missing: (_with_next_sound(p, prompts, folders[TRUTH]) for p in missing)
  _write_missing(folders[TRUTH], prompts, true)
  _write_missing(folders[CHANCE], prompts, foreign)

  def answer(joined: bool) -> Callable[[list[Asked]], Iterator[Clip]]:
    sampler = service.sampler_of(model, batch, joined)
    ask = lambda p: request(model, p, film(folders[TRUTH], p), kind.task)
    return lambda missing: sampled(model, sampler, [ask(p) for p in missing])

  _write_missing(folders[MODEL], prompts, answer(joined=True))
  _write_missing(folders[CUT], prompts, answer(joined=False))
  return folders


def request(model: Model, asked: Asked, true_film: Path, task: str) -> Request:
  """What is asked of a model: a task that starts from the true clip of a prompt, if from any."""
  given, path, form = None, '', (FRAMES / FPS, FPS, SIZE, SIZE)
  if task == 'keyframes':
    pictures, paths = watch(true_film).video[list(KEYFRAMES)], [str(true_film)] * len(KEYFRAMES)
    return Request(
      asked.text, asked.number, *form, task=task, keyframes=pictures, keyframe_paths=paths,
      keyframe_s=[frame / FPS for frame in KEYFRAMES],
    )  # fmt: skip
  if task != 'text_to_clip':
    path = str(true_film)
    given = inputs.read(path, model.codec.geometry.audio, (SIZE, SIZE), FPS)
  given_s = FRAMES / FPS / 2 if task == 'extend' else 0.0
  return Request(
    asked.text, asked.number, *form, task=task, given=given, given_s=given_s, given_path=path
  )


def sampled(model: Model, sampler: Sampler, requests: Sequence[Request]) -> Iterator[Clip]:
  """What a model makes of requests, in their order."""
  with jax.set_mesh(model.mesh):
    for made in sampler(model.params, requests):
      yield made.clip


def _with_next_sound(asked: Asked, prompts: Sequence[Asked], folder: Path) -> Clip:
  after = prompts[(asked.number + 1) % len(prompts)]
  own, other = (watch(film(folder, p)) for p in (asked, after))
  return dataclasses.replace(own, audio=other.audio)


def _write_missing(
  folder: Path, prompts: Sequence[Asked], make: Callable[[list[Asked]], Iterable[Clip]]
) -> None:
  make_folder(folder)
  missing = [p for p in prompts if not film(folder, p).is_file()]
  made = make(missing) if missing else ()
  for p, clip in tqdm.tqdm(zip(missing, made), total=len(missing), desc=folder.name, unit='clip'):
    writer.write(film(folder, p), clip)


def film(folder: Path, asked: Asked) -> Path:
  return folder / f'{asked.number:04d}.mp4'


def watch(path: Path) -> Clip:
  """What a viewer gets; its rate is the one that it was written with."""
  return dataclasses.replace(reader.read(path), fps=FPS)


def _judge_room(clip: Clip, asked: Prompt) -> judges.Verdict:
  return judges.judge(clip, asked.scene)


def _judge_kept(clip: Clip, asked: Prompt, frames: Sequence[int] = (0,)) -> judges.Verdict:
  """Also how much is kept of the true frames that were given."""
  true = shown(asked.scene).video
  kept = np.mean([psnr_db(true[frame], clip.video[frame]) for frame in frames])
  return dataclasses.replace(_judge_room(clip, asked), given_db=float(kept))


_judge_keyframes = functools.partial(_judge_kept, frames=KEYFRAMES)


def _judge_speaker(clip: Clip, asked: Line) -> judges.Spoken:
  return judges.judge_speech(clip, asked.speaker)


def _judge_board(clip: Clip, board: Storyboard) -> judges.Cutting:
  return judges.judge_cuts(clip, board.scenes, board.spans)


KINDS: Mapping[str, Kind] = MappingProxyType(
  {
    kind.name: kind
    for kind in (
      Kind('rooms', prompt, _judge_room, judges.summary),
      Kind('speakers', spoken, _judge_speaker, judges.together),
      Kind('storyboards', storyboard, _judge_board, judges.all_cuts, show=shown_shots),
      Kind('first frames', prompt, _judge_kept, judges.summary, 'image_to_clip'),
      Kind('beginnings', prompt, _judge_kept, judges.summary, 'extend'),
      Kind('keyframes', prompt, _judge_keyframes, judges.summary, 'keyframes'),
      Kind('sounds', prompt, _judge_room, judges.summary, 'audio_to_video'),
      Kind('pictures', prompt, _judge_room, judges.summary, 'video_to_audio'),
    )
  }
)


def kinds(names: Sequence[str], tasks: Mapping[str, float]) -> list[Kind]:
  """The kinds of these names whose task is in a mixture; `UserError` for an unknown name."""
  strange = [name for name in names if name not in KINDS]
  if strange:
    raise UserError(f'there are no prompts of kind {strange[0]!r}; there are {", ".join(KINDS)}')
  found = [KINDS[name] for name in names if tasks.get(KINDS[name].task, 0) > 0]
  if not found:
    raise UserError(
      f'the model has learned none of {", ".join(names)}; it knows {", ".join(tasks)}'
    )
  return found
