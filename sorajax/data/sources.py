"""Where examples come from: a prepared folder, a TFDS data set, the generated world."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

import grain
import numpy as np

from sorajax.clip import Clip
from sorajax.data import index as index_lib
from sorajax.data.records import Example, Row, unpack
from sorajax.data.worlds import WORLD, Generated, WorldSource
from sorajax.errors import UserError, one_line
from sorajax.media import reader

TFDS = 'tfds:'  # open_source('tfds:/folder/of/the/set', 'train')


class Source(Protocol):
  """Examples by number, and their sizes without reading them.

  Attributes:
    rows: one for each example, in order.
    fingerprint: a short hash; equal for equal content, whatever holds it.
  """

  rows: tuple[Row, ...]
  fingerprint: str

  def __len__(self) -> int: ...

  def __getitem__(self, number: SupportsIndex) -> Example: ...


class FolderSource:
  """A split of a folder that `data.prepare` has finished; travels to worker processes as its name.

  Raises:
    UserError: a missing or unfinished folder, a split that it lacks, a shard that is damaged.
  """

  def __init__(self, directory: str | os.PathLike[str], split: str):
    folder = Path(directory)
    index = index_lib.load(folder)
    if 'latents' in index.config:
      raise UserError(f'{folder} holds latents; give the folder of clips that they were made from')
    found = _nonempty(index.splits, split, folder)
    self.rows = found.rows
    self.fingerprint = _fingerprint(index.identity, split, found.rows)
    self._named = str(directory), split
    self._records = open_shards(folder, found)

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, number: SupportsIndex) -> Example:
    try:
      return unpack(self._records[number.__index__()])
    except RuntimeError as error:
      key = self.rows[number.__index__()].key
      raise UserError(f'{self._named[0]}: {key} is damaged; prepare it again') from error

  def __reduce__(self) -> tuple[Any, ...]:
    return FolderSource, self._named


class TfdsSource:
  """A split of a TFDS data set that `build_tfds` wrote, or of a registered one of its features.

  Raises:
    UserError: no such data set, a split that it lacks, other features.
  """

  def __init__(self, name_or_directory: str | os.PathLike[str], split: str):
    self._named = str(name_or_directory), split
    builder = _builder_at(name_or_directory)
    metadata = dict(builder.info.metadata or {})
    if 'rows' not in metadata:
      raise UserError(
        f'{name_or_directory} was not written by build_tfds; prepare a folder instead'
      )
    splits = {
      name: index_lib.Split((), tuple(Row(**row) for row in rows))
      for name, rows in metadata['rows'].items()
    }
    self.rows = _nonempty(splits, split, name_or_directory).rows
    self.fingerprint = _fingerprint(metadata['identity'], split, self.rows)
    self._elements = builder.as_data_source(split=split)

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, number: SupportsIndex) -> Example:
    element = self._elements[number.__index__()]
    row = dataclasses.asdict(self.rows[number.__index__()])
    # TFDS keeps numbers as float32; the rows have them whole.
    kept = {f.name: row[f.name] for f in dataclasses.fields(Example) if f.name in row}
    told = {name: element[name].decode() for name in ('caption', 'truth')}
    return Example(**kept, media=element['media'], **told)

  def __reduce__(self) -> tuple[Any, ...]:
    return TfdsSource, self._named


def open_shards(folder: Path, split: index_lib.Split) -> Any:
  """The records of a split by number; `UserError` where shards are missing or damaged."""
  for shard in split.shards:
    if not (folder / shard).is_file():
      raise UserError(f'{folder} has lost its shard {shard}; make it again')
  try:
    records = grain.sources.ArrayRecordDataSource([str(folder / s) for s in split.shards])
  except RuntimeError as error:
    reason = one_line(error)[:120]
    raise UserError(f'{folder} has a damaged shard: {reason}; make it again') from error
  if len(records) != len(split.rows):
    counts = f'{len(records)} clips in its shards, {len(split.rows)} in its index'
    raise UserError(f'{folder} is damaged: {counts}; make it again')
  return records


def open_source(uri: str | os.PathLike[str], split: str) -> Source:
  """Opens a prepared folder, a TFDS data set ('tfds:…') or the generated world ('world:…').

  Raises:
    UserError: as the sources.
  """
  text = os.fspath(uri)
  if text.startswith(WORLD):
    return WorldSource(text.removeprefix(WORLD), split)
  if text.startswith(TFDS):
    return TfdsSource(text.removeprefix(TFDS), split)
  return FolderSource(text, split)


def clip_of(example: Example) -> Clip:
  """The clip of an example, decoded unless it is at hand."""
  if isinstance(example, Generated):
    return example.clip
  return reader.read(
    example.media,
    sample_rate_hz=example.sample_rate_hz or None,
    audio_channels=example.audio_channels or None,
  )


def build_tfds(prepared: str | os.PathLike[str], data_dir: str | os.PathLike[str]) -> Path:
  """Writes a prepared folder as a TFDS data set (ArrayRecord files, no TensorFlow needed).

  Args:
    prepared: a folder that `data.prepare` has finished.
    data_dir: where TFDS keeps its data sets.

  Returns:
    the folder to give to `TfdsSource`.
  """
  builder = tfds_builder(prepared, data_dir)
  builder.download_and_prepare()
  return Path(builder.data_dir)


def tfds_builder(prepared: str | os.PathLike[str], data_dir: str | os.PathLike[str]) -> Any:
  """The TFDS builder of a prepared folder; its records keep the folder's order."""
  import tensorflow_datasets as tfds

  folder = Path(prepared)
  index = index_lib.load(folder)
  filled = {name: split for name, split in index.splits.items() if split.rows}
  rows = {name: [dataclasses.asdict(row) for row in split.rows] for name, split in filled.items()}
  scalar, text = tfds.features.Scalar, tfds.features.Text
  kinds: dict[Any, Any] = {
    int: lambda: scalar(np.int64),
    float: lambda: scalar(np.float64),
    str: text,
  }
  kinds[bytes] = lambda: tfds.features.Tensor(shape=(), dtype=np.object_)
  features = {field.name: kinds[field.type]() for field in dataclasses.fields(Example)}

  class SorajaxClips(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Clips of film with sound and caption, encoded."""

    VERSION = tfds.core.Version('1.0.0')
    code_path = None  # nothing of the data set lies beside this module, so TFDS need not look

    def _info(self) -> Any:
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(features),
        metadata=tfds.core.MetadataDict({'identity': index.identity, 'rows': rows}),
        disable_shuffling=True,
      )

    def _split_generators(self, download_manager: Any) -> dict[str, Any]:
      return {name: self._generate_examples(name) for name in filled}

    def _generate_examples(self, split: str) -> Any:
      source = FolderSource(folder, split)
      for number in range(len(source)):
        yield number, dataclasses.asdict(source[number])

  return SorajaxClips(data_dir=os.fspath(data_dir), file_format='array_record')


def _builder_at(name_or_directory: str | os.PathLike[str]) -> Any:
  """The builder of a folder that holds a data set, or of a registered name."""
  import tensorflow_datasets as tfds

  try:
    if Path(name_or_directory).is_dir():
      return tfds.builder_from_directory(os.fspath(name_or_directory))
    return tfds.builder(os.fspath(name_or_directory))
  except Exception as error:  # TFDS raises a type of its own for each way of not finding one
    raise UserError(f'no TFDS data set {name_or_directory}: {one_line(error)}') from error


def _nonempty(
  splits: dict[str, index_lib.Split], split: str, where: str | os.PathLike[str]
) -> index_lib.Split:
  """The split, or one line that names those there are."""
  if split in splits and splits[split].rows:
    return splits[split]
  have = ', '.join(f'{name} ({len(found.rows)} clips)' for name, found in splits.items())
  raise UserError(f'{where} has no clips in split {split!r}; it has {have or "none"}')


def _fingerprint(identity: str, split: str, rows: tuple[Row, ...]) -> str:
  text = json.dumps([identity, split, [dataclasses.astuple(row) for row in rows]])
  return hashlib.sha256(text.encode()).hexdigest()[:16]
