"""A plan for each bucket of a config: compile the step, read it, estimate its time."""

import dataclasses
import math
from collections.abc import Iterator

from sorajax.plan import chips, report
from sorajax.plan.estimate import Assumptions, estimate
from sorajax.plan.program import train_step
from sorajax.settings import Settings


def plans(
  settings: Settings,
  name: str,
  topology: str,
  rows: int | None = None,
  price: float = 0.0,
  quick: bool = False,
) -> Iterator[report.Plan]:
  """What training costs on a slice of chips, for each bucket of clips.

  Args:
    settings: of the run.
    name: what to call it.
    topology: such as v5p:4x4x8.
    rows: of a step, in place of the buckets'.
    price: of a chip for an hour.
    quick: whether the compiler may leave out what takes it longest; see `program.train_step`.

  Raises:
    UserError: an unknown topology, what does not divide, or a step that does not fit.
  """
  chip, sides = chips.chip_of(topology), chips.sides_of(topology)
  assume = Assumptions()
  for bucket in settings.data.in_order():
    bucket = dataclasses.replace(bucket, rows=rows or bucket.rows)
    compiled = train_step(settings, bucket, topology, quick)
    yield report.Plan(
      name, topology, chip, math.prod(sides), settings, bucket,
      max(settings.prepare.frames) / settings.prepare.fps, compiled,
      estimate(compiled.program, chip, sides, assume), assume, price,
    )  # fmt: skip
