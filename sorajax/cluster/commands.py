"""Commands that start a run on several machines, as data, so that they can be shown first."""

import dataclasses
import json
import math
import shlex
from typing import Any

from sorajax.cluster.processes import words
from sorajax.errors import Stopped, UserError

CORES_OF_GPU = 8  # of a node, for each of its GPUs, unless told otherwise
GPU_SHARE = 0.92  # of a GPU's memory that JAX takes; the rest is NCCL's and the driver's
CHIPS_OF_HOST = 4  # of v5p, v6e and tpu7x, as slices of several hosts are cut
# CHIP → (accelerator of GKE, image of a TPU VM)
TPUS = {
  'v5e': ('tpu-v5-lite-podslice', 'v2-alpha-tpuv5-lite'),
  'v5p': ('tpu-v5p-slice', 'v2-alpha-tpuv5'),
  'v6e': ('tpu-v6e-slice', 'v2-alpha-tpuv6e'),
}
FLAT = ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')  # all that v5e and v6e have
MULTIHOST = 'SORAJAX_MULTIHOST=1'
PYTHON = '3.12'  # of the hosts' environment


@dataclasses.dataclass(frozen=True)
class Slice:
  """A slice of TPUs.

  Attributes:
    chip: such as v5p.
    topology: such as 4x4x8.
  """

  chip: str
  topology: str

  @property
  def chips(self) -> int:
    return math.prod(int(side) for side in self.topology.split('x'))

  @property
  def hosts(self) -> int:
    return max(1, self.chips // CHIPS_OF_HOST)


def slice_of(topology: str) -> Slice:
  """v5p:4x4x8 → a slice; `UserError` for one that cannot be rented so."""
  chip, _, sides = topology.partition(':')
  if chip not in TPUS:
    raise UserError(f'no TPU {chip!r} to rent; choose one of {", ".join(TPUS)}')
  if not all(side.isdigit() and int(side) for side in sides.split('x')):
    raise UserError(f'no topology {topology!r}; write CHIP:SIDExSIDE, such as v6e:16x16')
  if chip == 'v5p' and (sides.count('x') != 2 or Slice(chip, sides).chips < CHIPS_OF_HOST):
    raise UserError(f'no slice {topology}; v5p comes with three sides, from 2x2x1')
  if chip != 'v5p' and sides not in FLAT:
    raise UserError(f'no slice {topology}; {chip} comes as {", ".join(FLAT)}')
  return Slice(chip, sides)


def tpu_vm(
  name: str, zone: str, slice_: Slice, spot: bool, source: str, commit: str, command: str
) -> dict[str, list[str]]:
  """The commands of `gcloud` by what they do: create, state, install, run, delete.

  Args:
    name: of the slice.
    zone: where it is.
    slice_: what to rent.
    spot: whether it may be taken away, for less.
    source: of the code, as git fetches it.
    commit: of the source; a branch, a tag or HEAD for the newest of them.
    command: to run on every host, such as `python launch/train.py …`.
  """
  if slice_.chip == 'v5e':
    kind = [f'--accelerator-type=v5litepod-{slice_.chips}']
  else:
    kind = [f'--type={slice_.chip}', f'--topology={slice_.topology}']
  queued = ['gcloud', 'compute', 'tpus', 'queued-resources']
  on_all = [
    'gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', name, f'--zone={zone}', '--worker=all'
  ]  # fmt: skip
  folder, python = 'sorajax', '.venv/bin/python'
  install = (
    f'git init --quiet {folder} && cd {folder} && rm -f .git/*.lock && '  # mends a broken one too
    f'git fetch --quiet --depth=1 {shlex.quote(source)} {shlex.quote(commit)} && '
    'git reset --quiet --hard FETCH_HEAD && '
    'python3 -m pip install --quiet --user uv && '  # hosts' own Python is too old
    f'python3 -m uv venv --quiet --allow-existing --seed --python={PYTHON} .venv && '
    f"{python} -m pip install --quiet --editable '.[tpu]'"
  )
  run = f'cd {folder} || exit; export PATH="$PWD/.venv/bin:$PATH" {MULTIHOST}; {command}'
  return {
    'create': [
      *queued, 'create', name, f'--node-id={name}', f'--zone={zone}',
      *kind, f'--runtime-version={TPUS[slice_.chip][1]}',
      *(['--spot'] if spot else []),
    ],
    'state': [*queued, 'describe', name, f'--zone={zone}', '--format=value(state.state)'],
    'install': [*on_all, f'--command={install}'],
    'run': [*on_all, f'--command={run}'],
    'delete': [*queued, 'delete', name, f'--zone={zone}', '--force', '--quiet'],
  }  # fmt: skip


def job_set(
  name: str, slice_: Slice, slices: int, image: str, command: str, restarts: int
) -> dict[str, Any]:
  """A JobSet of Kubernetes (jobset.x-k8s.io/v1alpha2): one job a slice, one pod a host.

  Args:
    name: of the run.
    slice_: what each job runs on.
    slices: how many.
    image: of the container that holds this checkout.
    command: to run in every pod.
    restarts: of all jobs together, after any of them failed.
  """
  chips = str(min(slice_.chips, CHIPS_OF_HOST))
  container = {
    'name': 'run',
    'image': image,
    'command': ['bash', '-c', _forwarding(command)],
    'env': [{'name': key, 'value': value} for key, value in (MULTIHOST.split('='),)],
    'resources': {'requests': {'google.com/tpu': chips}, 'limits': {'google.com/tpu': chips}},
  }
  pod = {
    'restartPolicy': 'Never',
    'terminationGracePeriodSeconds': 300,  # to save
    'nodeSelector': {
      'cloud.google.com/gke-tpu-accelerator': TPUS[slice_.chip][0],
      'cloud.google.com/gke-tpu-topology': slice_.topology,
    },
    'containers': [container],
  }
  job = {
    'parallelism': slice_.hosts,
    'completions': slice_.hosts,
    'backoffLimit': 0,
    'template': {'spec': pod},
  }
  return {
    'apiVersion': 'jobset.x-k8s.io/v1alpha2',
    'kind': 'JobSet',
    'metadata': {
      'name': name,
      'annotations': {
        'alpha.jobset.sigs.k8s.io/exclusive-topology': 'cloud.google.com/gke-nodepool'
      },
    },
    'spec': {
      'failurePolicy': {'maxRestarts': restarts},
      'replicatedJobs': [{'name': 'slice', 'replicas': slices, 'template': {'spec': job}}],
    },
  }


def _forwarding(command: str) -> str:
  """A script that hands SIGTERM on to all that runs in it, and waits for what they save.

  Kubernetes sends it to the first process of a container alone.
  """
  return f"""set -m
(trap : TERM
{command}
) &
trap 'kill -TERM -- -$!' TERM
while kill -0 $! 2> /dev/null; do wait $!; done
wait $!
"""


def as_yaml(document: dict[str, Any]) -> str:
  """JSON, which is YAML."""
  return json.dumps(document, indent=2) + '\n'


def sbatch(
  name: str, nodes: int, gpus: int, hours: float, command: str, more: str = '',
  cpus: int | None = None,
) -> str:  # fmt: skip
  """A script for Slurm: one process a node, which is asked to save two minutes before the end.

  Args:
    name: of the run.
    nodes: how many.
    gpus: of each.
    hours: at most; the run is queued again if it did not end by itself.
    command: to run on every node.
    more: further options, such as `--partition=h100`.
    cpus: cores of each; None for `CORES_OF_GPU` for each GPU.
  """
  cpus = cpus or CORES_OF_GPU * max(gpus, 1)
  minutes = math.ceil(hours * 60)
  options = [
    f'--job-name={name}', f'--nodes={nodes}', '--ntasks-per-node=1', f'--gpus-per-node={gpus}',
    f'--cpus-per-task={cpus}', f'--time={minutes}', '--signal=TERM@120', '--requeue',
    '--open-mode=append', f'--output={name}-%j.log',
  ]  # fmt: skip
  head = [*map(shlex.quote, options), *([shlex.join(words(more))] if more else [])]
  exports = [MULTIHOST, f'XLA_CLIENT_MEM_FRACTION={GPU_SHARE}']
  if gpus:  # of which JAX takes one for each process of Slurm otherwise
    exports.append(f'JAX_LOCAL_DEVICE_IDS={",".join(map(str, range(gpus)))}')
  waits = shlex.quote(f'trap : TERM; {command}')  # for what the command saves when it is asked to
  lines = [
    '#!/usr/bin/env bash',
    *(f'#SBATCH {option}' for option in head),
    'set -u',
    f'export {" ".join(exports)}',
    f'srun --cpus-per-task={cpus} --kill-on-bad-exit=1 bash -c {waits}',
    'status=$?',
    f'if [ "$status" -eq {Stopped.STATUS} ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
    'exit "$status"',
  ]
  return '\n'.join(lines) + '\n'
