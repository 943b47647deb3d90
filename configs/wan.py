"""A transformer of the size of Wan 2.1's 14 billion (Wan Team 2025), to hold plans against it.

  python launch/plan.py --config=configs/wan.py --topology=v5p:2x2x2 --rows=2 --quick

81 frames of 720×1280 at 16 frames/s make 75,600 tokens. Its weights cannot be loaded. What differs:
a narrow stream of sound, and attention to it and back, under one percent of the products; RMS norms
in place of layer norms; a small text encoder; how rotations share a head between the dimensions.

Hardware: 237 GB of state in float32. Expect: nothing, it is planned and not trained.
"""

import pathlib
import runpy

import ml_collections

FRAMES, HEIGHT, WIDTH, FPS = 81, 720, 1280, 16.0


def get_config() -> ml_collections.ConfigDict:
  base = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))
  section, c = base['_section'], base['get_config']()
  c.name = 'wan'
  c.prepare.update(frames=(FRAMES,), fps=FPS, height=HEIGHT, width=WIDTH)
  c.codec.update(stride=(4, 16, 16), video_channels=64, audio_channels=64)
  c.data.buckets = section(clip=section(rows=2, video=75_600, audio=256, text=512))
  c.mesh.update(data=-1, fsdp=2, tensor=4)
  c.text.update(width=4096, depth=1, max_tokens=512)
  c.transformer.streams.video.update(
    width=5120, heads=40, head_dim=128, hidden=13_824, rope_max=(20.0, 2048.0, 2048.0)
  )
  c.transformer.streams.audio.update(width=128, heads=4, head_dim=32, hidden=512, rope_max=(20.0,))
  c.transformer.update(
    layers=40, cross_heads=4, cross_head_dim=32, rope_theta=10_000.0, gated=False,
    text_modulation=False, caption_projection=True, remat='full', compute='bfloat16',
    attention=section(kernel='auto', split='auto', block=1024),
  )  # fmt: skip
  c.flow.update(preconditioned=False, shift=3.0)
  c.optimizer.learning_rate = 1e-5
  c.sample.update(seconds=5.0, fps=FPS, height=HEIGHT, width=WIDTH, steps=50)
  c.sample.guidance.update(video=5.0, audio=5.0)
  return c
