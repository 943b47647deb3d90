"""What every config starts from: a small model of 64×64 film with mono sound.

Not run by itself; the other files change what differs and say what to expect.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.name, c.trained, c.start = 'base', '', ''
  c.prepare = _section(
    frames=(25,),
    fps=12.0,
    height=64,
    width=64,
    sample_rate_hz=16_000,
    audio_channels=1,
    validation_fraction=0.1,
  )
  c.codec = _section(
    stride=(4, 16, 16), video_channels=96, frame_samples=320, group=4, mels=0, audio_channels=64
  )
  c.mesh = _section(data=-1, fsdp=1, context=1, tensor=1)
  c.data = _section(path='', caption_dropout=0.1)
  c.data.buckets = _section(clip=_section(rows=16, video=112, audio=28, text=48))
  c.text = _section(kind='bytes', width=128, depth=2, max_tokens=48)
  c.transformer = _section(
    streams=_section(
      video=_section(
        channels=c.codec.get_ref('video_channels'), width=256, heads=4, head_dim=64, hidden=1024,
        rope_max=(4.0, 128.0, 128.0),
      ),
      audio=_section(
        channels=c.codec.get_ref('audio_channels'), width=128, heads=4, head_dim=32, hidden=512,
        rope_max=(4.0,),
      ),
    ),
    layers=6, cross_heads=4, cross_head_dim=32, rope_theta=200.0,
    text_width=c.text.get_ref('width'), attention=_section(kernel='auto', split='auto'),
  )  # fmt: skip
  c.flow = _section(mean=0.0, std=1.0, uniform=0.1, shift=0.0, together=0.75)
  c.optimizer = _section(
    learning_rate=1e-3, matrix_rate=0.0, matmul_precision='default', warmup_steps=50,
    decay_share=0.4, ema=0.995,
  )  # fmt: skip
  c.lora = _section(rank=0, alpha=0.0, targets=r'attention/(query|key|value|out)$')
  c.train = _section(
    steps=1000,
    tasks=_section(
      text_to_clip=0.6, image_to_clip=0.1, extend=0.1, video_to_audio=0.1, audio_to_video=0.1,
      keyframes=0.0,
    ),
    evaluate_every=250, save_every=250, sample_every=0, sample_prompts=(), micro_batches=1,
  )  # fmt: skip
  c.sample = _section(
    seconds=2.0, fps=12.0, height=64, width=64, steps=32, last=0.0, levels=(),
    image_crf=0,
    wait=_section(video=0, audio=0),
    guidance=_section(video=2.0, audio=2.0),
    modality_guidance=_section(video=1.0, audio=1.0),
    skip_guidance=_section(video=0.0, audio=0.0), skip_layers=(),
  )  # fmt: skip
  return c


def _section(**keys) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict(keys)
