"""A tokenizer.json, read by the library that wrote it."""

import pathlib
import types
from typing import Any

from sorajax.errors import cannot_read


def read(library: types.ModuleType, path: pathlib.Path) -> Any:
  """The tokenizer of a file, its own cut and padding switched off.

  Args:
    library: `tokenizers`.
    path: of the file; `UserError` where it is missing or damaged.
  """
  try:
    tokenizer = library.Tokenizer.from_buffer(path.read_bytes())
  except (OSError, ValueError) as error:
    raise cannot_read(path, error) from error
  tokenizer.no_truncation()
  tokenizer.no_padding()
  return tokenizer
