"""Files of safetensors, alone or in folders as diffusers writes them, read a tensor at a time."""

import importlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sorajax.errors import UserError, cannot_read, one_line

TYPES: Mapping[str, Literal['float32', 'bfloat16']] = {'F32': 'float32', 'BF16': 'bfloat16'}
NAMES = ('diffusion_pytorch_model.safetensors', 'model.safetensors')


class Files(Mapping[str, np.ndarray]):
  """The tensors of files by name; none is in memory before it is asked for."""

  def __init__(self, file_of: Mapping[str, Any]):
    """`file_of`: name of a tensor → the open file that holds it."""
    self._file_of = file_of

  def __getitem__(self, name: str) -> np.ndarray:
    return self._file_of[name].get_tensor(name)

  def __iter__(self) -> Iterator[str]:
    return iter(self._file_of)

  def __len__(self) -> int:
    return len(self._file_of)

  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor, from the heads of the files."""
    return {n: tuple(file.get_slice(n).get_shape()) for n, file in self._file_of.items()}

  def kinds(self) -> dict[str, str]:
    """Name → type of every tensor, as safetensors names it."""
    return {n: file.get_slice(n).get_dtype() for n, file in self._file_of.items()}


class File(Files):
  """One file of safetensors; `UserError` where it cannot be read or is cut short.

  Attributes:
    metadata: texts by name, from its head.
  """

  def __init__(self, path: str | os.PathLike[str]):
    file = _opened(Path(path))
    super().__init__(dict.fromkeys(file.keys(), file))
    self.metadata: dict[str, str] = file.metadata() or {}


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
        file_of = dict(read_json(index).get('weight_map', {}))
    here = [name for name in NAMES if (self._folder / name).is_file()]
    files = sorted(set(file_of.values())) or here[:1] or [NAMES[0]]
    gone = [name for name in files if not (self._folder / name).is_file()]
    if gone:
      raise UserError(f'{self._folder} lacks {", ".join(gone)}; download the checkpoint again')
    opened = {name: _opened(self._folder / name) for name in files}
    held = {tensor: name for name, file in opened.items() for tensor in file.keys()}  # noqa: SIM118
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


def _opened(path: Path) -> Any:
  try:
    library = importlib.import_module('safetensors')
  except ImportError as error:
    raise UserError("reading weights needs pip install 'sorajax[ltx2]'") from error
  try:
    return library.safe_open(path, 'numpy')
  except (OSError, library.SafetensorError) as error:
    raise UserError(
      f'cannot read {path}: {one_line(error)}; download the checkpoint again'
    ) from error


def read_json(path: Path) -> dict[str, Any]:
  """A json file; `UserError` where it is missing or damaged."""
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise cannot_read(path, error) from error
