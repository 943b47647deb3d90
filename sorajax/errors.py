"""The one exception that a person is meant to read."""


class UserError(Exception):
  """Bad input. The message is one line: the culprit, both numbers, and the cure.

  Entry points print it without a traceback and exit with status 1.
  """


class Stopped(Exception):
  """A run that SIGTERM ended, after it saved; the same command goes on from there."""

  STATUS = 128 + 15  # of the process, as shells number it


def cannot_read(path: object, reason: object) -> UserError:
  """A `UserError` for a file that could not be read, with the reason kept to one line."""
  return UserError(f'cannot read {path}: {one_line(reason)}')


def cannot_write(path: object, reason: object) -> UserError:
  """A `UserError` for a place that could not be written to, with the reason kept to one line."""
  return UserError(f'cannot write {path}: {one_line(reason)}; choose another folder')


def one_line(reason: object) -> str:
  """An exception or text as one line of at most 300 characters."""
  if isinstance(reason, OSError) and reason.strerror:
    text = reason.strerror
  elif isinstance(reason, KeyError):
    text = f'it lacks {reason}'
  else:
    text = str(reason) or type(reason).__name__
  return ' '.join(text.split())[:300]
