"""What a shot of the generated world shows; all else follows from it."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sorajax.worlds.face import Speaker
from sorajax.worlds.pendulum import Pendulum
from sorajax.worlds.physics import LEFT, RIGHT, Motion, Mover, Placed, Room, follow
from sorajax.worlds.solid import Hall, Solid, Space, tumble
from sorajax.worlds.water import Basin, Dive, Diver

Rgb = tuple[int, int, int]

COLOURS: Mapping[str, Rgb] = MappingProxyType(
  {
    'red': (220, 50, 47), 'green': (55, 190, 90), 'blue': (48, 104, 245), 'yellow': (250, 210, 60),
    'purple': (155, 70, 200), 'orange': (240, 130, 35), 'white': (242, 242, 242),
    'pink': (250, 140, 180),
  }
)  # fmt: skip
CAMERAS = ('static', 'pan_left', 'pan_right', 'zoom_in', 'zoom_out', 'follow', 'shake')
STATIC = 0.4  # share of scenes whose camera stands still
STYLES = ('plain', 'flat', 'outlined', 'night', 'sepia')
PLAIN = 0.6  # share of scenes that are drawn plainly
SHAPES = ('ball', 'box', 'diamond')
KINDS: Mapping[str, float] = MappingProxyType(  # of scenes, and how often each comes
  {'room': 0.6, 'speech': 0.2, 'pendulum': 0.1, 'water': 0.1}
)
SOLID = 'solid'  # the kind that has depth and needs MuJoCo; it comes only where it is asked for
AMBIENCES = ('quiet', 'wind', 'hum')


@dataclasses.dataclass(frozen=True)
class Material:
  """How a body bounces and sounds.

  Attributes:
    restitution: share of the speed that is left after the floor.
    density: mass of a body of radius 1.
    hz: pitch of a body of radius 0.1; it falls as the radius grows.
    ratios: of the frequencies of its modes to the first.
    ring_s: after which the first mode has fallen by 60 dB.
  """

  restitution: float
  density: float
  hz: float
  ratios: tuple[float, ...]
  ring_s: float


# Ratios: free bars and plates (Fletcher & Rossing 1998).
MATERIALS: Mapping[str, Material] = MappingProxyType(
  {
    'metal': Material(0.6, 3.0, 700.0, (1.0, 2.76, 5.4, 8.93), 0.7),
    'glass': Material(0.68, 2.0, 1500.0, (1.0, 2.32, 4.25, 6.63), 0.35),
    'wood': Material(0.55, 1.0, 330.0, (1.0, 2.57, 4.9), 0.12),
    'rubber': Material(0.82, 1.2, 120.0, (1.0,), 0.1),
  }
)
GRAVITY, FLOOR = 2.0, 0.12
SMALLEST, LARGEST = 0.08, 0.13
MARGIN = 0.01  # between bodies at the start
ATTEMPTS = 1000  # to find a place for all of them
WATER_DENSITY, WATER_DRAG = 1.5, 2.5  # wood and rubber float, glass and metal sink


@dataclasses.dataclass(frozen=True)
class Body:
  """A thing that moves.

  Attributes:
    shape: one of `SHAPES`; boxes and diamonds keep their orientation.
    colour: a key of `COLOURS`.
    material: a key of `MATERIALS`.
    radius: half its height.
    position: (x, y) of its centre at the start, y up, in heights of the picture.
    velocity: at the start.
  """

  shape: str
  colour: str
  material: str
  radius: float
  position: tuple[float, float]
  velocity: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Camera:
  """What part of the world is seen.

  Attributes:
    kind: how it moves, one of `CAMERAS`.
    amount: how far a pan goes in heights of the picture, by what factor a zoom enlarges, or how far
      a shake goes; no matter elsewhere.
  """

  kind: str = 'static'
  amount: float = 0.0


@dataclasses.dataclass(frozen=True)
class Scene:
  """All that a shot shows.

  Attributes:
    bodies: at most 4; with a pendulum, its weight alone.
    sky: colour of the wall behind.
    ground: of the floor.
    camera: which looks at it.
    seconds: how long.
    width: of the room, in heights of the picture.
    style: how it is drawn, one of `STYLES`.
    ambience: what is heard all the while, one of `AMBIENCES`.
    pendulum: from which the body hangs.
    basin: of the water into which the bodies fall.
    speaker: who speaks.
    space: depth of the room, where the bodies are solid.
  """

  bodies: tuple[Body, ...]
  sky: Rgb
  ground: Rgb
  camera: Camera
  seconds: float
  width: float
  style: str = 'plain'
  ambience: str = 'quiet'
  pendulum: Pendulum | None = None
  basin: Basin | None = None
  speaker: Speaker | None = None
  space: Space | None = None

  @property
  def kind(self) -> str:
    """One of `KINDS`, or `SOLID`."""
    parts = {
      'pendulum': self.pendulum,
      'water': self.basin,
      'speech': self.speaker,
      SOLID: self.space,
    }
    return next((kind for kind, part in parts.items() if part is not None), 'room')

  @property
  def room(self) -> Room:
    return Room(GRAVITY, FLOOR, 0.0, self.width)

  def motion(self) -> Motion:
    """What becomes of the bodies.

    Raises:
      TooManyEvents: they meet without end.
      UserError: the room has depth and MuJoCo is not installed.
    """
    if self.pendulum is not None:
      return Motion(self.pendulum.at, tuple(self.pendulum.contacts(self.seconds)))
    if self.basin is not None:
      return _dives(self.bodies, self.basin, self.seconds)
    if self.space is not None:
      hall = Hall(GRAVITY, FLOOR, self.width, self.space.depth)
      return tumble(_solids(self.bodies, self.space), hall, self.seconds)
    return follow([mover(body) for body in self.bodies], self.room, self.seconds)


def held_out(body: Body) -> bool:
  """Whether this colour, shape and material never come together in training: 9 of 96 do not."""
  return _one_in_eight(f'{body.colour} {body.shape} {body.material}')


def held_out_look(scene: Scene) -> bool:
  """Whether this camera and this style never come together in training: 6 of 35 do not."""
  return scene.style != 'plain' and _one_in_eight(f'{scene.camera.kind} {scene.style}')


def held_out_events(motion: Motion) -> bool:
  """Whether the first two contacts are a wall's and then a body's; never so in training."""
  first = [c.other if isinstance(c.other, str) else 'body' for c in motion.contacts[:2]]
  return len(first) == 2 and first[0] in (LEFT, RIGHT) and first[1] == 'body'


def _one_in_eight(what: str) -> bool:
  return zlib.crc32(what.encode()) % 8 == 0


def _dives(bodies: Sequence[Body], basin: Basin, seconds: float) -> Motion:
  dives = [
    Dive(
      Diver(
        b.radius, MATERIALS[b.material].density, MATERIALS[b.material].density * b.radius**2,
        MATERIALS[b.material].restitution / 2, b.position,
      ),
      basin, number, seconds,
    )
    for number, b in enumerate(bodies)
  ]  # fmt: skip

  def at(time_s: float) -> Placed:
    y, v = np.array([dive.at(time_s) for dive in dives]).T
    x = np.array([b.position[0] for b in bodies])
    return np.stack([x, y], axis=-1), np.stack([0 * v, v], axis=-1), np.zeros(len(bodies))

  contacts = sorted((c for dive in dives for c in dive.contacts), key=lambda c: c.time_s)
  return Motion(at, tuple(contacts))


def _solids(bodies: Sequence[Body], space: Space) -> list[Solid]:
  return [
    Solid(
      b.shape, b.radius, MATERIALS[b.material].density * b.radius**3,
      MATERIALS[b.material].restitution, (*b.position, pose.z), (*b.velocity, pose.approach),
      pose.turn, pose.spin,
    )
    for b, pose in zip(bodies, space.poses, strict=True)
  ]  # fmt: skip


def mover(body: Body) -> Mover:
  """What mechanics knows of it."""
  material, r = MATERIALS[body.material], body.radius
  rolls = body.shape == 'ball'
  corners = {
    'ball': (),
    'box': ((r, r), (-r, r), (-r, -r), (r, -r)),
    'diamond': ((r, 0.0), (0.0, r), (-r, 0.0), (0.0, -r)),
  }[body.shape]
  return Mover(
    r, material.density * r**2, material.restitution, 0.03 if rolls else 0.3, body.position,
    body.velocity, rolls, corners,
  )  # fmt: skip
