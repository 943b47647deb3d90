"""What a config.json says, where it may be of another model or damaged."""

import contextlib
from collections.abc import Iterator

from sorajax.errors import UserError, one_line


@contextlib.contextmanager
def read_for(what: str) -> Iterator[None]:
  """Within, an option that is missing or does not fit is a `UserError`; decorates functions too.

  Args:
    what: is built of the options, such as 'the vocoder'.
  """
  try:
    yield
  except KeyError as error:
    raise UserError(f'the config.json of {what} lacks {error}; give that of its release') from error
  except (AttributeError, IndexError, TypeError, ValueError) as error:
    raise UserError(
      f'{what} cannot be built here: {one_line(error)}; give the config.json of its release'
    ) from error
