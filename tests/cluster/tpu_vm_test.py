import re
from collections.abc import Sequence

import pytest
from tiny import refused

from sorajax.cluster import commands, tpu_vm
from sorajax.cluster.processes import shown

COMMANDS = commands.tpu_vm('n', 'z', commands.slice_of('v5p:2x2x1'), True, 'URL', 'HEAD', 'RUN')


ABSENT = "ERROR: (gcloud.compute.tpus) NOT_FOUND: Resource 'n' was not found."
DEAF = 'ERROR: gcloud crashed (TransportError): Unable to find the server at tpu.googleapis.com'


class Cloud(tpu_vm.Cloud):
  """A cloud that is in these states when asked, and whose commands end with these statuses.

  '' is the state of a slice that is not there; `DEAF` that of one which cannot be asked for.
  """

  def __init__(self, states: Sequence[str], **statuses: list[int]):
    self.states, self.statuses = list(states), statuses
    self.called: list[str] = []

  def ask(self, command) -> tuple[int, str, str]:
    assert command == COMMANDS['state']
    state = self.states.pop(0)
    if state in ('', DEAF):
      return 1, '', (state or ABSENT) + '\n'
    return 0, state + '\n', 'WARNING: gcloud is old\n'

  def do(self, command) -> int:
    (name,) = [n for n, c in COMMANDS.items() if c == command]
    self.called.append(name)
    given = self.statuses.get(name)
    return given.pop(0) if given else 0

  def run(self, keep: bool = False) -> list[str]:
    tpu_vm.run(COMMANDS, keep, self, poll_s=0.0)
    return self.called


def test_a_slice_is_queued_for_waited_for_used_and_given_back():
  cloud = Cloud(['', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'])
  assert cloud.run() == ['create', 'install', 'run', 'delete']


def test_a_slice_that_is_there_is_used_and_may_be_kept():
  assert Cloud(['ACTIVE', 'ACTIVE']).run(keep=True) == ['install', 'run']


def test_a_slice_that_is_taken_away_is_queued_for_again():
  cloud = Cloud(['', 'ACTIVE', 'SUSPENDED', '', 'WAITING_FOR_RESOURCES', 'ACTIVE'], run=[1, 0])
  assert cloud.run() == ['create', 'install', 'run', 'delete', 'create', 'install', 'run', 'delete']


@pytest.mark.parametrize('failing', ['install', 'run'])
def test_what_fails_on_a_slice_that_is_there_is_not_tried_for_ever(failing):
  cloud = Cloud(['ACTIVE', 'ACTIVE', 'ACTIVE'], **{failing: [1]})
  costs = f'it costs until {shown([COMMANDS["delete"]])}'
  with refused(f'failed on a slice that is there, see above; {re.escape(costs)}'):
    cloud.run()
  assert 'delete' not in cloud.called


def test_a_queue_that_fails_is_told():
  with refused('the slice is FAILED before it ran; delete it and try again'):
    Cloud(['', 'PROVISIONING', 'FAILED']).run()
  with refused('failed; it says why above'):
    Cloud([''], create=[1]).run()


@pytest.mark.parametrize('deaf', [1, tpu_vm.ASKS - 1])
def test_a_slice_that_cannot_be_asked_for_is_asked_for_again_and_not_taken_for_gone(deaf):
  cloud = Cloud([*[DEAF] * deaf, 'ACTIVE', 'ACTIVE', *[DEAF] * deaf, 'ACTIVE'], run=[1])
  with refused('failed on a slice that is there'):
    cloud.run()
  assert cloud.called == ['install', 'run'] and not cloud.states


def test_a_cloud_that_does_not_answer_is_given_up_and_nothing_deleted():
  cloud = Cloud([DEAF] * tpu_vm.ASKS)
  with refused('failed 5 times: .*Unable to find the server.*; the slice may be there and cost'):
    cloud.run()
  assert cloud.called == []


def test_a_slice_that_is_not_given_back_is_told():
  with refused('the run ended well but its slice may still be there; it costs until gcloud'):
    Cloud(['ACTIVE', 'ACTIVE'], delete=[1]).run()


def test_what_a_command_says_is_heard_apart_from_its_warnings():
  assert tpu_vm.Cloud().ask(['bash', '-c', 'echo a; echo b >&2; exit 3']) == (3, 'a\n', 'b\n')
  assert tpu_vm.Cloud().do(['bash', '-c', 'exit 3']) == 3
  with refused('no no-such-program here; install it'):
    tpu_vm.Cloud().do(['no-such-program'])
