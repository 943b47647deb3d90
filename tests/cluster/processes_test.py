import os
import signal
import subprocess
import sys
import time

import pytest
from programs import ROOT
from tiny import refused

from sorajax.cluster import processes

ends = lambda status: [sys.executable, '-c', f'raise SystemExit({status})']
SLEEPS = [sys.executable, '-c', 'import time; time.sleep(60)']
KILLS_ITSELF = [sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)']


def test_each_process_knows_how_many_there_are_and_which_it_is():
  made = processes.side_by_side("train.py --workdir='a b'", 3)
  assert [command[1:3] for command in made] == [['train.py', '--workdir=a b']] * 3
  assert [command[-2:] for command in made] == [
    ['--processes=3', f'--process={i}'] for i in range(3)
  ]
  assert len({command[3] for command in made}) == 1


@pytest.mark.parametrize(('program', 'count'), [('', 2), ('x', 0)])
def test_nothing_to_run_is_refused(program, count):
  with refused('give a program and 1 or more of them'):
    processes.side_by_side(program, count)


def test_a_quote_that_is_left_open_is_refused():
  with refused('No closing quotation; close it'):
    processes.side_by_side("train.py --workdir='a", 2)


def test_all_that_end_well_end_well_together():
  assert processes.run_all([ends(0), ends(0)], 1.0) == 0


@pytest.mark.parametrize(('failing', 'status'), [(ends(3), 3), (KILLS_ITSELF, 128 + 9)])
def test_one_that_fails_ends_the_others_in_time_and_gives_its_status(failing, status):
  began = time.monotonic()
  assert processes.run_all([SLEEPS, failing, SLEEPS], 0.5) == status
  assert time.monotonic() - began < 20


def test_lines_bear_the_number_of_their_process_and_sigterm_reaches_all():
  waits = (
    'import signal, sys, time\\n'
    'signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\\n'
    'print("ready", flush=True)\\n'
    'time.sleep(60)'
  )
  program = (
    'import sys\n'
    'from sorajax.cluster import processes\n'
    f'waits = [sys.executable, "-c", """{waits}"""]\n'
    'sys.exit(processes.run_all([waits, waits], 5.0))\n'
  )
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  with subprocess.Popen(
    [sys.executable, '-c', program], stdout=subprocess.PIPE, text=True, env=environment
  ) as run:
    assert {run.stdout.readline() for _ in range(2)} == {'[0] ready\n', '[1] ready\n'}
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 143


def test_the_last_lines_of_a_process_are_told_however_late_they_are_read():
  """Both pipes between it and the reader are full when it has ended."""
  program = (
    'import sys\n'
    'from sorajax.cluster import processes\n'
    'tells = [sys.executable, "-c", "for i in range(9000): print(i)"]\n'
    'sys.exit(processes.run_all([tells], 5.0))\n'
  )
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  with subprocess.Popen(
    [sys.executable, '-c', program], stdout=subprocess.PIPE, text=True, env=environment
  ) as run:
    first = run.stdout.readline()
    time.sleep(1)
    assert [first, *run.stdout] == [f'[0] {i}\n' for i in range(9000)]


def test_a_command_that_is_not_there_or_fails_is_told_in_one_line():
  with refused('no no-such-program here; install it, or add --dry_run'):
    processes.hand(['no-such-program'], '')
  with refused('ended with status 5; see above'):
    processes.hand([sys.executable, '-c', 'raise SystemExit(5)'], '')
