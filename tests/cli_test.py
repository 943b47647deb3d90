"""How programs start."""

import ctypes
import os
import re
import subprocess
import sys

import jax
import pytest
from programs import ROOT, run

from sorajax import cli

PROGRAM = 'from sorajax import cli; cli.use_cores(); import jax; print(jax.device_count())'


@pytest.mark.parametrize(
  ('flags', 'wanted'),
  [('', min(len(os.sched_getaffinity(0)), 4)), ('--xla_force_host_platform_device_count=3', 3)],
)
def test_cores_are_devices_unless_another_number_is_asked_for(flags, wanted):
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags}
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True
  )
  assert int(done.stdout) == wanted, done.stderr


ONE_OF_TWO = ('--processes=2', '--process=1')
HOSTS = 'from sorajax import cli; cli.run(lambda: (cli.{main}(), print("began")))'


@pytest.mark.parametrize(
  ('main', 'given', 'reason'),
  [
    ('join_hosts', ['--processes=2', '--process=1'], 'add --coordinator=HOST:PORT'),
    ('join_hosts', ['--processes=2'], 'add --coordinator=HOST:PORT'),
    ('join_hosts', ['--process=1'], 'add --coordinator=HOST:PORT'),
    ('join_hosts', ['--processes=2', '--coordinator=localhost'], 'is no address; write HOST:PORT'),
    ('join_hosts', ['--processes=2', '--coordinator=a:99999'], 'is no address; write HOST:PORT'),
    (
      'join_hosts',
      [*ONE_OF_TWO, '--coordinator=localhost:9', '--join_seconds=1'],
      'nobody answers at --coordinator=localhost:9 within 1 s',
    ),
    ('join_hosts', ['--processes=1', '--process=0'], None),
    ('stay_alone', ['--processes=2'], '--processes: -c works alone; start it once without it'),
    ('stay_alone', ['--coordinator=x:1'], '--coordinator: -c works alone'),
    ('join_hosts', ['--processes=1'], None),
    ('stay_alone', [], None),
  ],
)
def test_flags_of_several_processes_that_would_not_join_are_refused(main, given, reason):
  environment = {key: value for key, value in os.environ.items() if key != 'SORAJAX_MULTIHOST'}
  command = [sys.executable, '-c', HOSTS.format(main=main), *given]
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
  assert (done.returncode, done.stdout) == ((1, '') if reason else (0, 'began\n')), done.stderr
  assert (reason or '') in done.stderr and done.stderr.count('\n') == bool(reason)


@pytest.mark.parametrize(
  ('program', 'needed'),
  [
    ('launch/encode.py', ['--config=configs/tiny.py', '--input=x', '--output=x']),
    ('launch/evaluate.py', ['--checkpoint=x', '--out=x']),
    ('launch/prepare.py', ['--config=configs/tiny.py', '--input=x', '--output=x']),
    ('launch/encode_film.py', ['--input=x', '--codec=x', '--output=x']),
    ('launch/decode_film.py', ['--input=x', '--out=x']),
  ],
)
def test_programs_that_work_alone_say_so(program, needed):
  assert 'works alone' in run(program, *needed, '--processes=2', '--process=1', fails=True)


COMPILES = """
import jax, jax.numpy as jnp
from sorajax import cli
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith('/cache_hits')))
cli.run(lambda: print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).sum(), sum(hits)))
"""


def test_programs_that_were_compiled_are_taken_from_their_folder(tmp_path):
  def run(folder) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-c', COMPILES, f'--compiled={folder}']
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

  first, second = (run(tmp_path / 'new').stdout.split() for _ in range(2))
  assert first[0] == second[0] and int(first[1]) == 0 < int(second[1])
  refused = run('/dev/null/x')
  assert refused.returncode == 1 and refused.stdout == ''
  said = r'error: cannot write /dev/null/x: .*; choose another folder\n'
  assert re.fullmatch(said, refused.stderr)


LEAVES_HOLES = """
import ctypes, jax
from sorajax import cli

def resident_mb():
  return int(open('/proc/self/statm').read().split()[1]) // 256

def main():
  c = ctypes.CDLL(None)
  c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
  blocks = [c.malloc(1 << 16) for _ in range(3200)]
  for block in blocks:
    ctypes.memset(block, 1, 1 << 16)
  for block in blocks[:-1]:
    c.free(block)
  found = [resident_mb()]
  for name, seconds in ((cli.COMPILED, 0.1), ('another', 9.0), (cli.COMPILED, 9.0)):
    jax.monitoring.record_event_duration_secs(name, seconds)
    found.append(resident_mb())
  print(*found)

cli.run(main)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='needs glibc')
def test_memory_of_a_long_compilation_goes_back_to_the_system():
  keeps = 'glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000'
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'GLIBC_TUNABLES': keeps}
  done = subprocess.run(
    [sys.executable, '-c', LEAVES_HOLES], cwd=ROOT, env=environment, capture_output=True, text=True
  )
  before, *after_little, after = map(int, done.stdout.split())
  assert all(abs(mb - before) < 20 for mb in after_little) and before - after > 150, done


def test_the_compiler_s_time_is_told_by_the_name_that_is_heard():
  told = []
  jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: told.append(name))
  jax.jit(lambda x: x * 3.25 + 1)(1.0)
  assert cli.COMPILED in told


SELDOM = """
import gc
import jax
from sorajax import cli


class Ring:
  def __init__(self):
    self.own = self


def main():
  before = gc.get_stats()[0]['collections']
  for _ in range(150_000):
    Ring()
  living = sum(isinstance(x, Ring) for x in gc.get_objects())
  print(gc.get_freeze_count(), gc.get_stats()[0]['collections'] - before, living)

cli.run(main)
"""


def test_what_was_imported_is_never_garbage_and_cycles_are_collected_all_the_same():
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run(
    [sys.executable, '-c', SELDOM], cwd=ROOT, env=environment, capture_output=True, text=True
  )
  frozen, rounds, living = map(int, done.stdout.split())
  assert frozen > 50_000 and 1 <= rounds < 20 and living < 150_000, done
