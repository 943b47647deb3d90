"""Solid bodies that fall, tumble and meet in a room with depth, followed by MuJoCo in small steps.

MuJoCo: Todorov, Erez & Tassa (2012). Lengths are in heights of the picture; x points right, y up
and z to the viewer. Bodies that touch are held apart by a spring and a damper, which is as strong
as the restitution asks for without gravity; so the restitution is near the one of the material, and
not exact. Speed after ÷ before, of balls of radius 0.08 and 0.13 that drop by 0.1 to 0.7:

  wood  0.55: 0.521 to 0.562    metal  0.60: 0.575 to 0.612
  glass 0.68: 0.659 to 0.690    rubber 0.82: 0.812 to 0.827

The same seed gives the same bytes in any process with one release of MuJoCo.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import optimize

from sorajax.errors import UserError, one_line
from sorajax.worlds.physics import FLOOR, LEFT, RIGHT, Contact, Motion, Placed

BACK, FRONT = 'back', 'front'  # the wall behind, and the pane that the viewer looks through
STEP_S = 0.0005
TOUCH_S = 0.008  # for which a bounce lasts
ECHO_S = 1.5 * TOUCH_S  # within which corners of one body that land make one contact
LEAST = 0.05  # the speed of a contact that is told of
GRIP = 0.4  # friction, in units of the force
FIRM = 0.99  # share of a contact's force that does not give way
ROLLING = 0.004  # arm of the force that slows a ball which rolls
AROUND = {'ball': 1.0, 'box': math.sqrt(3), 'diamond': 1.0}  # radius of the ball around a body

Triple = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # (w, x, y, z), of length 1


@dataclasses.dataclass(frozen=True)
class Pose:
  """What a body of a room with depth has beside its place and its velocity in x and y.

  Attributes:
    z: of its centre at the start, 0 at the wall behind.
    approach: dz/dt at the start.
    turn: from its own axes to the room's.
    spin: radians a second at the start, about its own axes.
  """

  z: float
  approach: float
  turn: Quaternion
  spin: Triple


@dataclasses.dataclass(frozen=True)
class Space:
  """The depth of a room, and from where it is seen.

  Attributes:
    depth: z of the pane at its front; the picture is what shows on the pane.
    eye: (x, y, z) of the viewer, before the pane.
    poses: one for each body.
  """

  depth: float
  eye: Triple
  poses: tuple[Pose, ...]

  def seen(self, position: np.ndarray) -> np.ndarray:
    """Where points [..., 3] of the room show on the pane, [..., 2]."""
    eye = np.array(self.eye)
    away = position - eye
    return eye[:2] + away[..., :2] * ((self.depth - eye[2]) / away[..., 2:])


@dataclasses.dataclass(frozen=True)
class Solid:
  """What mechanics knows of a body.

  Attributes:
    shape: 'ball', 'box', or 'diamond' for an octahedron.
    radius: of a ball, half an edge of a box, from the centre of a diamond to its tips.
    mass: against other bodies'.
    restitution: share of the speed that is left; between two bodies the smaller of theirs counts.
    position: of its centre at the start.
    velocity: at the start.
    turn: at the start.
    spin: at the start, about its own axes.
  """

  shape: str
  radius: float
  mass: float
  restitution: float
  position: Triple
  velocity: Triple
  turn: Quaternion
  spin: Triple


@dataclasses.dataclass(frozen=True)
class Hall:
  """Where they move: between a floor, three walls and a pane.

  Attributes:
    gravity: heights a second².
    floor: its y.
    width: x of the right wall; the left one is at 0.
    depth: z of the pane; the wall behind is at 0.
  """

  gravity: float
  floor: float
  width: float
  depth: float


def import_mujoco() -> Any:
  """MuJoCo.

  Raises:
    UserError: it is not installed.
  """
  try:
    import mujoco
  except ImportError as error:
    raise UserError(
      f"a solid world cannot import MuJoCo ({one_line(error)}); run pip install 'sorajax[mujoco]'"
    ) from error
  return mujoco


def tumble(solids: Sequence[Solid], hall: Hall, seconds: float) -> Motion:
  """The motion of bodies for `seconds`; positions and velocities [N, 3], and turns [N, 4].

  Raises:
    UserError: MuJoCo is not installed.
  """
  mujoco = import_mujoco()
  model = _model(mujoco, solids, hall)
  data = mujoco.MjData(model)
  data.qvel = np.ravel([(*solid.velocity, *solid.spin) for solid in solids])
  places, speeds, touches = [], [], _Touches()
  for _ in range(math.ceil(seconds / STEP_S) + 2):
    mujoco.mj_step1(model, data)  # finds what touches
    places.append(data.qpos.copy())
    speeds.append(data.qvel.copy())
    time_s = data.time
    mujoco.mj_step2(model, data)  # finds the forces, and moves
    if data.ncon:
      touches.feel(data, time_s)
  shape = len(places), len(solids), -1
  return Motion(_between(np.reshape(places, shape), np.reshape(speeds, shape)), touches.contacts())


def damping(restitution: float) -> float:
  """Damping ratio of a spring that can push but not pull, and lets go at this share of the speed.

  Schwager & Pöschel (2007); it lets go when spring and damper cancel, before it is at its length.
  """

  def left(ratio: float) -> float:
    root = math.sqrt(1 - ratio**2)
    lasts = math.pi - math.atan2(2 * ratio * root, 1 - 2 * ratio**2)
    return math.exp(-ratio / root * lasts)

  return float(optimize.brentq(lambda ratio: left(ratio) - restitution, 1e-6, 0.99))


SIDES = (FLOOR, LEFT, RIGHT, BACK, FRONT)  # in the order of their numbers in the model


def _model(mujoco: Any, solids: Sequence[Solid], hall: Hall) -> Any:
  spec = mujoco.MjSpec()
  spec.option.timestep, spec.option.gravity = STEP_S, (0, -hall.gravity, 0)
  # With this cone the first force of each contact is the one along its normal.
  spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
  planes = (
    ((0, hall.floor, 0), (0.0, 1.0, 0.0)), ((0, 0, 0), (1.0, 0.0, 0.0)),
    ((hall.width, 0, 0), (-1.0, 0.0, 0.0)), ((0, 0, 0), (0.0, 0.0, 1.0)),
    ((0, 0, hall.depth), (0.0, 0.0, -1.0)),
  )  # fmt: skip
  for place, inward in planes:
    turn = np.zeros(4)
    mujoco.mju_quatZ2Vec(turn, inward)
    spec.worldbody.add_geom(
      type=mujoco.mjtGeom.mjGEOM_PLANE, size=(1, 1, 1), pos=place, quat=turn, friction=(0, 0, 0)
    )
  for solid in solids:
    _add(mujoco, spec, solid)
  return spec.compile()


def _add(mujoco: Any, spec: Any, solid: Solid) -> None:
  kinds, r = mujoco.mjtGeom, solid.radius
  stiff = (math.pi / TOUCH_S) ** 2
  body = spec.worldbody.add_body(pos=solid.position, quat=solid.turn)
  body.add_freejoint()
  geom = body.add_geom(
    type=kinds.mjGEOM_BOX if solid.shape == 'box' else kinds.mjGEOM_SPHERE, size=(r, r, r),
    mass=solid.mass, solimp=(FIRM, FIRM, 1, 0.5, 2), friction=(GRIP, 0, ROLLING),
    solref=(-stiff, -2 * damping(solid.restitution) * math.sqrt(stiff)),
    condim=6 if solid.shape == 'ball' else 3,
  )  # fmt: skip
  if solid.shape == 'diamond':
    tips = np.concatenate([np.eye(3), -np.eye(3)])
    mesh = spec.add_mesh(name=f'mesh {len(spec.meshes)}', uservert=(r * tips).ravel())
    geom.type, geom.meshname = kinds.mjGEOM_MESH, mesh.name


@dataclasses.dataclass
class _Touch:
  """A contact, whose impulse grows while it lasts."""

  time_s: float
  speed: float
  place: tuple[float, ...]
  impulse: float = 0.0


class _Touches:
  """Follows what touches what from step to step."""

  def __init__(self) -> None:
    self._made: dict[tuple[int, int | str], list[_Touch]] = {}

  def feel(self, data: Any, time_s: float) -> None:
    """Takes in the contacts of the step that began at `time_s`."""
    contact = data.contact
    first = contact.efc_address  # of the forces of each, the one along its normal
    towards, force = -data.efc_vel[first], data.efc_force[first]
    for pair, gap, speed, push, place in zip(
      contact.geom.tolist(), contact.dist.tolist(), towards.tolist(), force.tolist(), contact.pos
    ):
      other, body = sorted(number - len(SIDES) for number in pair)
      key = (body, SIDES[other]) if other < 0 else (other, body)
      touches = self._made.setdefault(key, [])
      fresh = speed >= LEAST and -gap <= 1.01 * speed * STEP_S  # no deeper than a step goes
      if fresh and (not touches or time_s - touches[-1].time_s > ECHO_S):
        touches.append(_Touch(max(time_s + gap / speed, 0.0), speed, tuple(place.tolist())))
      if touches and time_s - touches[-1].time_s <= ECHO_S:
        touches[-1].impulse += push * STEP_S

  def contacts(self) -> tuple[Contact, ...]:
    """All of them, in the order of their times."""
    made = (
      Contact(t.time_s, body, other, t.speed, t.impulse, t.place)
      for (body, other), touches in self._made.items()
      for t in touches
    )
    return tuple(sorted(made, key=lambda c: c.time_s))


def _between(places: np.ndarray, speeds: np.ndarray) -> Callable[[float], Placed]:
  """The bodies at a moment, from [S, N, 7] and [S, N, 6] of all steps."""

  def at(time_s: float) -> Placed:
    step, share = divmod(max(time_s, 0.0) / STEP_S, 1.0)
    near = slice(int(step), int(step) + 2)
    place, speed = ((1 - share) * x[near][0] + share * x[near][1] for x in (places, speeds))
    turn = place[:, 3:] / np.linalg.norm(place[:, 3:], axis=-1, keepdims=True)
    return place[:, :3], speed[:, :3], turn

  return at
