"""From nothing to watching, in stages; used by `make demo`.

Clips of the model that comes along; then: fetch a film, prepare, encode, train, sample. Each stage
is the command line that a user would type, printed before it runs; what is done is not done again,
but for sampling.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from absl import flags

from sorajax import cli
from sorajax.errors import UserError
from sorajax.train.metrics import clock, read

_OUT = flags.DEFINE_string('out', 'demo', 'Folder for everything that the demo makes.')
_STEPS = flags.DEFINE_integer('steps', None, 'Training steps; default: of the config.')

ROOT = Path(__file__).resolve().parent.parent
CONFIG = '--config=configs/film.py'
PROMPTS = (
  'a big grey rabbit stands on a green meadow',
  'a small flying squirrel glides through the forest',
  'a butterfly flies over flowers',
  'tall trees in the forest',
)


def main() -> None:
  began, out, memory = time.monotonic(), Path(_OUT.value).absolute(), Memory()
  world, film = out / 'world', out / 'film'
  clips, latents, run = out / 'clips', out / 'latents', out / 'run'
  steps = [] if _STEPS.value is None else [f'--config.train.steps={_STEPS.value}']
  _stage('tools/show_world.py', f'--out={world}')
  shown_s = time.monotonic() - began
  _stage('tools/fetch_film.py', f'--out={film}')
  _stage('launch/prepare.py', CONFIG, f'--input={film}', f'--output={clips}')
  _stage('launch/encode.py', CONFIG, f'--input={clips}', f'--output={latents}')
  _stage('launch/train.py', CONFIG, f'--config.data.path={latents}', f'--workdir={run}', *steps)
  samples = out / 'samples'
  _stage(
    'launch/sample.py', f'--checkpoint={run}', f'--out={samples}',
    *(f'--prompt={prompt}' for prompt in PROMPTS),
  )  # fmt: skip
  held = [line for line in read(run) if line['kind'] == 'held_out']
  print(f'\nclips of the generated world after {clock(shown_s)}: {world / "index.png"}')
  print(f'clips of a model that was trained here after {clock(time.monotonic() - began)}')
  print(f'at most {memory.stop() / 2**30:.1f} GiB of memory')
  if held:
    first, last = held[0]['loss'], held[-1]['loss']
    print(
      f'held-out loss {last:.3f}; at the start {first:.3f}; '
      f'predicting the mean {held[-1]["mean_loss"]:.3f}'
    )
  print(f'clips and contact sheets: {samples}\nall on one page: {samples / "index.png"}')
  print(f'curves: {run / "curves.png"}')


class Memory:
  """The most memory that this process and those it began held at once, looked at once a second."""

  def __init__(self) -> None:
    self._most, self._done = 0, threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._thread.start()

  def stop(self) -> int:
    """Bytes; memory that processes share counts once."""
    self._done.set()
    self._thread.join()
    return self._most

  def _watch(self) -> None:
    while True:
      own = psutil.Process()
      self._most = max(self._most, sum(map(_held, [own, *own.children(recursive=True)])))
      if self._done.wait(1.0):
        return


def _held(process: psutil.Process) -> int:
  try:
    info = process.memory_full_info()
  except psutil.Error:  # it has ended
    return 0
  return getattr(info, 'pss', info.uss)


def _stage(*command: str) -> None:
  print('\n$ python ' + ' '.join(command), flush=True)
  done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
  if done.returncode < 0:
    raise UserError(f'{command[0]} was killed by signal {-done.returncode}; run the demo again')
  if done.returncode:
    sys.exit(done.returncode)  # it has said why


if __name__ == '__main__':
  cli.run(main)
