"""Makes clips of disks that fall and bounce on a painted background, each bounce with a knock.

  python tools/make_disks.py --config=configs/disks.py --out=CLIPS --count=3000

As launch/prepare.py would write them. Everything follows from the seed.
"""

import numpy as np
from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.clip import Clip
from sorajax.data.generated import write_clips
from sorajax.data.prepare_file import PrepareConfig
from sorajax.geometry import samples_of

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Its prepare section sets the size.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips.')
_COUNT = flags.DEFINE_integer('count', 3000, 'Training clips; a tenth more is held out.', 10)
_SEED = flags.DEFINE_integer('seed', 0, 'Of all of them.')
flags.mark_flags_as_required(['config', 'out'])

COLOURS = {
  'red': (214, 48, 49), 'green': (39, 174, 96), 'blue': (41, 98, 255), 'yellow': (250, 211, 60),
  'purple': (142, 68, 173), 'orange': (230, 126, 34), 'white': (240, 240, 240),
}  # fmt: skip
GRAVITY, RESTITUTION = 1.2, 0.85  # heights of the picture a second², share of the speed
SUBSTEPS = 50  # of a frame, in which motion is followed
KNOCK_S = 0.08
NUMBERS = {1: 'one disk', 2: 'two disks'}


def make_clip(rng: np.random.Generator, c: PrepareConfig) -> tuple[Clip, str]:
  """One clip of c.frames[0] frames."""
  frames, size, count = c.frames[0], np.array([c.width, c.height]) / c.height, rng.integers(1, 3)
  names = rng.choice(list(COLOURS), count, replace=False)
  radii = rng.uniform(0.08, 0.16, count)
  place = rng.uniform(radii[:, None], size - radii[:, None])
  speed = np.stack([rng.uniform(-0.8, 0.8, count), rng.uniform(-0.5, 0.5, count)], axis=1)
  background = _background(rng, c.height, c.width)
  audio = 0.001 * rng.normal(size=samples_of(frames, c.fps, c.sample_rate_hz))
  video = np.empty((frames, c.height, c.width, 3), np.uint8)
  for t in range(frames):
    video[t] = _painted(background, place, radii, [COLOURS[n] for n in names])
    for step in range(SUBSTEPS):
      speed[:, 1] += GRAVITY / c.fps / SUBSTEPS
      place += speed / c.fps / SUBSTEPS
      for i, axis in _bounce(place, speed, radii, size):
        start = round((t + step / SUBSTEPS) / c.fps * c.sample_rate_hz)
        _knock(audio[start:], 70 / radii[i], abs(speed[i, axis]), c.sample_rate_hz)
  sound = np.tile(audio.astype(np.float32)[:, None], (1, c.audio_channels))
  caption = f'{NUMBERS[int(count)]}, {" and ".join(names)}'
  return Clip(video, np.clip(sound, -1, 1), c.fps, c.sample_rate_hz), caption


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
  """A slope of two dark colours with soft stripes, float [H, W, 3]."""
  y, x = np.mgrid[:height, :width] / height
  a, b = rng.uniform(10, 110, (2, 3))
  angle, stripes = rng.uniform(0, np.pi), rng.uniform(1, 4)
  along = np.cos(angle) * x + np.sin(angle) * y
  return a + (b - a) * y[..., None] + 8 * np.sin(2 * np.pi * stripes * along)[..., None]


def _painted(background, place, radii, colours) -> np.ndarray:
  """uint8 [H, W, 3]; edges are blended over a pixel."""
  height, width = background.shape[:2]
  y, x = (np.mgrid[:height, :width] + 0.5) / height
  for (cx, cy), radius, colour in zip(place, radii, colours):
    inside = np.clip((radius - np.hypot(x - cx, y - cy)) * height + 0.5, 0, 1)[..., None]
    background = background * (1 - inside) + np.array(colour) * inside
  return np.rint(np.clip(background, 0, 255)).astype(np.uint8)


def _bounce(place, speed, radii, size):
  """Keeps disks in the picture; tells (disk, axis) of each that met a wall and did not lie."""
  for i, axis in np.ndindex(len(radii), 2):
    low, high = radii[i], size[axis] - radii[i]
    outside = (place[i, axis] < low and speed[i, axis] < 0) or (
      place[i, axis] > high and speed[i, axis] > 0
    )
    if outside:
      place[i, axis] = np.clip(place[i, axis], low, high)
      speed[i, axis] *= -RESTITUTION
      if abs(speed[i, axis]) > 0.1:
        yield i, axis


def _knock(audio: np.ndarray, hz: float, loudness: float, rate_hz: int) -> None:
  """Adds a decaying tone at the start of `audio`."""
  t = np.arange(min(int(KNOCK_S * rate_hz), len(audio))) / rate_hz
  audio[: len(t)] += 0.4 * loudness * np.sin(2 * np.pi * hz * t) * np.exp(-t / 0.015)


def main() -> None:
  c = build.settings(_CONFIG.value).prepare
  write_clips(_OUT.value, c, make_clip, name='disks', count=_COUNT.value, seed=_SEED.value)
  print(f'{_COUNT.value} clips in {_OUT.value}')


if __name__ == '__main__':
  cli.run(main)
