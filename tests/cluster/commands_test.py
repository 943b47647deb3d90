import os
import re
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from kubeflow_trainer_api.models import JobsetV1alpha2JobSet as JobSet
from programs import ROOT
from pydantic import ValidationError
from tiny import refused

from sorajax.cluster import commands


def of_slice(topology: str, spot: bool = False, source: str = 'URL', run: str = 'python x'):
  return commands.tpu_vm('n', 'z', commands.slice_of(topology), spot, source, 'HEAD', run)


def remote(words: Sequence[str]) -> str:
  """What the shells of hosts are given."""
  (script,) = [word for word in words if word.startswith('--command=')]
  return script.removeprefix('--command=')


def stand_ins(folder: Path, **texts: str) -> dict[str, str]:
  """Programs in the place of others, by their names; the environment that finds them."""
  for name, text in texts.items():
    program = folder / name
    program.write_text(f'#!/usr/bin/env bash\n{text}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
  return {**os.environ, 'PATH': f'{folder}:{os.environ["PATH"]}'}


def bash(script: str, environment: dict[str, str], **where) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    ['bash'], input=script, text=True, env=environment, capture_output=True, check=False, **where
  )


def test_slices_have_chips_hosts_and_names_of_the_cloud():
  slice_ = commands.slice_of('v5p:4x4x8')
  assert (slice_.chips, slice_.hosts) == (128, 32)
  assert '--spot' in of_slice('v5p:4x4x8', spot=True)['create']
  assert '--spot' not in of_slice('v5p:4x4x8')['create']
  assert commands.slice_of('v6e:1x1').hosts == 1


@pytest.mark.parametrize(
  ('topology', 'kind'),
  [
    ('v5p:4x4x4', ['--type=v5p', '--topology=4x4x4']),
    ('v5p:2x2x16', ['--type=v5p', '--topology=2x2x16']),
    ('v6e:16x16', ['--type=v6e', '--topology=16x16']),
    ('v5e:4x4', ['--accelerator-type=v5litepod-16']),
  ],
)
def test_the_cloud_hears_how_chips_lie_where_they_may_lie_in_several_ways(topology, kind):
  created = of_slice(topology)['create']
  assert [word for word in created if re.match('--(type|topology|accelerator-type)=', word)] == kind


def test_slices_that_cannot_be_rented_are_refused():
  with refused("no TPU 'v9' to rent; choose one of v5e, v5p, v6e"):
    commands.slice_of('v9:2x2')
  with refused("no topology 'v5p:4by4'; write CHIP:SIDExSIDE"):
    commands.slice_of('v5p:4by4')
  for topology in ('v5p:3x3', 'v5p:1x1x1'):
    with refused(f'no slice {topology}; v5p comes with three sides, from 2x2x1'):
      commands.slice_of(topology)
  with refused('no slice v5e:2x8; v5e comes as 1x1, 2x2, 2x4, 4x4'):
    commands.slice_of('v5e:2x8')


def test_every_part_of_a_command_for_hosts_runs_there_with_their_python(tmp_path):
  (tmp_path / 'sorajax').mkdir()
  run = 'tell() { echo "$SORAJAX_MULTIHOST ${PATH%%:*} $PWD"; }; tell && tell; exit 7'
  done = bash(remote(of_slice('v5p:2x2x1', run=run)['run']), dict(os.environ), cwd=tmp_path)
  folder = f'{tmp_path}/sorajax'
  assert done.returncode == 7 and done.stdout == 2 * f'1 {folder}/.venv/bin {folder}\n'


def test_hosts_have_the_newest_code_whatever_was_there_and_what_they_made_stays(tmp_path):
  source, installed = tmp_path / "a 'source'", tmp_path / 'sorajax'
  git = ['git', '-C', str(source), '-c', 'user.name=n', '-c', 'user.email=e']
  python = 'mkdir -p .venv/bin && ln -sf "$(type -P true)" .venv/bin/python'
  environment = stand_ins(tmp_path, python3=python)
  script = remote(of_slice('v5p:2x2x1', source=str(source))['install'])
  subprocess.run(['git', 'init', '--quiet', source], check=True)
  for text in ('old', 'new', 'newest'):
    (source / 'code').write_text(text)
    subprocess.run([*git, 'add', 'code'], check=True)
    subprocess.run([*git, 'commit', '--quiet', '--message', text], check=True)
    assert (done := bash(script, environment, cwd=tmp_path)).returncode == 0, done.stderr
    assert (installed / 'code').read_text() == text
    (installed / 'made').touch()
    (installed / '.git' / 'index.lock').touch()  # as one that was killed leaves it
    (installed / '.git' / 'HEAD').unlink()
  assert (installed / 'made').is_file()


def test_a_job_set_has_a_pod_for_each_host_and_all_of_its_chips():
  made = commands.job_set('n', commands.slice_of('v5p:4x4x4'), 2, 'IMAGE', 'RUN', 7)
  (jobs,) = made['spec']['replicatedJobs']
  job = jobs['template']['spec']
  (container,) = job['template']['spec']['containers']
  assert jobs['replicas'] == 2 and job['parallelism'] == job['completions'] == 16
  assert container['resources']['limits']['google.com/tpu'] == '4'
  assert made['spec']['failurePolicy']['maxRestarts'] == 7
  assert job['backoffLimit'] == 0 and container['command'][:2] == ['bash', '-c']


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

  made = of_slice('v5p:4x4x4', source="a 'b'")
  assert complaints(commands.sbatch('n', 4, 8, 1.5, 'python x')) == ''
  assert complaints(f'#!/usr/bin/env bash\n{in_pod("python x")[-1]}') == ''
  for name in ('install', 'run'):
    assert complaints(f'#!/usr/bin/env bash\n{remote(made[name])}\n') == ''
  assert 'SC2086' in complaints('#!/usr/bin/env bash\nls $1\n')


@pytest.mark.parametrize('status, queued', [(0, False), (143, True), (3, False)])
def test_a_job_of_slurm_is_queued_again_where_it_was_asked_to_stop(tmp_path, status, queued):
  """The script runs in a real shell, on stand-ins for the programs of Slurm."""
  environment = stand_ins(
    tmp_path, srun='[ "$1 $2" = "--cpus-per-task=64 --kill-on-bad-exit=1" ] && "${@:3}"',
    scontrol=f'echo "$@" > {tmp_path}/queued',
  )  # fmt: skip
  run = f"cd '{tmp_path}' && touch 'a b' && exit {status}"
  script = commands.sbatch('n', 4, 8, 1.5, run)
  assert '#SBATCH --time=90\n' in script and ' XLA_CLIENT_MEM_FRACTION=0.92 ' in script
  assert bash(script, environment | {'SLURM_JOB_ID': '17'}).returncode == status
  assert (tmp_path / 'a b').is_file()
  assert (tmp_path / 'queued').is_file() == queued
  if queued:
    assert (tmp_path / 'queued').read_text() == 'requeue 17\n'


def test_a_node_of_slurm_runs_all_parts_of_a_command_and_has_all_of_its_gpus(tmp_path):
  """The program joins as JAX lets it on the only node of a job, and tells which GPUs it may see."""
  program = tmp_path / 'program.py'
  program.write_text(
    'import jax\nfrom sorajax import cli\n'
    'seen = lambda: jax.config.values["jax_cuda_visible_devices"]\n'
    'cli.run(lambda: (cli.join_hosts(), print(seen())))\n'
  )
  node = {'STEP_NODELIST': 'localhost', 'STEP_NUM_NODES': '1', 'NTASKS': '1', 'PROCID': '0'}
  node |= {'JOB_ID': str(os.getpid()), 'LOCALID': '0'}
  set_here = ' '.join(f'SLURM_{name}={value}' for name, value in node.items())
  environment = stand_ins(tmp_path, srun=f'env {set_here} "${{@:3}}"') | {'PYTHONPATH': str(ROOT)}
  run = f'there=1 && {shlex.join([sys.executable, str(program)])} && echo "${{there}}"'
  done = bash(commands.sbatch('n', 1, 3, 1.0, run), environment)
  assert done.stdout.split() == ['0,1,2', '1'], done.stderr
  assert 'JAX_LOCAL_DEVICE_IDS' not in commands.sbatch('n', 1, 0, 1.0, run)


SAVES = """import os, signal, sys, time
saved = lambda *_: (time.sleep(0.5), open("saved", "w"), sys.exit(143))
signal.signal(signal.SIGTERM, saved)
"""


def test_a_shell_that_is_asked_to_stop_waits_for_what_its_program_saves(tmp_path):
  """SIGTERM comes to all processes of a node, as that of Slurm does."""
  (tmp_path / 'saves.py').write_text(f'{SAVES}os.killpg(0, signal.SIGTERM)\ntime.sleep(60)\n')
  environment = stand_ins(tmp_path, srun='exec setsid --wait "${@:3}"', scontrol='ls saved')
  script = commands.sbatch('n', 1, 8, 1.0, f'{sys.executable} saves.py && echo over; exit')
  done = bash(script, environment | {'SLURM_JOB_ID': '17'}, cwd=tmp_path)
  assert (done.returncode, done.stdout) == (143, 'saved\n'), done.stderr


def in_pod(run: str) -> list[str]:
  """What a pod's only container runs."""
  made = commands.job_set('n', commands.slice_of('v5p:2x2x1'), 1, 'IMAGE', run, 7)
  (jobs,) = made['spec']['replicatedJobs']
  (container,) = jobs['template']['spec']['template']['spec']['containers']
  return container['command']


@pytest.mark.parametrize('run', ['{}', 'true && {} && touch over', 'true; {}  # and saves'])
def test_a_pod_that_is_asked_to_stop_waits_for_what_its_program_saves(tmp_path, run):
  """SIGTERM comes to the first process alone, twice."""
  (tmp_path / 'saves.py').write_text(f'{SAVES}print("runs", flush=True)\ntime.sleep(60)\n')
  command = in_pod(run.format(f'{sys.executable} saves.py'))
  with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as pod:
    assert pod.stdout is not None and pod.stdout.readline() == 'runs\n'
    pod.terminate()
    time.sleep(0.1)
    pod.terminate()
    assert pod.wait(timeout=30) == 143
  assert {path.name for path in tmp_path.iterdir()} == {'saves.py', 'saved'}


@pytest.mark.parametrize('run, status', [('true', 0), ('exit 3', 3), ('false || (exit 5)', 5)])
def test_a_pod_ends_as_its_command_does(run, status):
  assert subprocess.run(in_pod(run), check=False, timeout=30).returncode == status


def test_options_of_slurm_stay_whole():
  more = '--comment="a b" --partition p'
  script = commands.sbatch("it's mine", 1, 8, 1.0, 'python x', more)
  told = [line.removeprefix('#SBATCH ') for line in script.splitlines() if '#SBATCH' in line]
  split = [shlex.split(line) for line in told]
  assert ["--job-name=it's mine"] in split and ["--output=it's mine-%j.log"] in split
  assert split[-1] == ['--comment=a b', '--partition', 'p']
  with refused("cannot split '--comment=\"a' into words: No closing quotation; close it"):
    commands.sbatch('n', 1, 8, 1.0, 'python x', '--comment="a')
