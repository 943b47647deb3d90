"""Hurts a run of two processes at random, and holds it against a run that was left alone.

  python tools/chaos.py --out=CHAOS --kills=100

Each time one of the processes gets SIGKILL, SIGTERM or SIGSTOP while the run starts or restores,
trains or saves. Then both must end in time (whoever is stopped is killed once the other ended, as
launch/local.py does it), the same command must go on, and when a run is done its curve must be that
of the run left alone to the last bit. Prints a table of how long it took until both had ended.
Stopped itself, it goes on with the next signal when the same command is given again.
"""

import collections
import dataclasses
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from sorajax import cli
from sorajax.cluster.processes import side_by_side
from sorajax.errors import UserError
from sorajax.media.atomic import make_folder

_OUT = flags.DEFINE_string('out', None, 'Folder for data, runs and their logs.')
_KILLS = flags.DEFINE_integer('kills', 100, 'How often.', 1)
_SEED = flags.DEFINE_integer('seed', 0, 'Of all that is random.')
_STEPS = flags.DEFINE_integer('steps', 40, 'Steps of a run.', 4)
flags.mark_flag_as_required('out')

KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
PHASES = ('starting', 'training', 'saving')
TINY = '--config=configs/tiny.py'
SILENCE_S, JOIN_S = 10.0, 60.0
IN_TIME_S = 1.5 * SILENCE_S + 10.0  # silence, the signs of life that tell of it, the way out
LONGEST_S = 900.0  # of anything that is not hurt


@dataclasses.dataclass
class Pair:
  """Two processes of one run, and the log of the first."""

  processes: list[subprocess.Popen]
  log: Path

  def alive(self) -> bool:
    return all(p.poll() is None for p in self.processes)

  def ended(self, but: int | None = None) -> bool:
    return all(p.poll() is not None for i, p in enumerate(self.processes) if i != but)

  def statuses(self) -> list[int | None]:
    return [p.poll() for p in self.processes]

  def begun(self) -> bool:
    """Whether the first step is done, or never will be."""
    return self.steps() > 0 or not self.alive()

  def steps(self) -> int:
    """Said so far in this life."""
    return self.log.read_text(errors='replace').count('\nstep ')

  def kill(self) -> None:
    for process in self.processes:
      process.kill()
      process.wait()


def main() -> None:
  out = make_folder(Path(_OUT.value).absolute())
  _make_data(out)
  alone, to_first_step_s = _left_alone(out)
  written = out / 'hits.jsonl'
  hits = _read(written) if written.is_file() else []
  for number in range(len(hits) + 1, _KILLS.value + 1):
    kind, phase, victim = _case(number)
    rng, done = random.Random(f'{_SEED.value}, moment {number}'), 0
    while (seconds := _hit(out, kind, phase, victim, rng, to_first_step_s)) is None:
      done += _check_done(out, alone)  # it got through before it was hit
    hits.append({'kind': kind.name, 'phase': phase, 'seconds': seconds, 'runs_done': done})
    with written.open('a', encoding='utf-8') as file:
      file.write(json.dumps(hits[-1]) + '\n')
    what = f'{kind.name} of process {victim} while {phase}'
    print(f'{number}/{_KILLS.value} {what}: both ended after {seconds:.1f} s', flush=True)
  pair = _start(out, 'hurt')
  _wait(pair, pair.ended, LONGEST_S, 'the last run did not end')
  done = sum(h['runs_done'] for h in hits) + _check_done(out, alone)
  print(f'\n{len(hits)} times hurt; {done} runs done, their curves equal to the last bit\n')
  print('\n'.join(_table(hits)))


def _case(number: int) -> tuple[signal.Signals, str, int]:
  """Kind, phase and victim of the hit of a number, each combination as often as any other."""
  every = list(itertools.product(KINDS, PHASES, (0, 1)))
  turn, place = divmod(number - 1, len(every))
  return random.Random(f'{_SEED.value}, turn {turn}').sample(every, len(every))[place]


def _make_data(out: Path) -> None:
  clips, latents = out / 'clips', out / 'latents'
  if not (latents / 'index.json').is_file():
    for program in (
      ['tools/make_flashes.py', TINY, f'--out={clips}', '--count=40'],
      ['launch/encode.py', TINY, f'--input={clips}', f'--output={latents}'],
    ):
      subprocess.run([sys.executable, *program], check=True, env=_environment(out))


def _left_alone(out: Path) -> tuple[list[dict], float]:
  """The curve of a run that nobody hurts, and the seconds to its first step when it starts warm."""
  for _ in range(2):  # the second time everything is compiled
    shutil.rmtree(out / 'alone', ignore_errors=True)
    began = time.monotonic()
    pair = _start(out, 'alone')
    _wait(pair, pair.begun, LONGEST_S, 'no first step')
    to_first_step_s = time.monotonic() - began
    _wait(pair, pair.ended, LONGEST_S, 'the run left alone did not end')
    if pair.statuses() != [0, 0]:
      raise UserError(f'the run left alone failed: see {pair.log}')
  return _curve(out / 'alone'), to_first_step_s


def _hit(out, kind, phase, victim, rng, to_first_step_s) -> float | None:
  """Hurts a run in a phase; seconds until both had ended, or None where it got through before."""
  pair = _start(out, 'hurt')
  try:
    if not _until(phase, pair, out, rng, to_first_step_s):
      _wait(pair, pair.ended, LONGEST_S, 'a run that was not hurt did not end')
      if pair.statuses() != [0, 0]:
        raise UserError(f'a run that was not hurt failed: see {pair.log}')
      return None
    pair.processes[victim].send_signal(kind)
    began = time.monotonic()
    limit = IN_TIME_S + (to_first_step_s + JOIN_S if phase == 'starting' else 0)
    who = victim if kind == signal.SIGSTOP else None
    what = f'{kind.name} of process {victim} while {phase}: not all ended'
    _wait(pair, lambda: pair.ended(but=who), limit, what)
    if pair.statuses() == [0, 0]:
      return None
    if phase != 'starting' and kind == signal.SIGTERM and pair.statuses() != [143, 143]:
      raise UserError(f'SIGTERM gave {pair.statuses()} and not 143 twice: see {pair.log}')
    return time.monotonic() - began
  finally:
    pair.kill()


def _until(phase: str, pair: Pair, out: Path, rng: random.Random, to_first_step_s: float) -> bool:
  """Waits for a moment of a phase; whether both are still alive then."""
  checkpoints = out / 'hurt' / 'checkpoints'
  if phase == 'starting':
    reached = lambda: False
    seconds = rng.uniform(0, to_first_step_s)
  else:
    wanted = rng.randint(1, 6)
    saving = lambda: any('tmp' in p.name for p in checkpoints.glob('*'))
    reached = lambda: pair.steps() >= wanted and (phase == 'training' or saving())
    seconds = LONGEST_S
  until = time.monotonic() + seconds
  while pair.alive() and not reached() and time.monotonic() < until:
    time.sleep(0.002)
  if phase == 'training':
    time.sleep(rng.uniform(0, 0.2))
  return pair.alive()


def _start(out: Path, name: str) -> Pair:
  program = (
    f'launch/train.py {TINY} --config.data.path={out}/latents --workdir={out}/{name} '
    f'--config.train.steps={_STEPS.value} --config.train.save_every=2 '
    f'--silence_seconds={SILENCE_S:g} --join_seconds={JOIN_S:g}'
  )
  log = out / f'{name}.log'
  started = []
  for i, command in enumerate(side_by_side(program, 2)):
    with (log if not i else out / f'{name}-1.log').open('w') as file:
      file.write('\n')
      file.flush()
      started.append(subprocess.Popen(command, stdout=file, stderr=file, env=_environment(out)))
  return Pair(started, log)


def _environment(out: Path) -> dict[str, str]:
  """Compiles quickly, and once: nothing here is about speed."""
  return {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true',
    'JAX_COMPILATION_CACHE_DIR': str(out / 'compiled'),
    'JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS': '0.3',
    'JAX_PERSISTENT_COMPILATION_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }


def _wait(pair: Pair, over, seconds: float, complaint: str) -> None:
  until = time.monotonic() + seconds
  while not over():
    if time.monotonic() > until:
      pair.kill()
      raise UserError(f'{complaint} after {seconds:.0f} s: see {pair.log}')
    time.sleep(0.05)


def _check_done(out: Path, alone: list[dict]) -> int:
  """Holds the curve of a run that is done against that of the run left alone; makes room."""
  curve = _curve(out / 'hurt')
  if curve != alone:
    first = next((a['step'] for a, b in zip(alone, curve) if a != b), len(curve))
    raise UserError(f'the curve of {out}/hurt is not that of {out}/alone, first at step {first}')
  shutil.rmtree(out / 'hurt')
  return 1


def _curve(workdir: Path) -> list[dict]:
  return sorted(_read(workdir / 'metrics.jsonl'), key=lambda x: (x['step'], x['kind']))


def _read(path: Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def _table(hits: list[dict]):
  took = collections.defaultdict(list)
  for hit in hits:
    took[hit['kind'], hit['phase']].append(hit['seconds'])
  yield '| signal | ' + ' | '.join(f'while {phase}' for phase in PHASES) + ' |'
  yield '|---|' + '---|' * len(PHASES)
  for kind in KINDS:
    cells = [took.get((kind.name, phase), []) for phase in PHASES]
    shown = [f'{len(c)}×, {max(c):.1f} s at most' if c else '–' for c in cells]
    yield f'| {kind.name} | ' + ' | '.join(shown) + ' |'


if __name__ == '__main__':
  cli.run(main)
