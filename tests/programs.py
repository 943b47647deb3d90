"""Runs the programs of the checkout."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = '--config=configs/tiny.py'
# They compile in half the time, which is most of what programs on tiny networks do.
QUICKLY = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'


def environment(xla: str = '') -> dict[str, str]:
  """That of all programs that tests start, so that equal runs give equal bits; `xla`: flags."""
  flags = f'{os.environ.get("XLA_FLAGS", "")} {QUICKLY} {xla}'
  return {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags}


def run(program: str, *flags: str, fails: bool = False) -> str:
  """Runs a program of the checkout; returns stdout, or stderr where it must fail."""
  command = [sys.executable, program, *flags]
  done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
  assert (done.returncode != 0) == fails, done.stderr[-2000:]
  return done.stderr if fails else done.stdout
