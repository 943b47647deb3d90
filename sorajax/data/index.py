"""`index.json`: what a finished data set holds, and the sign that it is finished."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sorajax.data.records import Row
from sorajax.errors import UserError, cannot_read
from sorajax.media.atomic import write_text

FORMAT = 1
NAME = 'index.json'


@dataclasses.dataclass(frozen=True)
class Split:
  """One split of a data set.

  Attributes:
    shards: file names, in the order of `rows`.
    rows: one for each clip.
  """

  shards: tuple[str, ...]
  rows: tuple[Row, ...]

  @property
  def seconds(self) -> float:
    return sum(row.seconds for row in self.rows)

  @property
  def bytes(self) -> int:
    return sum(row.bytes for row in self.rows)

  @property
  def captioned(self) -> int:
    return sum(row.caption_chars > 0 for row in self.rows)


@dataclasses.dataclass(frozen=True)
class Index:
  """A finished data set.

  Attributes:
    identity: hash of the preparation's settings and of its input.
    config: the settings.
    splits: name → split.
    dropped: reason → windows (or shots) that were left out.
    skipped: {'file', 'reason'} of what could not be used, in order of file.
  """

  identity: str
  config: dict[str, Any]
  splits: dict[str, Split]
  dropped: dict[str, int]
  skipped: tuple[dict[str, str], ...]


def save(folder: Path, index: Index) -> None:
  """Writes `index.json` in one step; a line for each clip."""
  splits = {name: _summary(split) for name, split in index.splits.items()}
  text = json.dumps({'format': FORMAT, **dataclasses.asdict(index), 'splits': splits})
  # Quotes inside a string are escaped, so this can only stand between two rows.
  write_text(folder / NAME, text.replace('}, {"key"', '},\n{"key"') + '\n')


def _summary(split: Split) -> dict[str, Any]:
  return {
    'clips': len(split.rows),
    'seconds': round(split.seconds, 3),
    'bytes': split.bytes,
    'captioned': split.captioned,
    **dataclasses.asdict(split),
  }


def load(folder: Path) -> Index:
  """Reads the index of a finished data set.

  Raises:
    UserError: no such folder, not a finished data set, or of another format.
  """
  path = folder / NAME
  if not folder.is_dir():
    raise UserError(f'no data set at {folder}: there is no such folder; prepare one there first')
  if not path.is_file():
    raise UserError(f'{folder} is not a finished data set: no {NAME}; finish launch/prepare.py')
  try:
    text = json.loads(path.read_text(encoding='utf-8'))
    if text['format'] != FORMAT:
      raise UserError(f'{path} is of format {text["format"]}, not {FORMAT}; prepare it again')
    splits = {
      name: Split(tuple(split['shards']), tuple(Row(**row) for row in split['rows']))
      for name, split in text['splits'].items()
    }
    identity, config, dropped = text['identity'], text['config'], text['dropped']
    return Index(identity, config, splits, dropped, tuple(text['skipped']))
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise cannot_read(path, f'{error!r}; prepare the data set again') from error
