"""The generated world as a source: clips are made as they are read, and nothing is stored."""

import dataclasses
import difflib
import hashlib
import operator
from typing import Any, SupportsIndex

from sorajax.clip import Clip
from sorajax.data.records import Example, Row
from sorajax.errors import UserError
from sorajax.geometry import samples_of
from sorajax.worlds import draw, scene, solid
from sorajax.worlds.world import SPLITS, WorldConfig, generate

WORLD = 'world:'  # open_source('world:50000', 'train'), or 'world:50000,height=32,kind=solid'
HELD_OUT = 1000  # at most, of every split but that of training, which has ten times as many
NAME = 'worlds'


@dataclasses.dataclass(frozen=True)
class Generated(Example):
  """An example whose clip is at hand.

  Attributes:
    clip: what its media would hold; those are empty.
  """

  clip: Clip = dataclasses.field(kw_only=True)


class WorldSource:
  """Clips of one split of the generated world; travels to worker processes as its name.

  Args:
    asked: how many clips training has, and what differs from `WorldConfig`, for instance
      '50000,most=4'.
    split: one of `SPLITS`.

  Raises:
    UserError: no such split or kind, a count or a value that is no number, a key that is unknown,
      a form that clips cannot have; solid bodies without MuJoCo.
  """

  def __init__(self, asked: str, split: str):
    if split not in SPLITS:
      raise UserError(f'{WORLD}{asked} has no split {split!r}; it has {", ".join(SPLITS)}')
    self._named = asked, split
    count, self._config = _parsed(asked)
    if self._config.kind == scene.SOLID:
      solid.import_mujoco()
    held = min(max(count // 10, 1), HELD_OUT)
    c, number = self._config, count if split == 'train' else held
    samples = samples_of(c.frames, c.fps, c.sample_rate_hz)
    row = Row(
      split, c.frames, c.height, c.width, samples, c.fps, c.sample_rate_hz, c.audio_channels, NAME,
      0.0, 0, 0,
    )  # fmt: skip
    self.rows = (row,) * number
    self.fingerprint = hashlib.sha256(f'{asked} {split}'.encode()).hexdigest()[:16]

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, number: SupportsIndex) -> Generated:
    place = range(len(self.rows))[operator.index(number)]
    clip, caption, truth = generate(self._config, self._named[1], 0, place)
    row = dataclasses.asdict(self.rows[0])
    kept = {f.name: row[f.name] for f in dataclasses.fields(Example) if f.name in row}
    kept['key'] = f'{self._named[1]}/{place:06d}'
    return Generated(**kept, media=b'', caption=caption, truth=truth.to_json(), clip=clip)

  def __reduce__(self) -> tuple[Any, ...]:
    return WorldSource, self._named


def _parsed(asked: str) -> tuple[int, WorldConfig]:
  count, *changes = asked.split(',')
  if not count.isdecimal() or int(count) < 1:
    raise UserError(f'{WORLD}{asked}: {count!r} is no number of clips; write for instance 50000')
  types = {f.name: f.type for f in dataclasses.fields(WorldConfig)}
  values: dict[str, Any] = {}
  for change in changes:
    key, _, value = change.partition('=')
    if key not in types:
      near = difflib.get_close_matches(key, types, 1) or [', '.join(types)]
      raise UserError(f'{WORLD}{asked} has an unknown key {key!r}; did you mean {near[0]}?')
    try:
      values[key] = types[key](value)  # type: ignore[operator]
    except ValueError as error:
      raise UserError(f'{WORLD}{asked}: {key} is {value!r}, which is no number') from error
  kind = values.get('kind', '')
  if kind not in ('', *draw.PLAYS):
    raise UserError(f'{WORLD}{asked} has no kind {kind!r}; it has {", ".join(draw.PLAYS)}')
  try:
    return int(count), WorldConfig(**values)
  except UserError as error:
    raise UserError(f'{WORLD}{asked}: {error}') from error
