"""Pictures of a room with depth: a ray for each point of the pane, and one from there to the light.

A ball is met where a ray enters a sphere; a box or a diamond where it has entered every pair of
parallel faces and left none (Kay & Kajiya 1986).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sorajax.worlds.physics import Placed
from sorajax.worlds.scene import COLOURS, FLOOR, Body, Scene
from sorajax.worlds.solid import AROUND

FINER = 2  # rays for each pixel, along either side
LIGHT = np.array([-0.35, 0.85, 0.4]) / np.linalg.norm([-0.35, 0.85, 0.4])  # the way to it
DIM, BRIGHT = 0.4, 1.1  # of its paint that a body shows in the shade, and straight to the light
TINY = 1e-12
SHADED = 0.5  # of its colour that a floor or a wall keeps there
SIDE = 0.72  # of its colour that a wall to the side keeps
DARK = 0.25  # of its colour that an outline keeps
RIM, EDGE = 0.45, 0.12  # cosine to the eye below which a ball has one, and how wide it is on faces
CLEAR = 0.45  # share of what lies behind that shows through glass
FACES = {  # unit normals of the pairs of faces, and their distance from the centre of radius 1
  'box': (np.eye(3), 1.0),
  'diamond': (np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]]) / 3**0.5, 3**-0.5),
}
SHINE = {'metal': 0.65, 'glass': 0.9, 'wood': 0.1, 'rubber': 0.0}  # white of the light's reflection

dot = lambda a, b: np.einsum('...c, ...c -> ...', a, b)


class Thing(NamedTuple):
  """A body at one moment.

  Attributes:
    body: of which shape, size and paint.
    place: [3] of its centre.
    axes: [3, 3], whose columns are its own.
  """

  body: Body
  place: np.ndarray
  axes: np.ndarray


class Met(NamedTuple):
  """Where some of K rays meet a body.

  Attributes:
    rays: [M], the numbers of those that do.
    far: [M], multiples of the ray's direction to where it enters.
    normal: [M, 3], outwards there.
  """

  rays: np.ndarray
  far: np.ndarray
  normal: np.ndarray


def paint(scene: Scene, placed: Placed, x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
  """The picture on the pane of a room with depth, float64 [H, W, 3], 0 to 255 and a little more.

  Args:
    scene: who plays.
    placed: positions [N, 3], velocities, and turns [N, 4] of its bodies.
    x: [W], of the pixels' centres on the pane.
    y: [H], of them.
    pixel: how large one is.
  """
  assert scene.space is not None
  within = ((np.arange(FINER) + 0.5) / FINER - 0.5) * pixel
  x, y = (np.add.outer(centres, within).ravel() for centres in (x, y))
  eye = np.array(scene.space.eye)
  pane = np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), scene.space.depth)], axis=-1)
  rays = pane.reshape(-1, 3) - eye
  things = [Thing(b, place, axes_of(turn)) for b, place, turn in zip(scene.bodies, *placed[::2])]
  far, picture = _room(scene, eye, rays)
  picture[_shaded(eye + far[:, None] * rays, things)] *= SHADED
  for thing in sorted(things, key=lambda t: -np.linalg.norm(t.place - eye)):
    met = meet(thing, eye, rays)
    met = Met(*(part[met.far < far[met.rays]] for part in met))
    others = [other for other in things if other is not thing]
    picture[met.rays] = _seen(
      thing, met, others, eye, rays[met.rays], picture[met.rays], scene.style
    )
    far[met.rays] = met.far
  return picture.reshape(len(y) // FINER, FINER, len(x) // FINER, FINER, 3).mean(axis=(1, 3))


def meet(thing: Thing, start: np.ndarray, rays: np.ndarray) -> Met:
  """Which rays meet a body from outside; `start` and the directions `rays` are [3] or [K, 3]."""
  body, away = thing.body, start - thing.place
  square, half = dot(rays, rays), dot(away, rays)
  under = half**2 - square * (dot(away, away) - (AROUND[body.shape] * body.radius) ** 2)
  near = np.flatnonzero((under > 0) & (half < 0))  # those that meet the ball around it
  chosen = lambda vectors: np.broadcast_to(vectors, (len(under), 3))[near]
  away, rays = chosen(away), chosen(rays)
  if body.shape == 'ball':
    far = (-half[near] - np.sqrt(under[near])) / dot(rays, rays)
    return Met(near, far, (away + far[:, None] * rays) / body.radius)
  faces, distance = FACES[body.shape]
  normals = thing.axes @ faces.T
  outward, speed = away @ normals, rays @ normals
  speed = np.where(np.abs(speed) < TINY, TINY, speed)
  middle, width = -outward / speed, distance * body.radius / np.abs(speed)
  into, out = middle - width, middle + width
  face, far = into.argmax(axis=-1), into.max(axis=-1)
  hit = (far < out.min(axis=-1)) & (far > 0)
  sign = -np.sign(np.take_along_axis(speed, face[:, None], axis=-1))
  return Met(near[hit], far[hit], (sign * normals.T[face])[hit])


def _shaded(points: np.ndarray, things: Sequence[Thing]) -> np.ndarray:
  """The numbers of `points` [K, 3] that the light does not reach."""
  return np.concatenate([np.zeros(0, int), *(meet(thing, points, LIGHT).rays for thing in things)])


def _room(scene: Scene, eye: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """How far each ray goes, and what it sees: a floor of tiles, boards on the wall behind."""
  assert scene.space is not None
  sky, ground = np.array(scene.sky, float), np.array(scene.ground, float)
  with np.errstate(divide='ignore'):
    down = np.where(rays[:, 1] < 0, (FLOOR - eye[1]) / rays[:, 1], np.inf)
    aside = np.where(rays[:, 0] < 0, -eye[0], scene.width - eye[0]) / rays[:, 0]
  back = np.full(len(rays), -eye[2] / rays[0, 2])
  far = np.minimum(np.minimum(down, aside), back)
  px, py, pz = (eye + far[:, None] * rays).T
  wall = (0.7 + 0.5 * py)[:, None] * sky
  flat = scene.style == 'flat'
  along = np.where(far == back, px, pz)
  board = 0 * px if flat else 8 * np.square(np.square(np.cos(8 * np.pi * along)))
  tile = 0 * px if flat else (np.floor(4 * px) + np.floor(4 * pz)) % 2
  seen = (wall + board[:, None]) * np.where(far == back, 1.0, SIDE)[:, None]
  return far, np.where((far == down)[:, None], (0.9 - 0.2 * tile)[:, None] * ground, seen)


def _paint(body: Body, own: np.ndarray, style: str) -> np.ndarray:
  """The paint [M, 3] of a body at the points `own` [M, 3], along its axes and in its radius."""
  shade = np.ones(len(own))
  if style != 'flat':
    if body.material == 'wood':  # rings
      shade -= 0.15 * (1 + np.sin(9 * np.hypot(own[:, 0] - 0.6, own[:, 1])))
    if body.material == 'metal':
      shade *= 0.8
    if body.shape == 'ball':  # a band, so that turning shows
      shade *= np.where((np.abs(own[:, 1]) < 0.18) & (own[:, 0] > 0), 0.65, 1.0)
  return shade[:, None] * np.array(COLOURS[body.colour], float)


def _seen(
  thing: Thing, met: Met, others: Sequence[Thing], eye: np.ndarray, rays: np.ndarray,
  behind: np.ndarray, style: str,
) -> np.ndarray:  # fmt: skip
  """What is seen of a body [M, 3]: its paint in the light, the light's reflection, its edges."""
  points = eye + met.far[:, None] * rays
  own = (points - thing.place) @ thing.axes / thing.body.radius
  way = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
  facing, made = -dot(met.normal, way), _paint(thing.body, own, style)
  if style != 'flat':
    light = np.clip(met.normal @ LIGHT, 0, None)
    light[_shaded(points, others)] = 0
    made *= (DIM + (BRIGHT - DIM) * light)[:, None]
    if thing.body.material == 'glass':
      made += CLEAR * np.sqrt(facing.clip(0, 1))[:, None] * (behind - made)
    between = LIGHT - way
    mirrored = dot(met.normal, between) / np.linalg.norm(between, axis=-1)
    shine = SHINE[thing.body.material] * mirrored.clip(0, 1) ** 24 * (light > 0)
    made += 255 * shine[:, None]
  if style == 'outlined':
    made[_edge(thing.body, own, facing)] *= DARK
  return made


def _edge(body: Body, own: np.ndarray, facing: np.ndarray) -> np.ndarray:
  """Whether points [M, 3] lie where an outline goes: the rim of a ball, or the edge of a face."""
  if body.shape == 'ball':
    return facing < RIM
  normals, distance = FACES[body.shape]
  return np.sort(np.abs(own @ normals.T), axis=-1)[:, -2] > (1 - EDGE) * distance


def axes_of(turn: np.ndarray) -> np.ndarray:
  """The rotation matrix [3, 3] of a unit quaternion (w, x, y, z)."""
  w, x, y, z = turn
  return np.array(
    [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
  )
