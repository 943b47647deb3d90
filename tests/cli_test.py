"""How programs start."""

import os
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
