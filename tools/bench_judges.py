"""Tries every judge of the generated world on true clips and on planted faults.

  python tools/bench_judges.py --count=40

With --codec=CODEC a row more shows true clips that went through a codec: the gate that it must pass
before anything is trained on its latents. Each fault is made in the world (bodies, motion,
speakers, cuts) or in the sound, written as mp4 and read back. A judge can be trusted where truth
scores nearly perfect and the fault that it is for does not.
"""

import collections
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tqdm
from absl import flags

from sorajax import cli
from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.evaluate import benchmark, faults, judges
from sorajax.evaluate.report import cell
from sorajax.media import writer

_COUNT = flags.DEFINE_integer('count', 40, 'Scenes.', 2)
_CODEC = flags.DEFINE_string('codec', '', 'Folder, or name, of a codec to try.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the scenes.', 0)


@dataclasses.dataclass(frozen=True)
class Trial:
  """One kind of judge, and all that it is tried on.

  Attributes:
    kind: of what is asked for.
    columns: of the table.
    ask: for what has a number.
    show: a true clip of what is asked for.
    faults: clips with a fault each, of what is asked for and of another.
    judge: a clip, of what is asked for.
    sum_up: many verdicts.
  """

  kind: str
  columns: Sequence[str]
  ask: Callable[[int], Any]
  show: Callable[[Any], Clip]
  faults: Mapping[str, Callable[[Any, Any], Clip]]
  judge: Callable[[Clip, Any], Any]
  sum_up: Callable[[Sequence[Any]], Any]


ROOMS = Trial(
  'scenes',
  (
    'sync', 'lag_frames', 'gravity', 'falls', 'residual', 'restitution', 'count', 'steady',
    'colours', 'shapes', 'materials', 'directions', 'events',
  ),
  lambda number: benchmark.prompt('test', number, _SEED.value, fewest=2).scene,
  benchmark.shown, faults.FAULTS, judges.judge, judges.summary,
)  # fmt: skip
SPEAKERS = Trial(
  'speakers',
  ('sync', 'lag_frames', 'words', 'register', 'voice', 'face'),
  lambda number: benchmark.spoken('test', number, _SEED.value),
  lambda line: benchmark.shown(line.scene), faults.SPOKEN_FAULTS,
  lambda clip, line: judges.judge_speech(clip, line.speaker), judges.together,
)  # fmt: skip
STORYBOARDS = Trial(
  'storyboards',
  ('cuts', 'cut_precision', 'cut_recall', 'cast'),
  lambda number: benchmark.storyboard('test', number, _SEED.value),
  benchmark.shown_shots, faults.CUT_FAULTS,
  lambda clip, board: judges.judge_cuts(clip, board.scenes, board.spans), judges.all_cuts,
)  # fmt: skip


def main() -> None:
  codec = codec_lib.load(_CODEC.value) if _CODEC.value else None
  for trial in (ROOMS, SPEAKERS, STORYBOARDS):
    head = [f'{_COUNT.value} {trial.kind}', *trial.columns]
    print(f'| {" | ".join(head)} |\n{"|---" * len(head)}|')
    for name, verdicts in _judged(trial, codec).items():
      found = trial.sum_up(verdicts)
      print(f'| {name} | {" | ".join(cell(found, column) for column in trial.columns)} |')
    print()


def _judged(trial: Trial, codec: codec_lib.Codec | None) -> dict[str, list[Any]]:
  """Verdicts on true clips, on what a codec makes of them, and on clips with each fault."""
  rows = collections.defaultdict[str, list](list)
  all_asked = [trial.ask(number) for number in range(_COUNT.value)]
  pairs = list(zip(all_asked, all_asked[1:] + all_asked[:1]))
  with tempfile.TemporaryDirectory() as folder:
    film = Path(folder) / 'clip.mp4'
    for asked, other in tqdm.tqdm(pairs, trial.kind):
      made = {'truth': trial.show(asked)}
      if codec is not None:
        made['truth through the codec'] = codec.decode(codec.encode(made['truth']))
      made |= {name: fault(asked, other) for name, fault in trial.faults.items()}
      for name, clip in made.items():
        writer.write(film, clip)
        rows[name].append(trial.judge(benchmark.watch(film), asked))
  return rows


if __name__ == '__main__':
  cli.run(main)
