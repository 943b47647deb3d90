"""Scenes and whole clips of the generated world, drawn from a seed."""

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np

from sorajax.worlds import face
from sorajax.worlds.face import Character, Speaker
from sorajax.worlds.pendulum import Pendulum
from sorajax.worlds.physics import Motion, TooManyEvents
from sorajax.worlds.scene import (
  AMBIENCES,
  ATTEMPTS,
  CAMERAS,
  COLOURS,
  FLOOR,
  GRAVITY,
  KINDS,
  LARGEST,
  MARGIN,
  MATERIALS,
  PLAIN,
  SHAPES,
  SMALLEST,
  SOLID,
  STATIC,
  STYLES,
  WATER_DENSITY,
  WATER_DRAG,
  Body,
  Camera,
  Rgb,
  Scene,
  held_out,
  held_out_events,
  held_out_look,
)
from sorajax.worlds.solid import AROUND, Pose, Space
from sorajax.worlds.speech import PAUSE_S, WORDS
from sorajax.worlds.water import Basin

NOVELTIES = ('triple', 'look', 'events')  # combinations that training never shows
DEPTH, EYE = 0.9, (0.8, 2.9)  # of a room with solid bodies; y and z of who looks into it
Rng = np.random.Generator


def novelties(kind: str) -> tuple[str, ...]:
  """Those of a kind of scene, or of all for ''; held-out events come about in rooms alone."""
  return tuple(n for n in NOVELTIES if n != 'events' or kind in ('', 'room'))


@dataclasses.dataclass(frozen=True)
class Cast:
  """What stays the same from shot to shot.

  Attributes:
    kind: of the scenes.
    bodies: where they are is drawn anew.
    character: who speaks.
  """

  kind: str
  bodies: tuple[Body, ...]
  character: Character


def cast(rng: Rng, *, most: int = 2, novel: str = '', kind: str = '') -> Cast:
  """Who and what plays.

  Args:
    rng: every number comes from it.
    most: bodies at most.
    novel: which of `NOVELTIES` it shows; '' for none of them.
    kind: of scene; '' for any.
  """
  kinds = [k for k in KINDS if not novel or k == 'room']
  shares = np.array([KINDS[k] for k in kinds])
  drawn = str(rng.choice(kinds, p=shares / shares.sum()))
  kind = kind or drawn
  fewest = {'speech': 0, 'room': 2 if novel == 'events' else 1}.get(kind, 1)
  most = {'speech': 1, 'pendulum': 1}.get(kind, most)
  count = int(rng.integers(fewest, max(most, fewest) + 1))
  bodies = list[Body]()
  while len(bodies) < count:
    shape, colour, material = (str(rng.choice([*part])) for part in (SHAPES, COLOURS, MATERIALS))
    radius = float(rng.uniform(SMALLEST, LARGEST))
    body = Body(shape, colour, material, radius, (0.0, 0.0), (0.0, 0.0))
    if held_out(body) == (novel == 'triple') and all(b.colour != colour for b in bodies):
      bodies.append(body)
  free = [c for c in COLOURS if all(b.colour != c for b in bodies)]
  return Cast(kind, tuple(bodies), face.draw_character(rng, free))


def shot(
  rng: Rng, who: Cast, *, seconds: float, width: float, novel: str = ''
) -> tuple[Scene, Motion]:
  """A scene in which `who` plays, and what becomes of it.

  In a room that is narrower than it is high, all are smaller by as much.
  """
  scale = min(width, 1.0)
  bodies = tuple(dataclasses.replace(b, radius=scale * b.radius) for b in who.bodies)
  who = dataclasses.replace(who, bodies=bodies)
  while True:
    scene = _look(rng, PLAYS[who.kind](rng, who, seconds, width), novel)
    with contextlib.suppress(TooManyEvents):
      motion = scene.motion()
      if held_out_look(scene) == (novel == 'look') and held_out_events(motion) == (
        novel == 'events'
      ):
        return scene, motion


def _look(rng: Rng, scene: Scene, novel: str) -> Scene:
  """The scene with a camera, a style, colours and an ambience of its own."""
  still = rng.random() < STATIC and novel != 'look'
  kinds = [c for c in CAMERAS[1:] if c != 'follow' or scene.kind == 'room']
  kind = 'static' if still else str(rng.choice(kinds))
  pan, zoom, shake = rng.uniform((0.1, 1.2, 0.01), (0.2, 1.5, 0.03)).tolist()
  amounts = {'pan_left': pan, 'pan_right': pan, 'zoom_in': zoom, 'zoom_out': zoom, 'shake': shake}
  plain = rng.random() < PLAIN and novel != 'look'
  sky, ground = rng.integers(15, 80, 3), rng.integers(50, 105, 3)  # darker than paint
  return dataclasses.replace(
    scene, sky=_rgb(sky), ground=_rgb(ground), camera=Camera(kind, amounts.get(kind, 0.0)),
    style='plain' if plain else str(rng.choice(STYLES[1:])),
    ambience=str(rng.choice(AMBIENCES, p=[0.6, 0.2, 0.2])),
  )  # fmt: skip


def _scene(bodies: tuple[Body, ...], seconds: float, width: float, **parts) -> Scene:
  return Scene(bodies, (0, 0, 0), (0, 0, 0), Camera(), seconds, width, **parts)


def _room(rng: Rng, who: Cast, seconds: float, width: float) -> Scene:
  placed = list[Body]()
  for _ in range(ATTEMPTS):
    if len(placed) == len(who.bodies):
      return _scene(tuple(placed), seconds, width)
    body = who.bodies[len(placed)]
    r = body.radius
    place = rng.uniform((r, FLOOR + r), (width - r, 1 - r))
    speed = rng.uniform((-0.7, -0.3), (0.7, 0.5))
    gaps = (np.abs(place - b.position).max() - r - b.radius for b in placed)
    if all(gap > MARGIN for gap in gaps):
      placed.append(dataclasses.replace(body, position=_pair(place), velocity=_pair(speed)))
  return _room(rng, who, seconds, width)


def _speech(rng: Rng, who: Cast, seconds: float, width: float) -> Scene:
  room = _room(rng, who, seconds, width)
  radius = min(width, 1.0) * float(rng.uniform(0.24, 0.32))
  place = rng.uniform((1.2 * radius, 0.45), (width - 1.2 * radius, 0.55))
  pace = who.character.voice.pace_s
  longest = 2 * (0.1 + pace) + PAUSE_S  # of a word
  count = int(rng.integers(1, max(min(int((seconds - 0.4) / longest), 3), 1) + 1))
  words = tuple(str(w) for w in rng.choice(WORDS, count, replace=False))
  start = float(rng.uniform(0.1, max(seconds - 0.2 - count * longest, 0.11)))
  blinks = tuple(rng.uniform(0, seconds, int(rng.integers(0, 3))).tolist())
  speaker = Speaker(who.character, _pair(place), radius, words, start, blinks)
  return dataclasses.replace(room, speaker=speaker)


def _pendulum(rng: Rng, who: Cast, seconds: float, width: float) -> Scene:
  (body,) = who.bodies
  length = float(rng.uniform(0.45, 0.7))
  widest, side = float(rng.uniform(0.35, 0.75)), int(rng.choice((-1, 1)))
  mass = MATERIALS[body.material].density * body.radius**2
  swing = Pendulum((width / 2, 0.97), length, widest, side, GRAVITY, mass)
  position, velocity, _ = swing.at(0.0)
  hung = dataclasses.replace(body, position=_pair(position[0]), velocity=_pair(velocity[0]))
  return _scene((hung,), seconds, width, pendulum=swing)


def _water(rng: Rng, who: Cast, seconds: float, width: float) -> Scene:
  basin = Basin(float(rng.uniform(0.4, 0.55)), FLOOR, GRAVITY, WATER_DENSITY, WATER_DRAG)
  lanes = (np.arange(len(who.bodies)) + 0.5) / len(who.bodies) * width
  dropped = tuple(
    dataclasses.replace(
      b, position=(float(x), float(rng.uniform(basin.level + 1.1 * b.radius, 0.95)))
    )
    for b, x in zip(who.bodies, lanes)
  )
  return _scene(dropped, seconds, width, basin=basin)


def _solid(rng: Rng, who: Cast, seconds: float, width: float) -> Scene:
  placed, poses = list[Body](), list[Pose]()
  reach = lambda b: AROUND[b.shape] * b.radius
  for _ in range(ATTEMPTS):
    if len(placed) == len(who.bodies):
      space = Space(DEPTH, (width / 2, *EYE), tuple(poses))
      return _scene(tuple(placed), seconds, width, space=space)
    body = who.bodies[len(placed)]
    r = reach(body)
    place = rng.uniform((r, FLOOR + r, r), (width - r, 1 - r, DEPTH - r))
    speed = rng.uniform((-0.7, -0.3, -0.5), (0.7, 0.5, 0.5))
    turn, spin = rng.standard_normal(4), rng.uniform(-4, 4, 3)
    turn /= np.linalg.norm(turn)
    centres = [(*b.position, pose.z) for b, pose in zip(placed, poses)]
    gaps = (np.linalg.norm(place - c) - r - reach(b) for b, c in zip(placed, centres))
    if all(gap > MARGIN for gap in gaps):
      placed.append(dataclasses.replace(body, position=_pair(place[:2]), velocity=_pair(speed[:2])))
      poses.append(
        Pose(float(place[2]), float(speed[2]), tuple(turn.tolist()), tuple(spin.tolist()))
      )
  return _solid(rng, who, seconds, width)


PLAYS: dict[str, Callable[[Rng, Cast, float, float], Scene]] = {
  'room': _room,
  'speech': _speech,
  'pendulum': _pendulum,
  'water': _water,
  SOLID: _solid,
}


def _pair(values: np.ndarray) -> tuple[float, float]:
  x, y = values.tolist()
  return x, y


def _rgb(values: np.ndarray) -> Rgb:
  r, g, b = values.tolist()
  return r, g, b
