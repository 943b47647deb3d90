"""A run on TPU VMs: python launch/tpu.py --topology=v5p:4x4x4 --zone=ZONE --run=COMMAND.

Queues for a slice, installs --commit of --source on every host and runs there. A slice that is
taken away is queued for again, and the run goes on from its newest checkpoint: keep its workdir
where all slices reach it.
"""

from absl import flags

from sorajax import cli
from sorajax.cluster import commands, processes, tpu_vm

_NAME = flags.DEFINE_string('name', 'sorajax', 'Of the slice.')
_TOPOLOGY = flags.DEFINE_string('topology', None, 'CHIP:SIDExSIDE, such as v5p:4x4x4.')
_ZONE = flags.DEFINE_string('zone', None, 'Where the slice is.')
_SPOT = flags.DEFINE_bool('spot', False, 'Whether it may be taken away, for less.')
_SOURCE = flags.DEFINE_string('source', None, 'Of this code, as git fetches it.')
_COMMIT = flags.DEFINE_string('commit', 'HEAD', 'Of the source; or a branch, or a tag.')
_RUN = flags.DEFINE_string('run', None, 'The command of every host.')
_KEEP = flags.DEFINE_bool('keep', False, 'Whether the slice stays when the run has ended.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Whether to print the commands and do nothing.')
flags.mark_flags_as_required(['topology', 'zone', 'source', 'run'])


def main() -> None:
  made = commands.tpu_vm(
    _NAME.value, _ZONE.value, commands.slice_of(_TOPOLOGY.value), _SPOT.value, _SOURCE.value,
    _COMMIT.value, _RUN.value,
  )  # fmt: skip
  if _DRY_RUN.value:
    print(processes.shown(list(made.values())))
  else:
    tpu_vm.run(made, _KEEP.value)


if __name__ == '__main__':
  cli.run(main)
