"""One clip as one record of an ArrayRecord shard."""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgpack
from array_record.python import array_record_module

from sorajax.errors import UserError, cannot_read, one_line
from sorajax.media.atomic import full_disk, replacing

# One record a group: a clip is read at random without unpacking its neighbours.
WRITER_OPTIONS = 'group_size:1'


@dataclasses.dataclass(frozen=True)
class Example:
  """A clip as it is stored: encoded, with what is known about it.

  Attributes:
    key: unique in its data set.
    media: what `media.reader.read` takes.
    caption: '' = none.
    frames: F of the decoded clip.
    height: H in pixels.
    width: W in pixels.
    samples: S of the decoded clip; 0 = no sound.
    fps: frames a second.
    sample_rate_hz: samples a second.
    audio_channels: A.
    source: the file that it was cut from, relative to the input folder.
    start_s: where in that file it begins, in seconds.
    truth: what is true of a generated clip, as json; '' = unknown.
  """

  key: str
  media: bytes
  caption: str
  frames: int
  height: int
  width: int
  samples: int
  fps: float
  sample_rate_hz: int
  audio_channels: int
  source: str
  start_s: float
  truth: str = ''


@dataclasses.dataclass(frozen=True)
class Row:
  """What an index says of a clip, enough to pack a batch without reading the clip.

  Attributes are those of `Example` but for `media` and `truth`, with `bytes` the size of its record
  and `caption_chars` the length of its caption.
  """

  key: str
  frames: int
  height: int
  width: int
  samples: int
  fps: float
  sample_rate_hz: int
  audio_channels: int
  source: str
  start_s: float
  caption_chars: int
  bytes: int

  @property
  def seconds(self) -> float:
    return self.frames / self.fps


def row_of(example: Example, size: int) -> Row:
  """The index row of an example whose record has `size` bytes."""
  shared = {
    field.name: getattr(example, field.name)
    for field in dataclasses.fields(Row)
    if hasattr(example, field.name)
  }
  return Row(**shared, caption_chars=len(example.caption), bytes=size)


def pack(example: Example) -> bytes:
  """An example as the bytes of a record."""
  return msgpack.packb(dataclasses.asdict(example))


def unpack(record: bytes) -> Example:
  """The inverse of `pack`; `UserError` for bytes that `pack` did not write."""
  try:
    return Example(**msgpack.unpackb(record))
  except (msgpack.UnpackException, ValueError, TypeError) as error:
    raise cannot_read(f'a record of {len(record)} bytes', error) from error


def write_shard(path: str | os.PathLike[str], records: Iterable[bytes]) -> None:
  """Writes records as one ArrayRecord file, whole or not at all.

  Raises:
    UserError: the folder does not exist or may not be written to.
    OSError: the disk is full or fails.
  """
  with replacing(path) as temporary:
    writer = array_record_module.ArrayRecordWriter(str(temporary), WRITER_OPTIONS)
    try:
      for record in records:
        with _disk_errors(path):
          writer.write(record)
    except BaseException:
      with contextlib.suppress(RuntimeError):
        writer.close()
      raise
    with _disk_errors(path):
      writer.close()


def discard_unfinished(path: str | os.PathLike[str]) -> None:
  """Takes away what killed runs left beside `path` while they wrote it."""
  for file in Path(path).parent.glob(f'.{Path(path).name}.*.tmp'):
    file.unlink(missing_ok=True)


def read_shard(path: str | os.PathLike[str]) -> Iterator[bytes]:
  """Yields the records of an ArrayRecord file in order.

  Raises:
    UserError: missing, or not a whole ArrayRecord file.
  """
  if not Path(path).is_file():
    raise UserError(f'cannot read {path}: no such file')
  reader = array_record_module.ArrayRecordReader(str(path), 'readahead_buffer_size:0')
  try:
    for number in range(reader.num_records()):
      yield reader.read([number])[0]
    reader.close()  # which is where a file that is damaged at its head says so
  except RuntimeError as error:
    raise cannot_read(path, f'{error}; prepare the data set again') from error


@contextlib.contextmanager
def _disk_errors(path: str | os.PathLike[str]) -> Iterator[None]:
  """Turns the writer's RuntimeError into the OSError that it tells of."""
  try:
    yield
  except RuntimeError as error:
    other = OSError(errno.EIO, one_line(error), os.fspath(path))
    raise full_disk(error, path) or other from error
