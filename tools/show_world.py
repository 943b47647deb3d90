"""One clip of each capability, by the model of the generated world that comes along.

  python tools/show_world.py --out=WORLD_SHOWN

From a text, a first frame, a beginning, a sound and a picture, none of them trained on; what is
given comes from true clips, which lie under WORLD_SHOWN/true. WORLD_SHOWN/index.png shows all five.
"""

import time
from pathlib import Path

from absl import flags

from sorajax import cli
from sorajax.evaluate import benchmark
from sorajax.generate import service
from sorajax.generate.request import Request
from sorajax.media import writer
from sorajax.media.atomic import make_folder

_CHECKPOINT = flags.DEFINE_string('checkpoint', 'world', 'Workdir or name of a run of the world.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the prompts.', 0)
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips.')
flags.mark_flag_as_required('out')


def main() -> None:
  began = time.monotonic()
  out, model = make_folder(_OUT.value), service.load(_CHECKPOINT.value)
  true = make_folder(out / 'true')
  tasks = [task for task, weight in model.settings.train.tasks.items() if weight > 0]
  requests = [_asked(model, number, task, true) for number, task in enumerate(tasks)]
  service.answer(model, requests, out, batch=len(requests))
  print(f'{len(requests)} clips in {time.monotonic() - began:.0f} s')
  print(f'all on one page: {out / "index.png"}')


def _asked(model: service.Model, number: int, task: str, true: Path) -> Request:
  """A task, and what is given for it by the true clip of a prompt that is kept in `true`."""
  prompt = benchmark.prompt('test', number, _SEED.value)
  film = benchmark.film(true, prompt)
  writer.write(film, benchmark.shown(prompt.scene))
  return benchmark.request(model, prompt, film, task)


if __name__ == '__main__':
  cli.run(main)
