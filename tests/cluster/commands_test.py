import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet as JobSet
from pydantic import ValidationError
from tiny import refused

from sorajax.cluster import commands


def test_slices_have_chips_hosts_and_names_of_the_cloud():
  slice_ = commands.slice_of('v5p:4x4x8')
  assert (slice_.chips, slice_.hosts) == (128, 32)
  made = commands.tpu_vm('run', 'zone', slice_, True, 'URL', 'python x')
  assert '--accelerator-type=v5p-256' in made['create'] and '--spot' in made['create']
  plain = commands.tpu_vm('run', 'zone', commands.slice_of('v6e:16x16'), False, 'URL', 'x')
  assert '--accelerator-type=v6e-256' in plain['create'] and '--spot' not in plain['create']
  assert commands.slice_of('v6e:1x1').hosts == 1


def test_slices_that_cannot_be_rented_are_refused():
  with refused("no TPU 'v9' to rent; choose one of v5e, v5p, v6e"):
    commands.slice_of('v9:2x2')
  with refused("no topology 'v5p:4by4'; write CHIP:SIDExSIDE"):
    commands.slice_of('v5p:4by4')


def test_commands_of_hosts_are_whole_after_a_shell_has_read_them():
  made = commands.tpu_vm('n', 'z', commands.slice_of('v5p:2x2x1'), False, "a 'b'", 'echo "c d"')
  (run,) = [word for word in made['run'] if word.startswith('--command=')]
  assert run.endswith('SORAJAX_MULTIHOST=1 echo "c d"')
  (install,) = [word for word in made['install'] if word.startswith('--command=')]
  assert "a 'b'" in shlex.split(install.removeprefix('--command='))


def test_a_job_set_has_a_pod_for_each_host_and_all_of_its_chips():
  made = commands.job_set('n', commands.slice_of('v5p:4x4x4'), 2, 'IMAGE', 'RUN', 7)
  (jobs,) = made['spec']['replicatedJobs']
  job = jobs['template']['spec']
  (container,) = job['template']['spec']['containers']
  assert jobs['replicas'] == 2 and job['parallelism'] == job['completions'] == 16
  assert container['resources']['limits']['google.com/tpu'] == '4'
  assert made['spec']['failurePolicy']['maxRestarts'] == 7
  assert job['backoffLimit'] == 0 and container['command'] == ['bash', '-c', 'RUN']


def test_a_job_set_is_one_by_its_schema_which_knows_all_of_its_keys():
  made = commands.job_set('n', commands.slice_of('v5p:4x4x4'), 2, 'IMAGE', 'RUN', 7)
  assert JobSet.from_dict(made).to_dict() == made
  made['spec']['failurePolicy']['maxRestart'] = 7
  assert JobSet.from_dict(made).to_dict() != made
  made['spec']['replicatedJobs'][0]['replicas'] = 'two'
  with pytest.raises(ValidationError, match='replicas'):
    JobSet.from_dict(made)


def test_a_linter_of_shells_finds_nothing_in_what_shells_are_given():
  def complaints(script: str) -> str:
    command = [Path(sys.executable).with_name('shellcheck'), '--shell=bash', '-']
    return subprocess.run(command, input=script, text=True, capture_output=True).stdout

  made = commands.tpu_vm('n', 'z', commands.slice_of('v5p:4x4x4'), True, "a 'b'", 'python x')
  words = [word.partition('--command=') for words in made.values() for word in words]
  remote = [script for _, found, script in words if found]
  assert complaints(commands.sbatch('n', 4, 8, 1.5, 'python x')) == '' and remote
  for script in remote:
    assert complaints(f'#!/usr/bin/env bash\n{script}\n') == ''
  assert 'SC2086' in complaints('#!/usr/bin/env bash\nls $1\n')


@pytest.mark.parametrize('status, queued', [(0, False), (143, True), (3, False)])
def test_a_job_of_slurm_is_queued_again_where_it_was_asked_to_stop(tmp_path, status, queued):
  """The script runs in a real shell, on stand-ins for the programs of Slurm."""
  stand_ins = {
    'srun': f'printf "%s\\n" "$@" > {tmp_path}/ran; exit {status}',
    'scontrol': f'echo "$@" > {tmp_path}/queued',
  }
  for name, text in stand_ins.items():
    program = tmp_path / name
    program.write_text(f'#!/usr/bin/env bash\n{text}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
  script = commands.sbatch('n', 4, 8, 1.5, "python train.py --workdir='a b'", '--partition=p')
  assert '#SBATCH --time=90\n' in script and '#SBATCH --partition=p\n' in script
  assert ' XLA_CLIENT_MEM_FRACTION=0.92\n' in script
  environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '17'}
  done = subprocess.run(['bash'], input=script, text=True, env=environment, check=False)
  assert done.returncode == status
  ran = (tmp_path / 'ran').read_text().splitlines()
  assert ran == ['--kill-on-bad-exit=1', 'python', 'train.py', '--workdir=a b']
  assert (tmp_path / 'queued').is_file() == queued
  if queued:
    assert (tmp_path / 'queued').read_text() == 'requeue 17\n'
