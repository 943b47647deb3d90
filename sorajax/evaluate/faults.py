"""Clips of the generated world with a fault planted, to try judges on."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from sorajax.clip import Clip
from sorajax.evaluate.benchmark import (
  FPS,
  FRAMES,
  RATE_HZ,
  SIZE,
  Line,
  Storyboard,
  shown,
  shown_shots,
)
from sorajax.geometry import samples_of
from sorajax.worlds import picture
from sorajax.worlds.face import Speaker
from sorajax.worlds.physics import Motion, Placed, follow
from sorajax.worlds.scene import COLOURS, MATERIALS, SHAPES, Body, Scene, mover
from sorajax.worlds.speech import WORDS

Fault = Callable[[Scene, Scene], Clip]  # of a scene, and of another one, a clip of the first
SpokenFault = Callable[[Line, Line], Clip]
CutFault = Callable[[Storyboard, Storyboard], Clip]


def _teleport(asked: Scene, other: Scene) -> Clip:
  """After two seconds the first body is elsewhere."""
  motion = asked.motion()

  def at(time_s: float) -> Placed:
    position, velocity, angle = motion.at(time_s)
    if time_s > 2.0:
      position = position.copy()
      position[0, 0] += 0.45 if position[0, 0] < 0.5 else -0.45
    return position, velocity, angle

  return shown(asked, Motion(at, motion.contacts))


def _vanish(asked: Scene, other: Scene) -> Clip:
  """The first body is gone for a second."""
  whole, less = shown(asked), dataclasses.replace(asked, bodies=asked.bodies[1:])
  motion = asked.motion()

  def rest(time_s: float) -> Placed:
    position, velocity, angle = motion.at(time_s)
    return position[1:], velocity[1:], angle[1:]

  video = whole.video.copy()
  span = slice(round(1.5 * FPS), round(2.5 * FPS))
  video[span] = picture.render(less, Motion(rest, ()), np.arange(FRAMES)[span] / FPS, SIZE, SIZE)
  return dataclasses.replace(whole, video=video)


def _swap(asked: Scene, other: Scene) -> Clip:
  """Half way, the two bodies take each other's place."""
  motion = asked.motion()

  def at(time_s: float) -> Placed:
    position, velocity, angle = motion.at(time_s)
    return (position[::-1] if time_s > 2.0 else position), velocity, angle

  return shown(asked, Motion(at, motion.contacts))


def _exchanged(asked: Scene, other: Scene) -> Clip:
  """Each of two bodies begins where, and as fast as, the other should."""
  at = lambda body, as_: dataclasses.replace(
    body, radius=as_.radius, position=as_.position, velocity=as_.velocity
  )
  bodies = tuple(at(body, as_) for body, as_ in zip(asked.bodies, asked.bodies[::-1]))
  return shown(dataclasses.replace(asked, bodies=bodies))


def _heavy(factor: float) -> Fault:
  def fault(asked: Scene, other: Scene) -> Clip:
    room = dataclasses.replace(asked.room, gravity=factor * asked.room.gravity)
    return shown(asked, follow([mover(body) for body in asked.bodies], room, asked.seconds))

  return fault


def _dull(asked: Scene, other: Scene) -> Clip:
  """Everything bounces half as high as it should."""
  movers = [mover(body) for body in asked.bodies]
  movers = [dataclasses.replace(m, restitution=0.7 * m.restitution) for m in movers]
  return shown(asked, follow(movers, asked.room, asked.seconds))


def _late(frames: int) -> Fault:
  def fault(asked: Scene, other: Scene) -> Clip:
    whole = shown(asked)
    audio = np.roll(whole.audio, samples_of(frames, FPS, RATE_HZ), axis=0)
    audio[: samples_of(frames, FPS, RATE_HZ)] = 0
    return dataclasses.replace(whole, audio=audio)

  return fault


def _foreign(asked: Scene, other: Scene) -> Clip:
  """The sound of another clip."""
  return dataclasses.replace(shown(asked), audio=shown(other).audio)


def _changed(part: str, choices: Sequence[str]) -> Fault:
  """Every body is of another kind than asked for, in picture and sound."""

  def fault(asked: Scene, other: Scene) -> Clip:
    def change(body: Body) -> Body:
      own = {getattr(b, part) for b in asked.bodies}
      free = [c for c in choices if c not in own]
      kind: dict[str, Any] = {part: free[asked.bodies.index(body) % len(free)]}
      return dataclasses.replace(body, **kind)

    wrong = dataclasses.replace(asked, bodies=tuple(map(change, asked.bodies)))
    return shown(wrong, asked.motion() if part != 'shape' else wrong.motion())

  return fault


def _mirrored(asked: Scene, other: Scene) -> Clip:
  whole = shown(asked)
  return dataclasses.replace(whole, video=whole.video[:, :, ::-1])


def _mouth_late(frames: int) -> SpokenFault:
  def fault(asked: Line, other: Line) -> Clip:
    whole = shown(asked.scene)
    still = np.repeat(whole.video[:1], frames, axis=0)
    return dataclasses.replace(whole, video=np.concatenate([still, whole.video[:-frames]]))

  return fault


def _said_by(asked: Line, speaker: Speaker) -> Clip:
  return shown(dataclasses.replace(asked.scene, speaker=speaker))


def _other_words(asked: Line, other: Line) -> Clip:
  """The same face says other words, in picture and sound."""
  free = [word for word in WORDS if word not in asked.speaker.words]
  words = tuple(free[: len(asked.speaker.words)])
  return _said_by(asked, dataclasses.replace(asked.speaker, words=words))


def _of_another(part: str) -> SpokenFault:
  """The same words, by a character with the voice, or with the face, of another one."""

  def fault(asked: Line, other: Line) -> Clip:
    taken: dict[str, Any] = {part: getattr(other.speaker.character, part)}
    mixed = dataclasses.replace(asked.speaker.character, **taken)
    return _said_by(asked, dataclasses.replace(asked.speaker, character=mixed))

  return fault


def _cut_late(frames: int) -> CutFault:
  def fault(asked: Storyboard, other: Storyboard) -> Clip:
    late = tuple(cut + frames for cut in asked.cuts)
    return shown_shots(dataclasses.replace(asked, cuts=late))

  return fault


def _not_cut(asked: Storyboard, other: Storyboard) -> Clip:
  return shown_shots(dataclasses.replace(asked, scenes=asked.scenes[:1], cuts=()))


def _cut_once_more(asked: Storyboard, other: Storyboard) -> Clip:
  """Half way through its longest shot, another storyboard's first scene begins."""
  longest = max(range(len(asked.spans)), key=lambda number: len(asked.spans[number]))
  span, scenes = asked.spans[longest], list(asked.scenes)
  scenes.insert(longest + 1, other.scenes[0])
  cuts = tuple(sorted((*asked.cuts, (span.start + span.stop) // 2)))
  return shown_shots(dataclasses.replace(asked, scenes=tuple(scenes), cuts=cuts))


def _recast(asked: Storyboard, other: Storyboard) -> Clip:
  """Other bodies play in all shots but the first."""
  later = range(1, len(asked.scenes))
  scenes = (asked.scenes[0], *(other.scenes[number % len(other.scenes)] for number in later))
  return shown_shots(dataclasses.replace(asked, scenes=scenes))


CUT_FAULTS: Mapping[str, CutFault] = MappingProxyType(
  {
    'cut 4 frames late': _cut_late(4),
    'not cut': _not_cut,
    'cut once more': _cut_once_more,
    'other bodies after the first cut': _recast,
  }
)
SPOKEN_FAULTS: Mapping[str, SpokenFault] = MappingProxyType(
  {
    'mouth 2 frames late': _mouth_late(2),
    'mouth 4 frames late': _mouth_late(4),
    'sound of another clip': lambda asked, other: _foreign(asked.scene, other.scene),
    'other words': _other_words,
    'the voice of another': _of_another('voice'),
    'the face of another': _of_another('face'),
  }
)
FAULTS: Mapping[str, Fault] = MappingProxyType(
  {
    'a body elsewhere from one frame to the next': _teleport,
    'a body gone for a second': _vanish,
    'two bodies swapped': _swap,
    'gravity 1.5×': _heavy(1.5),
    'restitution 0.7×': _dull,
    'sound 1 frame late': _late(1),
    'sound 2 frames late': _late(2),
    'sound 4 frames late': _late(4),
    'sound of another clip': _foreign,
    'other colours': _changed('colour', list(COLOURS)),
    'other shapes': _changed('shape', list(SHAPES)),
    'other materials': _changed('material', list(MATERIALS)),
    'left and right mirrored': _mirrored,
    'two bodies exchanged from the start': _exchanged,
  }
)
