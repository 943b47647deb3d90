"""Files of safetensors, alone or in folders as diffusers writes them, read a tensor at a time."""

import dataclasses
import importlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sorajax.errors import UserError, cannot_read, one_line
from sorajax.weights import fp8

TYPES: Mapping[str, Literal['float32', 'bfloat16']] = {'F32': 'float32', 'BF16': 'bfloat16'}
NAMES = ('diffusion_pytorch_model.safetensors', 'model.safetensors')


class Files(Mapping[str, np.ndarray]):
  """The tensors of files by name; none is in memory before it is asked for.

  Weights of 8-bit floats are read as bfloat16, and their scales are no tensors (`fp8`).
  """

  def __init__(self, file_of: Mapping[str, '_Open']):
    """`file_of`: name of a tensor → the file that holds it."""
    kinds = {name: file.kind(name) for name, file in file_of.items()}
    self._scales = fp8.scales_of(kinds)
    aside = fp8.companions(self._scales, kinds) if self._scales else set()
    self._file_of, self._all = {n: f for n, f in file_of.items() if n not in aside}, file_of
    self._kinds = kinds | dict.fromkeys(self._scales, fp8.READ_AS)

  def __getitem__(self, name: str) -> np.ndarray:
    file = self._file_of[name]
    if name not in self._scales:
      return file.reader.get_tensor(name)
    scale = self._scales[name]
    value = np.ones(()) if scale is None else self._all[scale].reader.get_tensor(scale)
    try:
      return fp8.scaled(fp8.read(file.path, name), value)
    except ValueError as error:
      raise UserError(
        f'{file.path}: {name} has {error}; only such for all or each output are known'
      ) from error

  def __iter__(self) -> Iterator[str]:
    return iter(self._file_of)

  def __len__(self) -> int:
    return len(self._file_of)

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor, from the heads of the files."""
    return {name: file.shape(name) for name, file in self._file_of.items()}

  def kinds(self) -> dict[str, str]:
    """Name → type of every tensor, as safetensors names it."""
    return {name: self._kinds[name] for name in self}


class File(Files):
  """One file of safetensors; `UserError` where it cannot be read or is cut short.

  Attributes:
    path: where it lies.
    metadata: texts by name, from its head.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self.path = Path(path)
    file = _opened(self.path)
    super().__init__(dict.fromkeys(file.reader.keys(), file))
    self.metadata: dict[str, str] = file.reader.metadata() or {}


class Shards(Files):
  """The tensors of a folder of one file, or of several and an index that says what lies in which.

  Raises:
    UserError: a file that is missing or cut short, or that lacks a tensor of the index.
  """

  def __init__(self, folder: str | os.PathLike[str]):
    self._folder = Path(folder)
    file_of: dict[str, str] = {}
    for index in (self._folder / f'{name}.index.json' for name in NAMES):
      if index.exists():
        file_of = _placed(index)
    here = [name for name in NAMES if (self._folder / name).is_file()]
    files = sorted(set(file_of.values())) or here[:1] or [NAMES[0]]
    gone = [name for name in files if not (self._folder / name).is_file()]
    if gone:
      raise UserError(f'{self._folder} lacks {", ".join(gone)}; download the checkpoint again')
    opened = {name: _opened(self._folder / name) for name in files}
    held = {tensor: name for name, file in opened.items() for tensor in file.reader.keys()}  # noqa: SIM118
    for tensor, name in file_of.items():
      if held.get(tensor) != name:
        raise UserError(
          f'{self._folder / name} lacks {tensor}, which the index says that it holds; download '
          'the checkpoint again'
        )
    super().__init__({tensor: opened[name] for tensor, name in held.items()})

  def dtype(self) -> Literal['float32', 'bfloat16']:
    """The type of most of the tensors: float32 or bfloat16.

    Raises:
      UserError: another type.
    """
    kinds = Counter(self.kinds().values())
    kind = kinds.most_common(1)[0][0] if kinds else 'F32'
    if kind not in TYPES:
      raise UserError(f'{self._folder} holds numbers of type {kind}; {", ".join(TYPES)} are known')
    return TYPES[kind]

  def config(self) -> dict[str, Any]:
    """What the config.json of the folder says; `UserError` where it is missing or damaged."""
    return read_json(self._folder / 'config.json')


@dataclasses.dataclass(frozen=True)
class _Open:
  """A file, and what the library reads it by."""

  path: Path
  reader: Any

  def shape(self, name: str) -> tuple[int, ...]:
    return tuple(self.reader.get_slice(name).get_shape())

  def kind(self, name: str) -> str:
    return self.reader.get_slice(name).get_dtype()


def _opened(path: Path) -> _Open:
  try:
    library = importlib.import_module('safetensors')
  except ImportError as error:
    raise UserError("reading weights needs pip install 'sorajax[ltx2]'") from error
  try:
    return _Open(path, library.safe_open(path, 'numpy'))
  except (OSError, library.SafetensorError) as error:
    raise UserError(
      f'cannot read {path}: {one_line(error)}; download the checkpoint again'
    ) from error


def _placed(index: Path) -> dict[str, str]:
  """Tensor → file, as an index says; `UserError` where it says nothing of the kind."""
  placed = read_json(index).get('weight_map')
  if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
    raise cannot_read(index, 'its weight_map names no files; download the checkpoint again')
  return placed


def read_json(path: Path) -> dict[str, Any]:
  """An object in a json file; `UserError` where it is missing or damaged."""
  try:
    return parsed(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise cannot_read(path, error) from error


def parsed(text: str | bytes) -> dict[str, Any]:
  """An object of json; `ValueError` for anything else."""
  found = json.loads(text)
  if not isinstance(found, dict):
    raise ValueError(f'it holds a {type(found).__name__} where an object is expected')
  return found
