"""Files appear whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from sorajax.errors import UserError, cannot_write


def make_folder(path: str | os.PathLike[str]) -> Path:
  """Makes a folder and those above it; `UserError` where that cannot be."""
  folder = Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise cannot_write(folder, error) from error
  return folder


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
  """Yields a temporary name beside `path`; it becomes `path` at the end, or is gone on failure.

  Raises:
    UserError: the folder does not exist, is not a folder, or may not be written to.
  """
  final = Path(path)
  folder = final.parent
  if not folder.is_dir():
    raise UserError(f'cannot write {final}: {folder} is not a folder; make it first')
  if not os.access(folder, os.W_OK | os.X_OK):
    raise UserError(f'cannot write {final}: no permission in {folder}; choose another folder')
  if final.is_dir():
    raise UserError(f'cannot write {final}: it is a folder; name a file inside it')
  temporary = folder / f'.{final.name[-80:]}.{secrets.token_hex(6)}.tmp'
  try:
    yield temporary
    os.replace(temporary, final)
  except OSError as error:
    error.filename = error.filename or str(final)  # a failed write does not say whose it was
    raise
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
  """Yields a temporary folder beside `path`; it becomes `path` at the end, or is gone on failure.

  Raises:
    UserError: there is something at `path`, or the folder above it may not be written to.
  """
  final = Path(path)
  if final.exists() or final.is_symlink():
    raise UserError(f'{final} is there already; delete it or choose another name')
  above = make_folder(final.absolute().parent)
  temporary = above / f'.{final.name[-80:]}.{secrets.token_hex(6)}.tmp'
  try:
    temporary.mkdir()
    yield temporary
    os.rename(temporary, final)
  except OSError as error:
    raise cannot_write(final, error) from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def full_disk(error: Exception, path: str | os.PathLike[str]) -> OSError | None:
  """The OSError that a C++ library's error tells of, if that is a disk without room."""
  for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
    if os.strerror(code) in str(error):
      return OSError(code, os.strerror(code), os.fspath(path))
  return None


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Writes UTF-8 text to `path` in one step."""
  with replacing(path) as temporary:
    temporary.write_text(text, encoding='utf-8')
