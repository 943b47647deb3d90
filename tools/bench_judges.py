"""Tries every judge of the generated world on true clips and on planted faults.

  python tools/bench_judges.py --count=40

With --codec=CODEC a row more shows true clips that went through a codec: the gate that it must pass
before anything is trained on its latents. Each fault is made in the world (bodies, motion) or in
the sound, written as mp4 and read back. A judge can be trusted where truth scores nearly perfect
and the fault that it is for does not.
"""

import collections
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tqdm
from absl import flags

from sorajax import cli
from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.evaluate import benchmark, faults
from sorajax.evaluate.judges import judge, judge_speech, summary, together
from sorajax.evaluate.report import cell
from sorajax.media import writer
from sorajax.worlds.scene import Scene

_COUNT = flags.DEFINE_integer('count', 40, 'Scenes.', 2)
_CODEC = flags.DEFINE_string('codec', '', 'Folder, or name, of a codec to try.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the scenes.')

COLUMNS = (
  'sync', 'lag_frames', 'gravity', 'residual', 'restitution', 'count', 'steady', 'colours',
  'shapes', 'materials', 'directions', 'events',
)  # fmt: skip


def main() -> None:
  codec = codec_lib.load(_CODEC.value) if _CODEC.value else None
  numbers = range(_COUNT.value)
  rooms = [benchmark.prompt('test', n, _SEED.value, fewest=2).scene for n in numbers]
  verdicts = _judged(rooms, faults.FAULTS, judge, codec)
  print(f'| {_COUNT.value} scenes | {" | ".join(COLUMNS)} |\n{"|---" * (len(COLUMNS) + 1)}|')
  for name, found in verdicts.items():
    known = summary(found)
    print(f'| {name} | {" | ".join(cell(known, column) for column in COLUMNS)} |')
  faces = [benchmark.spoken('test', n, _SEED.value).scene for n in numbers]
  spoken = _judged(faces, faults.SPOKEN_FAULTS, judge_speech, codec)
  print(f'\n| {_COUNT.value} speakers | sync | lag_frames | words |\n|---|---|---|---|')
  for name, heard in spoken.items():
    all_ = together(heard)
    print(f'| {name} | {all_.sync.f1:.3f} | {all_.lag_frames:.2f} | {all_.words:.3f} |')


def _judged(
  scenes: Sequence[Scene],
  planted: Mapping[str, faults.Fault],
  verdict: Callable[[Clip, Scene], Any],
  codec: codec_lib.Codec | None,
) -> dict[str, list[Any]]:
  """Verdicts on true clips, on what a codec makes of them, and on clips with each fault."""
  rows = collections.defaultdict[str, list](list)
  with tempfile.TemporaryDirectory() as folder:
    film = Path(folder) / 'clip.mp4'
    for asked, other in tqdm.tqdm(list(zip(scenes, [*scenes[1:], scenes[0]])), unit='scene'):
      made = {'truth': benchmark.shown(asked)}
      if codec is not None:
        made['truth through the codec'] = codec.decode(codec.encode(made['truth']))
      for name, clip in (made | {n: fault(asked, other) for n, fault in planted.items()}).items():
        writer.write(film, clip)
        rows[name].append(verdict(benchmark.watch(film), asked))
  return rows


if __name__ == '__main__':
  cli.run(main)
