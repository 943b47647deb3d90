"""A ladder of transformers from 20 million to 22 billion parameters, each for a slice of TPUs.

  python launch/encode.py --config=configs/ladder.py:2b --codec=LTX2 --input=CLIPS --output=LATENTS
  python launch/train.py --config=configs/ladder.py:2b --config.data.path=LATENTS --workdir=RUN
  python tools/plan_ladder.py

Shaped as LTX-2 is: a stream of sound half as wide as that of pictures, with as many heads. Latents
are those of its codec, 5 seconds at 24 frames/s with stereo sound; words are read by an encoder
that is trained along. The last command compiles a step of each for its slice and prints what it
takes. 22b-distilled, and so on, is sampled in eight steps without guidance.
Hardware: the slice of the rung in RUNGS. Expect: nothing yet, no rung was trained.
"""

import dataclasses
import pathlib
import runpy

import ml_collections


@dataclasses.dataclass(frozen=True)
class Rung:
  """One size.

  Attributes:
    topology: of the slice that it is meant for.
    width: of the stream of pictures.
    heads: of both streams.
    layers: how many.
    size: height and width of clips, in pixels.
    rows: clips of a step.
    fsdp: over how many chips weights are split.
  """

  topology: str
  width: int
  heads: int
  layers: int
  size: tuple[int, int]
  rows: int
  fsdp: int = 1


RUNGS = {
  '20m': Rung('v5e:2x2', 256, 4, 12, (256, 256), 64),
  '100m': Rung('v5e:2x4', 512, 8, 16, (256, 256), 64),
  '400m': Rung('v5e:4x4', 1024, 8, 16, (256, 256), 64, fsdp=4),
  '2b': Rung('v6e:4x8', 2048, 16, 20, (512, 768), 32, fsdp=8),
  '7b': Rung('v5p:4x4x4', 3072, 24, 32, (512, 768), 128, fsdp=4),
  '22b': Rung('v5p:4x4x8', 4096, 32, 58, (512, 768), 256, fsdp=16),
}


def get_config(name: str = '20m') -> ml_collections.ConfigDict:
  size, _, kind = name.partition('-')
  if size not in RUNGS or kind not in ('', 'distilled'):
    known = ', '.join(RUNGS)
    raise ValueError(f'no rung {name!r}; choose one of {known}, with -distilled behind it or not')
  rung, here = RUNGS[size], pathlib.Path(__file__)
  section = runpy.run_path(str(here.with_name('base.py')))['_section']
  c = runpy.run_path(str(here.with_name('ltx2.py')))['get_config'](f'2.3-{kind}'.rstrip('-'))
  (height, width), D = rung.size, rung.width
  c.name = f'ladder_{name}'
  c.prepare.update(height=height, width=width)
  tokens = 16 * (height // 32) * (width // 32)  # 121 frames are 16 latents
  c.data.buckets = section(clip=section(rows=rung.rows, video=tokens, audio=144, text=256))
  c.mesh.update(data=-1, fsdp=rung.fsdp)
  c.text.update(kind='words', width=D // 2, depth=2, max_tokens=256)
  for stream, width in ((c.transformer.streams.video, D), (c.transformer.streams.audio, D // 2)):
    head = width // rung.heads
    stream.update(width=width, heads=rung.heads, head_dim=head, hidden=4 * width, text_width=0)
  c.transformer.update(
    layers=rung.layers, text_width=D // 2, cross_heads=rung.heads,
    cross_head_dim=D // 2 // rung.heads,
  )  # fmt: skip
  c.optimizer.learning_rate = 2e-4 if D < 2048 else 1e-4
  c.sample.update(height=height, width=width, skip_layers=(rung.layers // 2,))
  return c
