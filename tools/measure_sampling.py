"""How long sampling takes, from requests to mp4 files and their contact sheets.

  python tools/measure_sampling.py --checkpoint=world --out=SAMPLED

Clips of the model's own length, size and number of steps, one at a time and eight at once; the
first time with compilation, then the median of the others.
"""

import statistics
import time

from absl import flags

from sorajax import cli
from sorajax.generate import service
from sorajax.generate.ask import Ask
from sorajax.media.atomic import make_folder

_CHECKPOINT = flags.DEFINE_string('checkpoint', 'world', 'Workdir or name of a run.')
_PROMPT = flags.DEFINE_string('prompt', 'a red ball falls', 'Of every clip.')
_BATCHES = flags.DEFINE_list('batches', ['1', '8'], 'Clips sampled at once.')
_ROUNDS = flags.DEFINE_integer(
  'rounds', 3, 'Times that each batch is sampled, but for the first.', 1
)
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips.')
flags.mark_flag_as_required('out')


def main() -> None:
  out = make_folder(_OUT.value)
  began = time.perf_counter()
  model = service.load(_CHECKPOINT.value)
  print(f'loaded in {time.perf_counter() - began:.1f} s')
  s = model.settings.sample
  form = f'{s.seconds:g} s of {s.height}×{s.width}, {s.steps + max(s.wait.values())} steps'
  print(f'\n| {form} | first | then |\n|---|---|---|')
  for batch in map(int, _BATCHES.value):
    ask = Ask(prompts=(_PROMPT.value,), count=batch, batch=batch)
    seconds = []
    for _ in range(_ROUNDS.value + 1):
      began = time.perf_counter()
      service.make(model, ask, out / str(batch))
      seconds.append(time.perf_counter() - began)
    name = 'one clip' if batch == 1 else f'{batch} clips at once'
    print(f'| {name} | {seconds[0]:.1f} s | {statistics.median(seconds[1:]):.1f} s |')


if __name__ == '__main__':
  cli.run(main)
