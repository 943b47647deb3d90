"""Tries every judge of the generated world on true clips and on planted faults.

  python tools/bench_judges.py --count=40

With --codec=CODEC a row more shows true clips that went through a codec: the gate that it must pass
before anything is trained on its latents. Each fault is made in the world (bodies, motion) or in
the sound, written as mp4 and read back. A judge can be trusted where truth scores nearly perfect
and the fault that it is for does not.
"""

import collections
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from sorajax import cli
from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.evaluate import faults
from sorajax.evaluate.judges import Verdict, judge
from sorajax.evaluate.sync import Agreement
from sorajax.media import reader, writer
from sorajax.worlds.scene import Scene

_COUNT = flags.DEFINE_integer('count', 40, 'Scenes.', 2)
_CODEC = flags.DEFINE_string('codec', '', 'Folder, or name, of a codec to try.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the scenes.')

COLUMNS = (
  'sync F1', 'lag', 'gravity', 'residual', 'restitution', 'count', 'no jump', 'colours', 'shapes',
  'materials', 'directions',
)  # fmt: skip


def main() -> None:
  codec = codec_lib.load(_CODEC.value) if _CODEC.value else None
  scenes = [faults.scene(_SEED.value, number) for number in range(_COUNT.value)]
  rows = collections.defaultdict[str, list[Verdict]](list)
  for asked, harmed in _harmed(scenes, codec):
    for name, clip in harmed.items():
      rows[name].append(judge(as_watched(clip), asked))
  print(f'| {_COUNT.value} scenes | {" | ".join(COLUMNS)} |')
  print('|---' * (len(COLUMNS) + 1) + '|')
  for name, verdicts in rows.items():
    print(f'| {name} | {" | ".join(summary(verdicts))} |', flush=True)


def _harmed(
  scenes: Sequence[Scene], codec: codec_lib.Codec | None
) -> Iterator[tuple[Scene, dict[str, Clip]]]:
  for number, asked in enumerate(scenes):
    other = scenes[(number + 1) % len(scenes)]
    yield (
      asked,
      {'truth': faults.truth(asked)}
      | {name: fault(asked, other) for name, fault in faults.FAULTS.items()},
    )


def as_watched(clip: Clip) -> Clip:
  """The clip from an mp4 file."""
  with tempfile.TemporaryDirectory() as folder:
    film = Path(folder) / 'clip.mp4'
    writer.write(film, clip)
    return dataclasses.replace(reader.read(film), fps=clip.fps)


def summary(verdicts: Sequence[Verdict]) -> list[str]:
  """One cell for each of `COLUMNS`."""
  every = lambda name: np.array([getattr(v, name) for v in verdicts], float)
  joined = lambda name: [x for v in verdicts for x in getattr(v, name)]
  known = lambda values: np.asarray(values)[~np.isnan(values)]
  shown = lambda found, form, of: form.format(of(found)) if len(found) else '–'
  middle = lambda values: shown(known(values), '{:+.2f}', np.median)
  percent = lambda values: shown(known(values), '{:+.1%}', np.median)
  share = lambda values: shown(known(values), '{:.3f}', np.mean)
  sync = sum((v.sync for v in verdicts), Agreement())
  return [
    f'{sync.f1:.3f}', middle(joined('lags_frames')), percent(every('gravity')),
    middle(faults.SIZE * every('residual')), middle(joined('restitution')), share(every('count')),
    share(every('jumps') == 0), share(every('colours')), share(every('shapes')),
    share(every('materials')), share(every('directions')),
  ]  # fmt: skip


if __name__ == '__main__':
  cli.run(main)
