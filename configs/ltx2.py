"""The transformers that LTX-2.0, 2.3 and 2.5 were released with, in their sizes (Lightricks 2026).

  python launch/train.py --config=configs/ltx2.py:2.3 --config.data.path=LATENTS --workdir=RUN

19 billion parameters. Pictures of 512×768 at 24 frames/s, with stereo sound at 16 kHz, make 6,144
and some 130 tokens. From released weights, in a folder as diffusers saves them:

  python launch/encode.py --config=configs/ltx2.py:2.3 --codec=LTX2 --input=CLIPS --output=LATENTS
  python launch/train.py … --config.start=LTX2 --config.text.kind=ltx2 --config.text.folder=LTX2

with --config.lora.rank=16 for low-rank changes. Else the codec and the text encoder are this
project's own, in the sizes of the released ones' output. 2.3-distilled, and so on, is sampled in
eight steps at fixed levels and without guidance, as the distilled releases are.

diffusers gives the other stream's noise level to all of audio↔video attention, as here; Lightricks'
own program does so for the gate alone: --config.transformer.cross_level=own.
Hardware: weights, gradients and Adam's state are 300 GB in float32. Expect: nothing yet.
"""

import pathlib
import runpy

import ml_collections

VERSIONS = ('2.0', '2.3', '2.5')
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
REFINE = DISTILLED[5:]
FRAMES, HEIGHT, WIDTH, FPS = 121, 512, 768, 24.0


def get_config(release: str = '2.3') -> ml_collections.ConfigDict:
  version, _, kind = release.partition('-')
  if version not in VERSIONS or kind not in ('', 'distilled'):
    known = ', '.join(VERSIONS)
    raise ValueError(
      f'no LTX-2 is called {release!r}; choose one of {known}, with -distilled behind it or not'
    )
  base = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))
  section, c = base['_section'], base['get_config']()
  c.name = f'ltx2_{release}'
  c.prepare.update(frames=(FRAMES,), fps=FPS, height=HEIGHT, width=WIDTH, audio_channels=2)
  c.codec.update(stride=(8, 32, 32), video_channels=128, frame_samples=160, audio_channels=128)
  c.data.buckets = section(clip=section(rows=8, video=6144, audio=144, text=1024))
  c.mesh.update(data=-1, fsdp=16)
  c.transformer = transformer(section, version)
  c.text.update(
    width=c.transformer.text_width, depth=1, max_tokens=1024, folder='', dtype='bfloat16',
    encoded='',
  )  # fmt: skip
  c.flow.update(preconditioned=False, shift=2.78)  # that of 6,144 tokens
  c.optimizer.learning_rate = 1e-5
  c.sample = section(
    seconds=5.0, fps=FPS, height=HEIGHT, width=WIDTH, steps=40 if version == '2.0' else 30,
    solver='euler', guidance=section(video=3.0, audio=7.0), rescale=0.7, batch=1,
    modality_guidance=section(video=3.0, audio=3.0), skip_guidance=section(video=1.0, audio=1.0),
    skip_layers=(29,) if version == '2.0' else (28,), last=0.1, levels=(), refine=REFINE,
    shift=(1024, 0.95, 4096, 2.05),  # by the clip's tokens, as the released schedulers do
    wait=section(video=0, audio=0), image_crf=18 if version == '2.5' else 33,
  )  # fmt: skip
  if kind:
    one, none = section(video=1.0, audio=1.0), section(video=0.0, audio=0.0)
    c.sample.update(levels=DISTILLED, guidance=one, modality_guidance=one, skip_guidance=none)
  return c


def transformer(section, version: str) -> ml_collections.ConfigDict:
  """What the versions share, and what 2.3 and 2.5 changed."""
  first = version == '2.0'
  video, audio = (3840, 3840) if first else (4096, 2048)  # of the text as the connectors give it
  return section(
    streams=section(
      video=section(
        channels=128, width=4096, heads=32, head_dim=128, hidden=16_384,
        rope_max=(20.0, 2048.0, 2048.0), mlp_bias=version != '2.5', text_width=video,
        keyframes=version == '2.5',
      ),
      audio=section(
        channels=128, width=2048, heads=32, head_dim=64, hidden=8192, rope_max=(20.0,),
        text_width=audio,
      ),
    ),
    layers=48, text_width=video + audio, cross_heads=32, cross_head_dim=64, rope_theta=10_000.0,
    gated=not first, text_modulation=not first, text_levels=not first, caption_projection=first,
    cross_level='other', cross_gate_level='other', cross_gate_scale=1000.0,
    remat='full', compute='bfloat16', attention=section(kernel='auto', split='auto', block=1024),
  )  # fmt: skip
