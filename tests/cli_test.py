"""How programs start."""

import os
import re
import subprocess
import sys

import pytest
from programs import ROOT

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
