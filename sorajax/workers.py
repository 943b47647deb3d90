"""Processes that work for this one, and end with it."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

from sorajax.errors import UserError

THREADS = 'OMP_NUM_THREADS'  # what BLAS looks at when NumPy is imported


@contextlib.contextmanager
def pool(count: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
  """`count` processes, between which the cores are shared out.

  NumPy's BLAS has a thread for each core unless told otherwise, and those of several processes wait
  for each other: a small product then takes a hundred times as long.

  Raises:
    UserError: one of them died, for example of too little memory.
  """
  before = os.environ.get(THREADS)
  os.environ.setdefault(THREADS, str(max((os.cpu_count() or 1) // count, 1)))
  try:
    with executor(count) as made:
      yield made
  except concurrent.futures.BrokenExecutor as error:
    raise UserError(
      'a worker died; run again to go on, with fewer --workers if memory ran out'
    ) from error
  finally:
    if before is None:
      del os.environ[THREADS]


def executor(count: int) -> concurrent.futures.ProcessPoolExecutor:
  """The same, each with as many threads as it likes."""
  spawn = multiprocessing.get_context('spawn')
  return concurrent.futures.ProcessPoolExecutor(count, spawn, _begin)


def _begin() -> None:
  """Lets a worker end with its parent, however that ends, and quietly on Ctrl-C."""
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)
