"""A run on GKE: python launch/gke.py --topology=v5p:4x4x4 --image=IMAGE --run=COMMAND.

One pod a host of each slice, in a JobSet, which starts all of them again when one fails.
"""

from absl import flags

from sorajax import cli
from sorajax.cluster import commands, processes

_NAME = flags.DEFINE_string('name', 'sorajax', 'Of the run.')
_TOPOLOGY = flags.DEFINE_string('topology', None, 'CHIP:SIDExSIDE, such as v5p:4x4x4.')
_SLICES = flags.DEFINE_integer('slices', 1, 'How many of that topology.', lower_bound=1)
_IMAGE = flags.DEFINE_string('image', None, 'Of the container that holds this checkout.')
_RESTARTS = flags.DEFINE_integer('restarts', 100, 'After failures and preemptions.', lower_bound=0)
_RUN = flags.DEFINE_string('run', None, 'The command of every pod.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Whether to print the JobSet and do nothing.')
flags.mark_flags_as_required(['topology', 'image', 'run'])


def main() -> None:
  slice_ = commands.slice_of(_TOPOLOGY.value)
  made = commands.job_set(
    _NAME.value, slice_, _SLICES.value, _IMAGE.value, _RUN.value, _RESTARTS.value
  )
  if _DRY_RUN.value:
    print(commands.as_yaml(made), end='')
    return
  processes.hand(['kubectl', 'apply', '-f', '-'], commands.as_yaml(made))


if __name__ == '__main__':
  cli.run(main)
