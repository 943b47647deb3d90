"""Runs programs of the checkout in forks of one process that has imported everything already.

The import takes most of the time of a command line that ends in an error. No JAX backend is
initialised before the fork, so a fork is as good as a fresh interpreter.
"""

import dataclasses
import json
import os
import resource
import runpy
import subprocess
import sys
from pathlib import Path

from programs import ROOT, environment

LIMIT_S = 120


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a program ended.

  Attributes:
    status: its exit status; negative where a signal ended it.
    out: its stdout.
    err: its stderr.
  """

  status: int
  out: str
  err: str


class Forked:
  """(program, flags) → how it ended."""

  def __init__(self, folder: Path):
    """Starts the process; `folder` is for the programs' output."""
    self._out, self._err = folder / 'stdout', folder / 'stderr'
    self._server = subprocess.Popen(
      [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
      env={**environment(), 'PYTHONUNBUFFERED': '1'}, text=True,
    )  # fmt: skip

  def __call__(self, program: str, *flags: str, file_bytes: int | None = None) -> Ended:
    """Runs a program; files that grow beyond `file_bytes` fail as on a full disk."""
    assert self._server.stdin and self._server.stdout
    job = {
      'argv': [program, *flags], 'out': str(self._out), 'err': str(self._err), 'limit': file_bytes
    }  # fmt: skip
    self._server.stdin.write(json.dumps(job) + '\n')
    self._server.stdin.flush()
    status = int(self._server.stdout.readline())
    read = lambda path: path.read_text(encoding='utf-8', errors='replace')
    return Ended(status, read(self._out), read(self._err))

  def close(self) -> None:
    """Ends the process."""
    assert self._server.stdin
    self._server.stdin.close()
    self._server.wait()


def serve() -> None:
  """Forks a child for each line of stdin; returns in the children and where stdin ends."""
  import sorajax.data.prepare
  import sorajax.evaluate.sync
  import sorajax.generate.service
  import sorajax.train.loop  # noqa: F401

  for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
      become(job)
      return
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(job: dict) -> None:
  """Runs a program in this process, which ends as it ends."""
  for number, path, flags in (
    (0, os.devnull, os.O_RDONLY),
    (1, job['out'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    (2, job['err'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
  ):
    opened = os.open(path, flags, 0o644)
    os.dup2(opened, number)
    os.close(opened)
  resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
  if job['limit'] is not None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (job['limit'], job['limit']))
  sys.argv = job['argv']
  sys.path[0] = str(Path(job['argv'][0]).parent)
  runpy.run_path(job['argv'][0], run_name='__main__')


if __name__ == '__main__':
  serve()
