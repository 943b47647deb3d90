"""What is true of a clip of the generated world, kept beside it: plain numbers, fit for json."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from sorajax.worlds import picture, sound
from sorajax.worlds.physics import Motion
from sorajax.worlds.scene import Scene

PLACES = 10  # of decimals that are kept


@dataclasses.dataclass(frozen=True)
class Shot:
  """One shot; its times count from the start of the clip.

  Attributes:
    caption: of this shot.
    kind: one of `scene.KINDS`, or `scene.SOLID`.
    scene: what was drawn; the times in it count from the start of the shot.
    first_frame: number of its first frame.
    times_s: [F], of its frames.
    position: [F, N, 2], x and y of every body in heights of the picture, y up; with depth
      [F, N, 3], z to the viewer.
    velocity: the same.
    angle: [F, N], radians; with depth [F, N, 4], the turn as a quaternion (w, x, y, z).
    visible: [F, N], whether the centre is in view.
    view: [F, 3], x and y of the centre of what is seen, on the pane where there is depth, and the
      enlargement.
    mouth: [F], how far the speaker's mouth is open, 0 to 1; empty without one.
    contacts: body, other, time_s, speed, impulse and place of each.
    onsets: time_s and bodies of each contact that is heard.
    syllables: text, word, start_s, vowel_s and end_s of each.
  """

  caption: str
  kind: str
  scene: dict[str, Any]
  first_frame: int
  times_s: list[float]
  position: list[list[list[float]]]
  velocity: list[list[list[float]]]
  angle: list[list[Any]]
  visible: list[list[bool]]
  view: list[list[float]]
  mouth: list[float]
  contacts: list[dict[str, Any]]
  onsets: list[dict[str, Any]]
  syllables: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Truth:
  """One clip.

  Attributes:
    shots: in order; a cut lies before each but the first.
    novel: which combination it shows that training never does, one of `draw.NOVELTIES`, or ''.
  """

  shots: list[Shot]
  novel: str = ''

  @property
  def cuts(self) -> list[int]:
    """The first frames of all shots but the first."""
    return [shot.first_frame for shot in self.shots[1:]]

  def to_json(self) -> str:
    """As text, with numbers rounded to `PLACES`: beyond them processors differ."""
    shots = [vars(shot) for shot in self.shots]
    return json.dumps(_rounded({'shots': shots, 'novel': self.novel}))

  @classmethod
  def from_json(cls, text: str) -> 'Truth':
    found = json.loads(text)
    return cls([Shot(**shot) for shot in found['shots']], found['novel'])


def _rounded(value: Any) -> Any:
  if isinstance(value, float):
    return round(value, PLACES) + 0.0  # no −0
  if isinstance(value, dict):
    return {name: _rounded(part) for name, part in value.items()}
  return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


def of(scene: Scene, motion: Motion, caption: str, frames: Sequence[int], fps: float) -> Shot:
  """The truth of the shot that is seen in `frames` of a clip."""
  begin_s = frames[0] / fps
  times = np.arange(len(frames)) / fps
  moments = [motion.at(float(t)) for t in times]
  position, velocity, angle = (np.stack(part) for part in zip(*moments))
  views = np.stack([picture.view(scene, motion, float(t)) for t in times])
  shown = position if scene.space is None else scene.space.seen(position)
  off = np.abs(shown - views[:, None, :2]) * views[:, None, 2:]
  visible = (off <= (scene.width / 2, 0.5)).all(axis=-1)
  late = lambda found: found | {k: v + begin_s for k, v in found.items() if k.endswith('_s')}
  contacts = [late(dataclasses.asdict(contact)) for contact in motion.contacts]
  onsets = [
    {'time_s': c.time_s + begin_s, 'bodies': [b for b in (c.body, c.other) if isinstance(b, int)]}
    for c in sound.heard(motion)
  ]
  said, mouth = [], []
  if scene.speaker is not None:
    said = [late(dataclasses.asdict(s)) for s in scene.speaker.syllables]
    mouth = scene.speaker.mouth(times).tolist()
  return Shot(
    caption, scene.kind, dataclasses.asdict(scene), frames[0], (times + begin_s).tolist(),
    position.tolist(), velocity.tolist(), angle.tolist(), visible.tolist(), views.tolist(), mouth,
    contacts, onsets, said,
  )  # fmt: skip
