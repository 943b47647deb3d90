"""What a clip of the generated world shows, drawn from a seed; all else follows from it."""

import contextlib
import dataclasses
import zlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from sorajax.worlds.physics import Motion, Mover, Room, TooManyEvents, follow

Rgb = tuple[int, int, int]

COLOURS: Mapping[str, Rgb] = MappingProxyType(
  {
    'red': (220, 50, 47), 'green': (52, 168, 83), 'blue': (48, 104, 245), 'yellow': (250, 210, 60),
    'purple': (150, 70, 185), 'orange': (240, 130, 35), 'white': (242, 242, 242),
    'pink': (250, 140, 180),
  }
)  # fmt: skip
CAMERAS = ('static', 'pan_left', 'pan_right', 'zoom_in', 'zoom_out')
STATIC = 0.4  # share of scenes whose camera stands still
SHAPES = ('ball', 'box', 'diamond')


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
    amount: how far a pan goes in heights of the picture, or by what factor a zoom enlarges.
  """

  kind: str = 'static'
  amount: float = 0.0


@dataclasses.dataclass(frozen=True)
class Scene:
  """All that a clip shows.

  Attributes:
    bodies: 1 to 4.
    sky: colour of the wall behind.
    ground: of the floor.
    camera: which looks at it.
    seconds: how long.
    width: of the room, in heights of the picture.
  """

  bodies: tuple[Body, ...]
  sky: Rgb
  ground: Rgb
  camera: Camera
  seconds: float
  width: float

  @property
  def room(self) -> Room:
    return Room(GRAVITY, FLOOR, 0.0, self.width)

  def motion(self) -> Motion:
    """What becomes of the bodies."""
    return follow([_mover(body) for body in self.bodies], self.room, self.seconds)


def held_out(body: Body) -> bool:
  """Whether this colour, shape and material never come together in training: 9 of 96 do not."""
  return zlib.crc32(f'{body.colour} {body.shape} {body.material}'.encode()) % 8 == 0


def draw(
  rng: np.random.Generator,
  *,
  seconds: float,
  width: float = 1.0,
  most: int = 2,
  novel: bool = False,
) -> tuple[Scene, Motion]:
  """A scene of which everything is random, and what becomes of it.

  Args:
    rng: every number comes from it.
    seconds: how long.
    width: of the room, in heights of the picture.
    most: bodies at most.
    novel: whether bodies are of the combinations that are held out, or of the others.
  """
  while True:
    scene = _draw(rng, seconds, width, most, novel)
    with contextlib.suppress(TooManyEvents):
      return scene, scene.motion()


def _draw(rng, seconds: float, width: float, most: int, novel: bool) -> Scene:
  count, bodies = int(rng.integers(1, most + 1)), list[Body]()
  for _ in range(ATTEMPTS):
    radius = float(rng.uniform(SMALLEST, LARGEST))
    place = rng.uniform((radius, FLOOR + radius), (width - radius, 1 - radius))
    speed = rng.uniform((-0.7, -0.3), (0.7, 0.5))
    shape, colour, material = (str(rng.choice([*part])) for part in (SHAPES, COLOURS, MATERIALS))
    body = Body(shape, colour, material, radius, _pair(place), _pair(speed))
    clear = all(np.abs(place - b.position).max() > radius + b.radius + MARGIN for b in bodies)
    alike = any(b.colour == body.colour for b in bodies)
    if clear and not alike and held_out(body) == novel:
      bodies.append(body)
    if len(bodies) == count:
      break
  kind = 'static' if rng.random() < STATIC else str(rng.choice(CAMERAS[1:]))
  pan, zoom = rng.uniform((0.1, 1.2), (0.2, 1.5)).tolist()
  amount = {'static': 0.0, 'pan_left': pan, 'pan_right': pan}.get(kind, zoom)
  sky, ground = rng.integers(15, 95, 3), rng.integers(60, 130, 3)
  camera = Camera(kind, amount)
  return Scene(tuple(bodies), _rgb(sky), _rgb(ground), camera, seconds, width)


def _mover(body: Body) -> Mover:
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


def _pair(values: np.ndarray) -> tuple[float, float]:
  x, y = values.tolist()
  return x, y


def _rgb(values: np.ndarray) -> Rgb:
  r, g, b = values.tolist()
  return r, g, b
