import re

import pytest
from programs import run


@pytest.mark.long
def test_a_run_that_is_hurt_ends_in_time_and_goes_on_to_the_same_curve(tmp_path):
  """By this seed, process 0 is stopped while training, and process 1 asked to end while saving."""
  said = run('tools/chaos.py', f'--out={tmp_path}', '--kills=2', '--steps=12', '--seed=9')
  assert 'SIGSTOP of process 0 while training' in said
  assert 'SIGTERM of process 1 while saving' in said
  assert re.search(r'\n2 times hurt; [12] runs done, their curves equal to the last bit\n', said)
