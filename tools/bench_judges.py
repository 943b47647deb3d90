"""Tries every judge of the generated world on true clips and on planted faults.

  python tools/bench_judges.py --count=40

With --codec=CODEC a row more shows true clips that went through a codec: the gate that it must pass
before anything is trained on its latents. Each fault is made in the world (bodies, motion) or in
the sound, written as mp4 and read back. A judge can be trusted where truth scores nearly perfect
and the fault that it is for does not.
"""

import collections
import tempfile
from pathlib import Path

import tqdm
from absl import flags

from sorajax import cli
from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.evaluate import benchmark, faults
from sorajax.evaluate.judges import Verdict, judge, summary
from sorajax.media import writer
from sorajax.worlds.scene import Scene

_COUNT = flags.DEFINE_integer('count', 40, 'Scenes.', 2)
_CODEC = flags.DEFINE_string('codec', '', 'Folder, or name, of a codec to try.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the scenes.')

COLUMNS = {  # names in `judges.Summary`, and how they are printed
  'sync': '{:.3f}', 'lag_frames': '{:.2f}', 'gravity': '{:+.1%}', 'residual': '{:.4f}',
  'restitution': '{:+.2f}', 'count': '{:.3f}', 'steady': '{:.3f}', 'colours': '{:.3f}',
  'shapes': '{:.3f}', 'materials': '{:.3f}', 'directions': '{:.3f}',
}  # fmt: skip


def main() -> None:
  codec = codec_lib.load(_CODEC.value) if _CODEC.value else None
  number = lambda i: benchmark.prompt('test', i, _SEED.value, fewest=2).scene
  scenes = [number(i) for i in range(_COUNT.value)]
  rows = collections.defaultdict[str, list[Verdict]](list)
  with tempfile.TemporaryDirectory() as folder:
    film = Path(folder) / 'clip.mp4'
    for asked, other in tqdm.tqdm(list(zip(scenes, [*scenes[1:], scenes[0]])), unit='scene'):
      for name, clip in _harmed(asked, other, codec).items():
        writer.write(film, clip)
        rows[name].append(judge(benchmark.watch(film), asked))
  print(f'| {_COUNT.value} scenes | {" | ".join(COLUMNS)} |')
  print('|---' * (len(COLUMNS) + 1) + '|')
  for name, verdicts in rows.items():
    found = summary(verdicts)
    cells = [form.format(getattr(found, column)) for column, form in COLUMNS.items()]
    print(f'| {name} | {" | ".join(cells)} |')


def _harmed(asked: Scene, other: Scene, codec: codec_lib.Codec | None) -> dict[str, Clip]:
  """A true clip of a scene, what a codec makes of it, and the clip with each fault."""
  made = {'truth': benchmark.shown(asked)}
  if codec is not None:
    made['truth through the codec'] = codec.decode(codec.encode(made['truth']))
  return made | {name: fault(asked, other) for name, fault in faults.FAULTS.items()}


if __name__ == '__main__':
  cli.run(main)
