"""What the motion of a tracked body tells: impacts, gravity, restitution, jumps.

Everything is read from places in frames; nothing is known beforehand of where a body falls or how
fast. Lengths are in heights of the picture, y up.
"""

import dataclasses

import numpy as np
from scipy import ndimage, signal

from sorajax.evaluate.track import Track

CHANGE = 0.3  # heights a second: a larger jump of the velocity, up or sideways, is an impact
AROUND = 3  # frames before, and after, whose acceleration is the usual one
FEWEST = 4  # frames of a flight that can be fitted
CLEAN = 0.006  # heights from its parabola, root mean square, of a flight that is one
LEAST = 0.5  # heights a second²; what bends less is at rest
NEAR_S = 0.2  # between a flight's last frame and the impact that ends it
JUMP = 0.3  # heights within a frame that nothing moves
FASTEST = 1.7  # heights a second that a body of the world moves, at most
LOW = 0.08  # heights between where a body bounces off the floor and where it lies on it


@dataclasses.dataclass(frozen=True)
class Impact:
  """A sudden change of velocity.

  Attributes:
    time_s: when, between frames.
    change: (x, y) of the velocity, heights a second.
  """

  time_s: float
  change: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Flight:
  """A stretch without impact: y = height + speed·t − gravity·t²/2, t from `begin_s`.

  Attributes:
    begin_s: of the first frame.
    end_s: of the last.
    height: at `begin_s`.
    speed: upwards at `begin_s`.
    gravity: downwards.
    residual: root mean square distance of the frames from it.
    frames: how many.
  """

  begin_s: float
  end_s: float
  height: float
  speed: float
  gravity: float
  residual: float
  frames: int

  def height_at(self, time_s: float) -> float:
    late_s = time_s - self.begin_s
    return self.height + self.speed * late_s - self.gravity * late_s**2 / 2

  def speed_at(self, time_s: float) -> float:
    return self.speed - self.gravity * (time_s - self.begin_s)


def impacts(track: Track, fps: float) -> list[Impact]:
  """The impacts of a body that is seen, in order.

  A jump of the velocity at a share s of the way from one frame to the next appears in their second
  differences as 1 − s and s: their sum is the jump, and their middle its time. Gravity is in every
  difference of a fall; the median of those just before or just after is taken off.
  """
  bends = _accelerations(track, fps)
  spikes, known = np.nan_to_num(bends), ~np.isnan(bends[:, 1])
  if len(spikes) < 2:
    return []
  usual = np.pad(ndimage.median_filter(spikes[:, 1], AROUND, mode='nearest'), AROUND, mode='edge')
  fall = np.minimum(np.minimum(usual[: -2 * AROUND], usual[2 * AROUND :]), 0.0)
  spikes[known, 1] -= fall[known]
  pairs = (spikes[:-1] + spikes[1:]) / fps
  strength = np.hypot(np.maximum(pairs[:, 1], 0.0), pairs[:, 0])
  padded = np.concatenate([[0.0], strength, [0.0]])
  found = []
  for peak in signal.find_peaks(padded, height=CHANGE, distance=2)[0] - 1:
    early, late = np.maximum(spikes[peak : peak + 2] @ pairs[peak], 0.0)
    frame = peak + 1 + late / max(early + late, 1e-9)
    found.append(Impact(float(frame / fps), tuple(pairs[peak].tolist())))
  return found


def flights(track: Track, fps: float) -> list[Flight]:
  """The stretches between impacts in which a body falls freely, fitted."""
  times = [impact.time_s for impact in impacts(track, fps)]
  moments = np.arange(len(track.seen)) / fps
  group = np.searchsorted(times, moments) * 2 + 1
  group[~track.whole] = 0
  found = []
  for begin, end in _runs(group):
    t, y = moments[begin:end] - moments[begin], track.place[begin:end, 1]
    if len(t) < FEWEST:
      continue
    bend, speed, height = np.polyfit(t, y, 2)
    residual = float(np.sqrt(np.mean((np.polyval((bend, speed, height), t) - y) ** 2)))
    found.append(
      Flight(moments[begin], moments[end - 1], height, speed, -2 * bend, residual, len(t))
    )
  return found


def gravity(found: list[Flight]) -> float:
  """The weighted median of flights, by 1 ÷ variance, so that long ones count more; NaN of none."""
  falls = sorted(_falls(found), key=lambda f: f.gravity)
  if not falls:
    return float('nan')
  weights = np.cumsum([f.frames**5 for f in falls], dtype=float)
  return falls[int(np.searchsorted(weights, weights[-1] / 2))].gravity


def restitution(found: list[Flight], strikes: list[Impact], lying: float) -> list[float]:
  """Speed after ÷ speed before each bounce off the floor between two clean falls.

  Args:
    found: flights of a body.
    strikes: its impacts.
    lying: height of its middle where it lies on the floor.
  """
  falls, out = _falls(found), []
  for impact in strikes:
    before = [f for f in falls if 0 <= impact.time_s - f.end_s < NEAR_S]
    after = [f for f in falls if 0 <= f.begin_s - impact.time_s < NEAR_S]
    if before and after and impact.change[1] > abs(impact.change[0]):
      down, up = before[-1].speed_at(impact.time_s), after[0].speed_at(impact.time_s)
      if down < -0.2 and abs(before[-1].height_at(impact.time_s) - lying) < LOW:
        out.append(-up / down)
  return out


def _falls(found: list[Flight]) -> list[Flight]:
  """Those that are clean parabolas and bend as no body at rest does."""
  return [f for f in found if f.gravity > LEAST and f.residual < CLEAN]


def jumps(track: Track, fps: float) -> int:
  """How often a body is next seen where nothing gets in that time."""
  at = np.flatnonzero(track.seen)
  step = np.linalg.norm(np.diff(track.place[at], axis=0), axis=1)
  return int((step > np.maximum(JUMP, FASTEST / fps * np.diff(at))).sum())


def _accelerations(track: Track, fps: float) -> np.ndarray:
  """Second differences of the place, [F − 2, 2]; NaN where a body is not wholly seen thrice.

  In one frame that misses it, between two that do not, it is taken to be half way.
  """
  place = np.where(track.whole[:, None], track.place, np.nan)
  half_way = (place[:-2] + place[2:]) / 2
  place[1:-1] = np.where(track.whole[1:-1, None], place[1:-1], half_way)
  return np.diff(place, n=2, axis=0) * fps**2


def _runs(group: np.ndarray) -> list[tuple[int, int]]:
  """(begin, end) of each stretch of equal values above 0."""
  edges = np.flatnonzero(np.diff(group)) + 1
  spans = zip([0, *edges], [*edges, len(group)])
  return [(a, b) for a, b in spans if group[a] > 0]
