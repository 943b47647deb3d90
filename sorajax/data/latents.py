"""Clips as latents: encoded once, stored and read back."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

import grain
import msgpack
import numpy as np
import tqdm

from sorajax import workers as workers_lib
from sorajax.clip import Clip, Latents
from sorajax.codec import codec as codec_lib
from sorajax.codec.codec import Codec
from sorajax.codec.lapped import LappedCodec
from sorajax.codec.linear import LinearConfig, fit_linear
from sorajax.codec.patches import PatchCodec
from sorajax.codec.spectrogram import SpectrogramCodec
from sorajax.data import index as index_lib
from sorajax.data.records import Row, discard_unfinished, write_shard
from sorajax.data.references import Reference
from sorajax.data.sources import Source, clip_of, open_shards, open_source
from sorajax.data.worlds import WORLD
from sorajax.errors import UserError, cannot_read
from sorajax.geometry import NOTHING, Beside, Geometry, VideoGeometry
from sorajax.media.atomic import write_text

CODEC = 'codec'  # folder of the codec, within a folder of latents
STARTED = 'encoding.txt'  # whose latents an unfinished folder holds
FIT_CLIPS = 1000  # a linear codec is fitted on at most this many
SHARD_CLIPS = 500  # of clips that are made as they are read
ARRAYS = ('video', 'audio')  # of a clip's latents
ASIDE = ('reference', 'keyframes')  # of some clips'


class LatentSource(Protocol):
  """Latents and captions by number.

  Attributes:
    rows: sizes of the clips, in order.
    fingerprint: a short hash of the content.
    codec: what made the latents and reads them.
    beside: what else a clip has in its context.
  """

  rows: tuple[Row, ...]
  fingerprint: str
  codec: Codec
  beside: Beside

  def __len__(self) -> int: ...

  def __getitem__(self, number: SupportsIndex) -> tuple[Latents, str]: ...


class StoredLatents:
  """A split of a folder that `encode` wrote; travels to worker processes as its name."""

  def __init__(self, directory: str | os.PathLike[str], split: str):
    folder = Path(directory)
    index = index_lib.load(folder)
    if split not in index.splits or not index.splits[split].rows:
      raise UserError(f'{folder} has no latents in split {split!r}; prepare more clips')
    self._named = str(directory), split
    self.rows = index.splits[split].rows
    self.codec = codec_lib.load(folder / CODEC)
    smaller = index.config.get('reference', {}).get('smaller', 0)
    self.beside = Beside(smaller, index.config.get('keyframes', 0))
    self.fingerprint = _hash(index.identity, split, str(len(self.rows)))
    self._records = open_shards(folder, index.splits[split])

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, number: SupportsIndex) -> tuple[Latents, str]:
    try:
      return unpack(self._records[number.__index__()])
    except RuntimeError as error:
      key = self.rows[number.__index__()].key
      raise UserError(f'{self._named[0]}: {key} is damaged; make it again') from error

  def __reduce__(self):
    return StoredLatents, self._named


def open_latents(directory: str | os.PathLike[str], split: str) -> LatentSource:
  """Opens a folder of latents; `UserError` for a folder of clips, which has no codec."""
  if not (Path(directory) / CODEC).is_dir() and (Path(directory) / index_lib.NAME).is_file():
    raise UserError(f'{directory} holds clips and no codec; run launch/encode.py on it first')
  return StoredLatents(directory, split)


def filled(directory: str | os.PathLike[str]) -> list[str]:
  """The splits of a folder that hold anything."""
  return [name for name, split in index_lib.load(Path(directory)).splits.items() if split.rows]


def captions(directory: str | os.PathLike[str]) -> list[str]:
  """Every caption of a folder of latents once, in order."""
  found: dict[str, None] = {}
  for split in filled(directory):
    source = StoredLatents(directory, split)
    found |= dict.fromkeys(source[i][1] for i in range(len(source)))
  return list(found)


def token_sizes(
  rows: tuple[Row, ...], geometry: Geometry, beside: Beside = NOTHING
) -> np.ndarray:  # fmt: skip
  """int64 [N, 2], the picture and sound tokens of every clip, with what lies beside pictures.

  Args:
    rows: sizes of the clips.
    geometry: of their codec.
    beside: what each has.

  Raises:
    UserError: a clip that does not fit the codec, by its key.
  """
  sizes: dict[tuple, tuple[int, int]] = {}
  out = np.zeros((len(rows), 2), np.int64)
  for i, row in enumerate(rows):
    size = (row.frames, row.height, row.width, row.samples)
    if size not in sizes:
      try:
        sizes[size] = geometry.tokens(*size, beside)
      except UserError as error:
        raise UserError(f'clip {row.key}: {error}') from error
    out[i] = sizes[size]
  return out


def evenly(size: int, limit: int) -> list[int]:
  """At most `limit` of the numbers below `size`, evenly spaced; all of them where it is 0."""
  count = min(limit, size) if limit else size
  return np.linspace(0, size - 1, count).round().astype(int).tolist()


class Clips:
  """The decoded clips of a source, at most `limit`, evenly spaced; loops any number of times."""

  def __init__(self, source: Source, limit: int):
    self._source, self._numbers = source, evenly(len(source), limit)

  def __iter__(self) -> Iterator[Clip]:
    return (clip_of(self._source[i]) for i in self._numbers)


class Thinned:
  """At most `limit` clips of a source, evenly spaced; all of them where it is 0."""

  def __init__(self, source: LatentSource, limit: int):
    self._source, self._numbers = source, evenly(len(source), limit)
    self.rows, self.codec = tuple(source.rows[i] for i in self._numbers), source.codec
    self.beside = source.beside
    self.fingerprint = _hash(source.fingerprint, str(limit))

  def __len__(self) -> int:
    return len(self._numbers)

  def __getitem__(self, number: SupportsIndex) -> tuple[Latents, str]:
    return self._source[self._numbers[number.__index__()]]


def encode(
  prepared: str | os.PathLike[str], codec: Codec, output: str | os.PathLike[str], workers: int,
  reference: Reference | None = None, keyframes: int = 0,
) -> index_lib.Index:  # fmt: skip
  """Stores the latents of clips; goes on where a killed run stopped.

  Args:
    prepared: a finished folder of clips, or a generated world such as 'world:50000'.
    codec: makes the latents; kept beside them.
    output: a folder; each shard is written whole or not at all.
    workers: processes.
    reference: where the pictures come from that clips are made after; None for none.
    keyframes: frames of each clip that are also coded alone, evenly spaced, the last among them.

  Returns:
    the index, written last.

  Raises:
    UserError: a missing input, or an output made by another codec, from other clips or with others
      beside them.
  """
  folder, index = Path(output), _index_of(prepared)
  told: dict[str, Any] = {} if reference is None else {'reference': dataclasses.asdict(reference)}
  if keyframes:
    told['keyframes'] = keyframes
  identity = _hash(index.identity, codec.fingerprint, *map(repr, told.values()))
  kept = (folder / CODEC / codec_lib.SAVED_LAST).is_file()
  if kept and codec_lib.load(folder / CODEC).fingerprint != codec.fingerprint:
    raise UserError(f'{folder} holds latents of another codec; choose another output')
  if (folder / index_lib.NAME).is_file():
    done = index_lib.load(folder)
    if done.identity != identity:
      raise UserError(f'{folder} holds latents of other clips; choose another output')
    return done
  codec.save(folder / CODEC)
  _check_started(folder, identity, [s for split in index.splits.values() for s in split.shards])
  jobs, beside = [], (reference, keyframes)
  for name, split in index.splits.items():
    counts = _shard_counts(prepared, split)
    for k, shard in enumerate(split.shards):
      if not (folder / shard).is_file():
        discard_unfinished(folder / shard)
        jobs.append((prepared, name, sum(counts[:k]), counts[k], folder, shard, beside))
  with tqdm.tqdm(total=sum(job[3] for job in jobs), unit='clip', desc='encode') as bar:
    for count in _map(_encode_shard, jobs, workers):
      bar.update(count)
  made = dataclasses.replace(index, identity=identity, config={'latents': index.config, **told})
  index_lib.save(folder, made)
  (folder / STARTED).unlink()
  return made


def _check_started(folder: Path, identity: str, shards: list[str]) -> None:
  """Raises where a killed run left shards of other clips; else marks them as of these."""
  started = folder / STARTED
  before = started.read_text(encoding='utf-8') if started.is_file() else None
  if before != identity and any((folder / shard).is_file() for shard in shards):
    raise UserError(f'{folder} holds latents of other clips, half done; choose another output')
  write_text(started, identity)


def fit_or_load(
  prepared: str | os.PathLike[str], output: str | os.PathLike[str], config: LinearConfig,
  halves: Sequence[str] = ARRAYS,
) -> Codec:  # fmt: skip
  """The codec that a run left in `output`, or one fitted on the training clips.

  Args:
    prepared: a finished folder of clips, or a generated world.
    output: the folder of latents.
    config: of the codec.
    halves: those that are used: 'video', 'audio'.

  Raises:
    UserError: the codec in `output` was not fitted by this config, as far as that can be told.
  """
  folder = Path(output) / CODEC
  if not (folder / codec_lib.SAVED_LAST).is_file():
    return fit(open_source(prepared, 'train'), config)
  codec = codec_lib.load(folder)
  other = [what for half in halves if (what := _other(getattr(codec, half), config))]
  if other:
    raise UserError(f'{output} holds latents of another codec ({other[0]}); choose another output')
  return codec


def _other(half: Any, config: LinearConfig) -> str:
  """What sets half a codec apart from the one that a config asks for; '' for nothing."""
  g = half.geometry
  if isinstance(half, PatchCodec):
    told: dict[str, Any] = {'stride': g.stride, 'video_channels': g.channels}
  elif isinstance(half, LappedCodec):
    told = {'frame_samples': len(half.weight), 'group': half.group, 'mels': 0}
    told['audio_channels'] = g.channels
  elif isinstance(half, SpectrogramCodec):
    told = {'frame_samples': half.mel.hop_samples, 'group': half.group, 'mels': half.mel.mels}
    told |= {'floor': half.mel.floor, 'audio_channels': g.channels}
  else:
    return 'a learned one'
  asked = {name: getattr(config, name) for name in told}
  other = [f'{n}={value}, not {asked[n]}' for n, value in told.items() if value != asked[n]]
  return other[0] if other else ''


def fit(source: Source, config: LinearConfig) -> Codec:
  """A linear codec fitted on the clips of a source."""
  row = source.rows[0]
  patches = VideoGeometry(config.stride, config.video_channels)
  patches.latent_size(row.frames, row.height, row.width)
  return fit_linear(Clips(source, FIT_CLIPS), config, row.sample_rate_hz, row.audio_channels)


def _encode_shard(job: tuple) -> int:
  prepared, split, first, count, folder, shard, (reference, keyframes) = job
  source, codec = open_source(prepared, split), codec_lib.load(folder / CODEC)
  draw = reference and reference.opened(split)

  def record(number: int) -> bytes:
    example = source[number]
    clip = clip_of(example)
    latents = codec.encode(clip)
    if draw is not None:
      after = codec.encode_picture(draw(source.rows[number].key, clip.video))
      latents = dataclasses.replace(latents, reference=after)
    return pack(with_keyframes(latents, clip.video, keyframes, codec), example.caption)

  write_shard(folder / shard, map(record, range(first, first + count)))
  return count


def with_keyframes(latents: Latents, frames: np.ndarray, count: int, codec: Codec) -> Latents:
  """Latents with so many frames of their clip coded alone, evenly spaced, the last among them."""
  if not count:
    return latents
  at = np.linspace(0, len(frames) - 1, count + 1)[1:].round().astype(int)
  return alone(latents, frames[at], at.tolist(), codec)


def alone(latents: Latents, frames: np.ndarray, at: Sequence[int], codec: Codec) -> Latents:
  """Latents with `frames`, uint8 [K, H, W, 3], coded alone; `at`: which of the clip each is."""
  coded = np.concatenate([codec.encode_picture(frame[None]) for frame in frames])
  return dataclasses.replace(latents, keyframes=coded, keyframe_at=tuple(at))


def _map(work, jobs: list, workers: int) -> Iterator[int]:
  if workers <= 1 or len(jobs) <= 1:
    yield from map(work, jobs)
    return
  with workers_lib.pool(workers) as pool:
    yield from pool.map(work, jobs)


def _index_of(prepared: str | os.PathLike[str]) -> index_lib.Index:
  """What a folder of clips holds, or what a generated world would hold in shards."""
  if not str(prepared).startswith(WORLD):
    return index_lib.load(Path(prepared))
  splits = {}
  for name in ('train', 'validation'):
    rows = open_source(prepared, name).rows
    rows = tuple(dataclasses.replace(row, key=f'{name}/{i:06d}') for i, row in enumerate(rows))
    shards = -(-len(rows) // SHARD_CLIPS)
    names = tuple(f'{name}-{k:05d}-of-{shards:05d}.array_record' for k in range(shards))
    splits[name] = index_lib.Split(names, rows)
  return index_lib.Index(_hash(str(prepared)), {}, splits, {}, ())


def _shard_counts(prepared: str | os.PathLike[str], split: index_lib.Split) -> list[int]:
  if str(prepared).startswith(WORLD):
    first = range(0, len(split.rows), SHARD_CLIPS)
    return [min(SHARD_CLIPS, len(split.rows) - k) for k in first]
  folder = Path(prepared)
  return [len(grain.sources.ArrayRecordDataSource(str(folder / s))) for s in split.shards]


def pack(latents: Latents, caption: str) -> bytes:
  """Latents and a caption as a record; values are stored as float16."""
  fields = {'caption': caption, 'fps': latents.fps, 'frames': latents.frames}
  fields['samples'] = latents.samples
  fields['keyframe_at'] = list(latents.keyframe_at)
  for name in (*ARRAYS, *ASIDE):
    if (array := getattr(latents, name)) is not None:
      array = np.asarray(array, np.float16)
      fields[name] = {'shape': list(array.shape), 'data': array.tobytes()}
  return msgpack.packb(fields)


def unpack(record: bytes) -> tuple[Latents, str]:
  """The inverse of `pack`; `UserError` for bytes that `pack` did not write."""
  try:
    fields = msgpack.unpackb(record)
    made: dict[str, Any] = {
      n: np.frombuffer(fields[n]['data'], np.float16).reshape(fields[n]['shape']).astype(np.float32)
      for n in (*ARRAYS, *ASIDE)
      if n in fields or n in ARRAYS
    }
    made |= {n: fields[n] for n in ('fps', 'frames', 'samples')}
    at = tuple(fields.get('keyframe_at', ()))
    return Latents(**made, keyframe_at=at), fields['caption']
  except (msgpack.UnpackException, ValueError, TypeError, KeyError) as error:
    raise cannot_read(f'a record of {len(record)} bytes', error) from error


def _hash(*parts: str) -> str:
  return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:16]
