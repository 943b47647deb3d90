import re

import pytest
from programs import run


@pytest.mark.long
def test_a_run_that_is_hurt_ends_in_time_and_goes_on_to_the_same_curve(tmp_path):
  """By this seed, process 0 is stopped while training, and process 1 asked to end while saving."""
  said = run('tools/chaos.py', f'--out={tmp_path}', '--kills=1', '--steps=12', '--seed=3')
  assert '1/1 SIGSTOP of process 0 while training' in said
  again = run('tools/chaos.py', f'--out={tmp_path}', '--kills=2', '--steps=12', '--seed=3')
  assert '1/2' not in again
  assert '2/2 SIGTERM of process 1 while saving' in again
  assert re.search(r'\n2 times hurt; [1-3] runs done, their curves equal to the last bit\n', again)
