"""What is true of a clip of the generated world, kept beside it: plain numbers, fit for json."""

import dataclasses
import json
from typing import Any

import numpy as np

from sorajax.worlds import picture, sound
from sorajax.worlds.physics import Motion
from sorajax.worlds.scene import Scene


@dataclasses.dataclass(frozen=True)
class Truth:
  """One clip.

  Attributes:
    scene: what was drawn.
    times_s: [F], of the frames.
    position: [F, N, 2], x and y of every body in heights of the picture, y up.
    velocity: [F, N, 2].
    angle: [F, N], radians.
    visible: [F, N], whether the centre is in view.
    view: [F, 3], x and y of the centre of what is seen, and the enlargement.
    contacts: body, other, time_s, speed, impulse and place of each.
    onsets: time_s and bodies of each contact that is heard.
  """

  scene: dict[str, Any]
  times_s: list[float]
  position: list[list[list[float]]]
  velocity: list[list[list[float]]]
  angle: list[list[float]]
  visible: list[list[bool]]
  view: list[list[float]]
  contacts: list[dict[str, Any]]
  onsets: list[dict[str, Any]]

  def to_json(self) -> str:
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_json(cls, text: str) -> 'Truth':
    return cls(**json.loads(text))


def of(scene: Scene, motion: Motion, times: np.ndarray) -> Truth:
  """The truth of the frames at `times`, in seconds."""
  moments = [motion.at(float(t)) for t in times]
  position, velocity, angle = (np.stack(part) for part in zip(*moments))
  views = np.stack([picture.view(scene.camera, t / scene.seconds, scene.width) for t in times])
  off = np.abs(position - views[:, None, :2]) * views[:, None, 2:]
  visible = (off <= (scene.width / 2, 0.5)).all(axis=-1)
  onsets = [
    {'time_s': c.time_s, 'bodies': [b for b in (c.body, c.other) if not isinstance(b, str)]}
    for c in sound.heard(motion)
  ]
  contacts = [dataclasses.asdict(contact) for contact in motion.contacts]
  found = Truth(
    dataclasses.asdict(scene), times.tolist(), position.tolist(), velocity.tolist(),
    angle.tolist(), visible.tolist(), views.tolist(), contacts, onsets,
  )  # fmt: skip
  return Truth.from_json(found.to_json())  # lists for tuples, as it will be read
