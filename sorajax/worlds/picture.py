"""Pictures of a scene, drawn by distance: an edge is blended over one pixel, wherever it lies."""

import numpy as np

from sorajax.worlds.physics import Motion
from sorajax.worlds.scene import COLOURS, FLOOR, Body, Camera, Scene


def view(camera: Camera, share: float, width: float) -> np.ndarray:
  """(x, y, zoom): the centre of what is seen when `share` of the clip is over, and how enlarged."""
  x, zoom, along = width / 2, 1.0, 2 * share - 1
  if camera.kind.startswith('pan'):
    way = -1 if camera.kind == 'pan_left' else 1
    zoom = 1 / (1 - camera.amount)  # so that the room's end is never seen
    x += way * along * camera.amount * width / 2
  elif camera.kind.startswith('zoom'):
    begin, end = (1.0, camera.amount) if camera.kind == 'zoom_in' else (camera.amount, 1.0)
    zoom = begin * (end / begin) ** share
  return np.array([x, 0.5 / zoom, zoom])  # the floor stays at the lower edge


def render(scene: Scene, motion: Motion, times: np.ndarray, height: int, width: int) -> np.ndarray:
  """uint8 [F, H, W, 3] of the moments `times`, in seconds."""
  return np.stack([_frame(scene, motion, float(t), height, width) for t in times])


def _frame(scene: Scene, motion: Motion, time_s: float, height: int, width: int) -> np.ndarray:
  x, y, pixel = _places(view(scene.camera, time_s / scene.seconds, scene.width), height, width)
  picture = _room(scene, x, y, pixel)
  positions, _, angles = motion.at(time_s)
  for body, place, angle in zip(scene.bodies, positions, angles):
    rim = body.radius + pixel
    near = _within(-y, -place[1] - rim, -place[1] + rim), _within(x, place[0] - rim, place[0] + rim)
    across, up = x[near[1]] - place[0], (y[near[0]] - place[1])[:, None]
    cover, paint = _body(body, across, up, angle, pixel)
    picture[near] += (paint - picture[near]) * cover[..., None]
  return np.rint(picture.clip(0, 255)).astype(np.uint8)


def _within(rising: np.ndarray, low: float, high: float) -> slice:
  return slice(*np.searchsorted(rising, (low, high)))


def _places(seen: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, float]:
  """Of the centres of pixels, x [W] and y [H] in the world; and how large a pixel is there."""
  x, y, zoom = seen
  pixel = 1 / (height * zoom)
  across, down = np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2
  return x + across * pixel, y - down * pixel, pixel


def _room(scene: Scene, x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
  """The wall, darker towards the floor, with a paler board every quarter, and the floor."""
  wall = (0.7 + 0.5 * y)[:, None, None] * np.array(scene.sky, float)
  board = 10 * np.cos(8 * np.pi * x) ** 8
  ground = (1 - 0.35 * np.abs(np.sin(6 * np.pi * x)))[:, None] * np.array(scene.ground, float)
  low = _cover(FLOOR - y, pixel)[:, None, None]
  return (wall + board[:, None]) * (1 - low) + ground * low


def _body(body: Body, x, y, angle: float, pixel: float) -> tuple[np.ndarray, np.ndarray]:
  """How much of each pixel the body covers, [H, W], and its colour there, [H, W, 3]."""
  r, distance = body.radius, np.hypot(x, y)
  across, up = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
  if body.shape == 'ball':
    inside = r - distance
  elif body.shape == 'box':
    inside = r - np.maximum(np.abs(x), np.abs(y))
  else:
    inside = (r - np.abs(x) - np.abs(y)) / np.sqrt(2)
  shade = np.ones_like(distance)
  if body.material == 'metal':  # a bright band
    shade += 0.5 * np.exp(-(((x + y) / r + 0.4) ** 2) * 8)
  elif body.material == 'wood':  # rings
    shade -= 0.25 * (np.sin(12 * np.hypot(across - 0.6 * r, up) / r) > 0)
  elif body.material == 'glass':  # a bright rim around a dim middle
    shade -= 0.45 * (inside > 0.3 * r)
  if body.shape == 'ball':  # a spoke, so that turning shows
    shade *= 1 - 0.4 * ((np.abs(up) < 0.15 * r) & (across > 0))
  return _cover(inside, pixel), shade[..., None] * np.array(COLOURS[body.colour], float)


def _cover(inside: np.ndarray, pixel: float) -> np.ndarray:
  """The share of a pixel within an edge that lies `inside` from its centre."""
  return np.clip(inside / pixel + 0.5, 0, 1)
