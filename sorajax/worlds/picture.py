"""Pictures of a scene, drawn by distance: an edge is blended over one pixel, wherever it lies."""

import math
from collections.abc import Sequence

import numpy as np

from sorajax.worlds import face, rays
from sorajax.worlds.physics import Motion
from sorajax.worlds.scene import COLOURS, FLOOR, Body, Scene
from sorajax.worlds.water import SURFACE

CLOSER = 1.4  # by how much a camera that follows enlarges
DARK = 0.25  # of its colour that an outline keeps
NIGHT = np.array([0.4, 0.45, 0.75], np.float32)
SEPIA = np.array([1.05, 0.85, 0.6], np.float32)
BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)
ROD, POST = np.array([150.0, 150.0, 155.0]), np.array([205.0, 190.0, 120.0])
WATER, WATER_COVER = np.array([40.0, 95.0, 160.0], np.float32), 0.55
CALM_S = 0.7  # after which waves are a third as high


def view(scene: Scene, motion: Motion, time_s: float) -> np.ndarray:
  """(x, y, zoom): the centre of what is seen, and how enlarged; the floor stays below."""
  kind, amount, width = scene.camera.kind, scene.camera.amount, scene.width
  share = time_s / scene.seconds
  x, zoom, lift = width / 2, 1.0, 0.0
  if kind in ('pan_left', 'pan_right'):
    way = -1 if kind == 'pan_left' else 1
    zoom = 1 / (1 - amount)  # so that the room's end is never seen
    x += way * (2 * share - 1) * amount * width / 2
  elif kind in ('zoom_in', 'zoom_out'):
    begin, end = (1.0, amount) if kind == 'zoom_in' else (amount, 1.0)
    zoom = begin * (end / begin) ** share
  elif kind == 'follow':
    zoom = CLOSER
    half = width / 2 / zoom
    x = float(np.clip(motion.at(time_s)[0][0, 0], half, width - half))
  elif kind == 'shake':
    zoom = 1 / (1 - 2 * amount)
    x += amount * math.sin(2 * math.pi * 3.1 * time_s)
    lift = amount * (1 + math.sin(2 * math.pi * 4.3 * time_s))
  return np.array([x, 0.5 / zoom + lift, zoom])


def render(scene: Scene, motion: Motion, times: np.ndarray, height: int, width: int) -> np.ndarray:
  """uint8 [F, H, W, 3] of the moments `times`, in seconds."""
  moments = times.tolist()
  seen = [_places(view(scene, motion, t), height, width) for t in moments]
  if scene.space is None:
    pictures = _room(scene, *(np.array(part) for part in zip(*seen)))
    for picture, time_s, (x, y, pixel) in zip(pictures, moments, seen):
      _play(picture, scene, motion, time_s, x, y, pixel)
  else:
    painted = [rays.paint(scene, motion.at(t), *place) for t, place in zip(moments, seen)]
    pictures = np.stack(painted).astype(np.float32)
  if scene.style == 'night':
    pictures *= NIGHT
  elif scene.style == 'sepia':
    pictures = (pictures @ BRIGHTNESS)[..., None] * SEPIA
  return np.rint(pictures.clip(0, 255)).astype(np.uint8)


def _play(
  picture: np.ndarray, scene: Scene, motion: Motion, time_s: float, x, y, pixel: float
) -> None:
  """Paints all that is in a room without depth upon its picture, float32 [H, W, 3]."""
  positions, _, angles = motion.at(time_s)
  if scene.pendulum is not None:
    _hang(picture, scene, positions[0], x, y, pixel)
  for body, place, angle in zip(scene.bodies, positions, angles):
    near = _near(place, body.radius + pixel, x, y)
    across, up = x[near[1]] - place[0], (y[near[0]] - place[1])[:, None]
    cover, paint = _body(body, across, up, angle, pixel, scene.style)
    picture[near] += (paint - picture[near]) * cover[..., None]
  if scene.basin is not None:
    under = _cover(_surface(scene, motion, x, time_s) - y[:, None], pixel)
    under *= _cover(y - FLOOR, pixel)[:, None]
    picture += (WATER - picture) * (WATER_COVER * under)[..., None].astype(np.float32)
  if scene.speaker is not None:
    _speak(picture, scene, time_s, x, y, pixel)  # in front, so that the mouth is seen


def _near(place: Sequence[float], reach: float, x, y) -> tuple[slice, slice]:
  """The rows and columns of the pixels that lie no further from a place along either side."""
  within = lambda rising, at: slice(*np.searchsorted(rising, (at - reach, at + reach)))
  return within(-y, -place[1]), within(x, place[0])


def _places(seen: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, float]:
  """Of the centres of pixels, x [W] and y [H] in the world; and how large a pixel is there."""
  x, y, zoom = seen
  pixel = 1 / (height * zoom)
  across, down = np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2
  return x + across * pixel, y - down * pixel, pixel


def _room(scene: Scene, x: np.ndarray, y: np.ndarray, pixel: np.ndarray) -> np.ndarray:
  """The wall, darker towards the floor, with a paler board every quarter, and the floor.

  Args:
    scene: whose colours they are.
    x: [F, W], of the pixels' centres in each frame.
    y: [F, H], of them.
    pixel: [F], how large one is.

  Returns:
    float32 [F, H, W, 3].
  """
  wall = (0.7 + 0.5 * y)[..., None] * np.array(scene.sky, float)
  board, strewn = 8 * np.cos(8 * np.pi * x) ** 4, 0.8 + 0.2 * np.cos(12 * np.pi * x)
  if scene.style == 'flat':
    board, strewn = 0 * x, 0.8 + 0 * x
  ground = strewn[..., None] * np.array(scene.ground, float)
  low = _cover(FLOOR - y, pixel[:, None]).astype(np.float32)[..., None]
  boards = (1 - low) * board.astype(np.float32)[:, None]
  pictures = ((1 - low) * wall.astype(np.float32))[:, :, None] + boards[..., None]
  begins = int((low > 0).any(axis=(0, 2)).argmax())  # the first row with some floor
  pictures[:, begins:] += low[:, begins:, None] * ground.astype(np.float32)[:, None]
  return pictures


def _speak(picture: np.ndarray, scene: Scene, time_s: float, x, y, pixel: float) -> None:
  """Paints the speaker."""
  assert scene.speaker is not None
  near = _near(scene.speaker.place, face.REACH * scene.speaker.radius + pixel, x, y)
  picture = picture[near]
  named = lambda colour: np.array(COLOURS[colour], float)
  painted = face.layers(scene.speaker, time_s, x[near[1]], y[near[0]], pixel, named)
  for number, (cover, colour) in enumerate(painted):
    outlined = scene.style == 'outlined' and not number
    colour = (_outlined(colour, cover) if outlined else colour).astype(np.float32)
    picture += (colour - picture) * cover[..., None].astype(np.float32)


def _hang(picture: np.ndarray, scene: Scene, weight: np.ndarray, x, y, pixel: float) -> None:
  """Paints the rod of a pendulum, and the post with the chime below it."""
  assert scene.pendulum is not None
  swing, (body,) = scene.pendulum, scene.bodies
  start, rod = np.array(swing.pivot), weight - np.array(swing.pivot)
  across, up = x - start[0], (y - start[1])[:, None]
  share = np.clip((across * rod[0] + up * rod[1]) / swing.length**2, 0, 1)
  away = np.hypot(across - share * rod[0], up - share * rod[1])
  top = swing.pivot[1] - swing.length - body.radius
  post = np.minimum(0.025 - np.abs(x - swing.pivot[0]), np.minimum(top - y, y - FLOOR)[:, None])
  for inside, colour in ((0.008 - away, ROD), (post, POST)):
    picture += (colour - picture) * _cover(inside, pixel)[..., None]


def _surface(scene: Scene, motion: Motion, x: np.ndarray, time_s: float) -> np.ndarray:
  """y of the water [W]: level, but for the waves of what fell in."""
  assert scene.basin is not None
  level = np.full(len(x), scene.basin.level)
  for contact in motion.contacts:
    since = time_s - contact.time_s
    if contact.other == SURFACE and since > 0:
      away = np.abs(x - contact.place[0])
      high = 0.03 * min(contact.speed, 1.0) * math.exp(-since / CALM_S) * min(since / 0.05, 1)
      level += high * np.exp(-3 * away) * np.cos(2 * np.pi * (2.5 * since - 4 * away))
  return level


def _body(
  body: Body, x, y, angle: float, pixel: float, style: str
) -> tuple[np.ndarray, np.ndarray]:
  """How much of each pixel the body covers, [H, W], and its colour there, [H, W, 3]."""
  r, distance = body.radius, np.sqrt(x * x + y * y)
  across, up = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
  if body.shape == 'ball':
    inside = r - distance
  elif body.shape == 'box':
    inside = r - np.maximum(np.abs(x), np.abs(y))
  else:
    inside = (r - np.abs(x) - np.abs(y)) / np.sqrt(2)
  shade = np.ones_like(distance)
  if style != 'flat':
    if body.material == 'metal':  # dim, with a bright band
      shade -= 0.32 * (1 - np.exp(-(((x + y) / r + 0.4) ** 2) * 8))
    elif body.material == 'wood':  # rings
      shade -= 0.15 * (1 + np.sin(9 * np.hypot(across - 0.6 * r, up) / r))
    elif body.material == 'glass':  # a bright rim around a dim middle
      shade -= 0.32 * _cover(inside - 0.35 * r, pixel)
    if body.shape == 'ball':  # a spoke, so that turning shows
      shade *= 1 - 0.3 * _cover(0.18 * r - np.abs(up), pixel) * (across > 0)
  colour = shade[..., None] * np.array(COLOURS[body.colour], float)
  cover = _cover(inside, pixel)
  return cover, _outlined(
    colour, _cover(inside - 1.5 * pixel, pixel)
  ) if style == 'outlined' else colour


def _outlined(colour: np.ndarray, within: np.ndarray) -> np.ndarray:
  """The colour, darker where `within` [H, W] is not 1."""
  return colour * (DARK + (1 - DARK) * within[..., None])


def _cover(inside: np.ndarray, pixel: float | np.ndarray) -> np.ndarray:
  """The share of a pixel within an edge that lies `inside` from its centre."""
  return np.clip(inside / pixel + 0.5, 0, 1)
