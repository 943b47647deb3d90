"""A weight on a rod, exactly: its angle is an elliptic function (Landau & Lifshitz 1976)."""

import dataclasses
import math

import numpy as np
from scipy import special

from sorajax.worlds.physics import Contact

CHIME = 'chime'  # what the weight touches when it passes the lowest point


@dataclasses.dataclass(frozen=True)
class Pendulum:
  """One weight that swings without loss; it touches a chime whenever it hangs straight down.

  Attributes:
    pivot: (x, y) of the rod's upper end.
    length: of the rod, to the centre of the weight.
    widest: the largest angle from straight down, above 0 and below π; it starts there.
    side: −1 to start on the left, 1 on the right.
    gravity: heights a second².
    mass: of the weight.
  """

  pivot: tuple[float, float]
  length: float
  widest: float
  side: int
  gravity: float
  mass: float

  @property
  def _rate(self) -> float:
    """√(g ÷ l), radians a second of a small swing."""
    return math.sqrt(self.gravity / self.length)

  @property
  def _parameter(self) -> float:
    """m = sin²(widest ÷ 2) of the elliptic functions."""
    return math.sin(self.widest / 2) ** 2

  @property
  def period_s(self) -> float:
    return 4 * float(special.ellipk(self._parameter)) / self._rate

  def swing(self, time_s: float) -> tuple[float, float]:
    """The angle from straight down, positive to the right, and its rate of change."""
    m = self._parameter
    quarter = float(special.ellipk(m))
    sn, cn, _, _ = special.ellipj(quarter + self._rate * time_s, m)
    half = math.sqrt(m)  # sin(widest ÷ 2)
    return self.side * 2 * math.asin(half * sn), self.side * 2 * self._rate * half * float(cn)

  def at(self, time_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position [1, 2], velocity [1, 2] and angle [1] of the weight."""
    angle, turning = self.swing(time_s)
    down = np.array([math.sin(angle), -math.cos(angle)])
    along = np.array([math.cos(angle), math.sin(angle)])
    position = np.array(self.pivot) + self.length * down
    return position[None], (self.length * turning * along)[None], np.array([angle])

  def contacts(self, seconds: float) -> list[Contact]:
    """Every passing of the lowest point before `seconds`."""
    speed = 2 * self.length * self._rate * math.sqrt(self._parameter)
    place = (self.pivot[0], self.pivot[1] - self.length)
    times = np.arange(self.period_s / 4, seconds, self.period_s / 2)
    return [Contact(t, 0, CHIME, speed, self.mass * speed, place) for t in times.tolist()]
