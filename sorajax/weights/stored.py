"""Tensors on their way into files of safetensors: one in memory at a time, however large the file.

The library's own writer needs all tensors of a file at once; this one asks for each as it comes.
"""

import dataclasses
import functools
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from sorajax.errors import UserError
from sorajax.media.atomic import write_text
from sorajax.weights import shards
from sorajax.weights.shards import Files

FORMAT: Mapping[str, str] = {'format': 'pt'}  # what the readers of torch look for
SHARD_BYTES = 5 * 10**9
TYPES: Mapping[str, Any] = {  # as safetensors names them
  'BOOL': np.bool_, 'U8': np.uint8, 'I8': np.int8, 'F8_E4M3': ml_dtypes.float8_e4m3fn,
  'F8_E5M2': ml_dtypes.float8_e5m2, 'U16': np.uint16, 'I16': np.int16, 'F16': np.float16,
  'BF16': ml_dtypes.bfloat16, 'U32': np.uint32, 'I32': np.int32, 'F32': np.float32,
  'U64': np.uint64, 'I64': np.int64, 'F64': np.float64,
}  # fmt: skip
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}


@dataclasses.dataclass(frozen=True)
class Stored:
  """A tensor that is read when it is asked for.

  Attributes:
    name: in the file.
    kind: its type, as safetensors names it.
    shape: its dimensions.
    read: gives it, in that type and shape.
    exact: gives it before it was rounded to that type; None where it was not.
  """

  name: str
  kind: str
  shape: tuple[int, ...]
  read: Callable[[], np.ndarray]
  exact: Callable[[], np.ndarray] | None = None

  @property
  def item_bytes(self) -> int:
    return np.dtype(TYPES[self.kind]).itemsize

  @property
  def bytes(self) -> int:
    return self.item_bytes * math.prod(self.shape)

  def named(self, name: str) -> 'Stored':
    """The same tensor by another name."""
    return dataclasses.replace(self, name=name)

  def as_type(self, kind: str) -> 'Stored':
    """The same tensor, rounded to another type where it has one, and once."""
    if kind == self.kind:
      return self
    return dataclasses.replace(self, kind=kind).rounding(self.exact or self.read)

  def rounding(self, exact: Callable[[], np.ndarray]) -> 'Stored':
    """A tensor of other numbers in place of its own, rounded to its type."""
    read = lambda: exact().astype(TYPES[self.kind])
    return dataclasses.replace(self, read=read, exact=exact)


def thirds(tensor: Stored) -> list[Stored]:
  """The maps of queries, keys and values that lie one after the other in a tensor, by its name."""
  size = tensor.shape[0] // 3
  rows = lambda i: tensor.read()[i * size : (i + 1) * size]
  cut = functools.partial(dataclasses.replace, tensor, shape=(size, *tensor.shape[1:]), exact=None)
  return [cut(read=functools.partial(rows, i)) for i in range(3)]


@dataclasses.dataclass(frozen=True)
class Part:
  """A part of a model, such as its transformer.

  Attributes:
    config: what its config.json says.
    tensors: all of them.
  """

  config: Mapping[str, Any]
  tensors: Sequence[Stored]

  @property
  def bytes(self) -> int:
    return sum(tensor.bytes for tensor in self.tensors)


def of(saved: Files, names: Mapping[str, str] | None = None) -> list[Stored]:
  """The tensors of files; `names`: what each is called there → what it is to be called.

  Raises:
    UserError: a type that is not known.
  """
  sizes, kinds = saved.shapes(), saved.kinds()
  names = {name: name for name in saved} if names is None else names
  made = []
  for name, new in names.items():
    if kinds[name] not in TYPES:
      raise UserError(f'{name} has numbers of type {kinds[name]}; {", ".join(TYPES)} are known')
    made.append(Stored(new, kinds[name], sizes[name], functools.partial(saved.__getitem__, name)))
  return made


def write_file(
  path: str | os.PathLike[str], tensors: Sequence[Stored], metadata: Mapping[str, str] = FORMAT
) -> None:
  """Writes tensors in their order, but for those of large numbers, which come first.

  So each lies at a multiple of the size of its numbers, which readers that map the file need.

  Raises:
    OSError: a full disk, or a place that may not be written to.
  """
  ordered = sorted(tensors, key=lambda tensor: -tensor.item_bytes)
  with open(path, 'wb') as file:
    file.write(_head(ordered, metadata))
    for tensor in ordered:
      file.write(_bytes_of(tensor))


def _head(tensors: Sequence[Stored], metadata: Mapping[str, str]) -> bytes:
  """The length of a json and the json, padded with spaces to a multiple of 8 bytes."""
  head: dict[str, Any] = {'__metadata__': dict(sorted(metadata.items()))} if metadata else {}
  end = 0
  for tensor in tensors:
    start, end = end, end + tensor.bytes
    head[tensor.name] = {
      'dtype': tensor.kind, 'shape': list(tensor.shape), 'data_offsets': [start, end],
    }  # fmt: skip
  text = json.dumps(head, ensure_ascii=False, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  return len(text).to_bytes(8, 'little') + text


def _bytes_of(tensor: Stored) -> memoryview:
  value = tensor.read()
  if (value.dtype, value.shape) != (np.dtype(TYPES[tensor.kind]), tensor.shape):
    raise ValueError(f'{tensor.name} is {value.dtype} of {value.shape} and not as it was told')
  return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data


def write_folder(
  folder: Path, part: Part, most_bytes: int = SHARD_BYTES, name: str = shards.NAMES[0]
) -> None:  # fmt: skip
  """Writes a part as diffusers does: config.json, and one file of tensors or several and an index.

  Args:
    folder: it is made.
    part: the order of its tensors is kept.
    most_bytes: of the tensors of a file, where none alone is larger.
    name: of that file, one of `shards.NAMES`.

  Raises:
    OSError: a full disk, or a place that may not be written to.
  """
  folder.mkdir(parents=True)
  write_text(folder / 'config.json', json.dumps(part.config, indent=2) + '\n')
  _write_shards(folder, part.tensors, most_bytes, name)


def _write_shards(folder: Path, tensors: Sequence[Stored], most_bytes: int, whole: str) -> None:
  files = _cut(tensors, most_bytes)
  stem, _, ending = whole.rpartition('.')
  if len(files) == 1:
    write_file(folder / whole, tensors)
    return
  file_of: dict[str, str] = {}
  for i, part in enumerate(files):
    name = f'{stem}-{i + 1:05}-of-{len(files):05}.{ending}'
    write_file(folder / name, part)
    file_of |= {tensor.name: name for tensor in part}
  total = sum(tensor.bytes for tensor in tensors)
  index = {'metadata': {'total_size': total}, 'weight_map': dict(sorted(file_of.items()))}
  write_text(folder / f'{whole}.index.json', json.dumps(index, indent=2) + '\n')


def _cut(tensors: Sequence[Stored], most_bytes: int) -> list[list[Stored]]:
  """Tensors in turn, as many in each file as it takes."""
  files: list[list[Stored]] = [[]]
  size = 0
  for tensor in tensors:
    if files[-1] and size + tensor.bytes > most_bytes:
      files.append([])
      size = 0
    files[-1].append(tensor)
    size += tensor.bytes
  return files


def check_room(folder: Path, needed: int) -> None:
  """Raises unless the disk of a folder has room for so many bytes."""
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise UserError(
      f'{folder} has room for {free / 1e9:.1f} GB and {needed / 1e9:.1f} GB are to be written; '
      'free some or choose another folder'
    )
