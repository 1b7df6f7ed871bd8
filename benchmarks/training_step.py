"""Time of one training step: plain float32 against the defaults (bf16 autocast, channels_last), side by side.

    python -m benchmarks.training_step [--batch 64] [--rounds 5] [--json results.json]

The variants take turns round by round, so that a machine whose speed drifts treats them alike; medians are compared.
"""

from collections.abc import Callable

import torch

from benchmarks.common import medians, parser, save, table, take_turns
from sdkit.methods.base import Batch, Facts
from sdkit.training.config import ANY_IMAGE, plan

VARIANTS = {
    "float32": (False, False),
    "float32, channels_last": (False, True),
    "bf16": (True, False),
    "bf16, channels_last (the defaults)": (True, True),
}


def step_function(bf16: bool, channels_last: bool, x: torch.Tensor) -> Callable[[], None]:
    """Return a function that takes one optimiser step of the sprites preset, variant paper, on x (B, T, 3, 64, 64)."""
    chosen = plan(ANY_IMAGE, preset_name="sprites", variant="paper")
    torch.manual_seed(0)
    model = chosen.build(Facts(ANY_IMAGE, steps=x.shape[1], count=len(x)))
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), chosen.train.learning_rate)
    batch = Batch(x, torch.arange(len(x)))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = model(batch)
        optimizer.zero_grad(set_to_none=True)
        losses.loss.backward()
        optimizer.step()

    return step


def main() -> None:
    made = parser(__doc__, "training_step", rounds=5)
    made.add_argument("--batch", type=int, default=64)
    arguments = made.parse_args()
    x = torch.randint(0, 256, (arguments.batch, 8, 3, 64, 64), dtype=torch.uint8)
    steps = {name: step_function(*switches, x) for name, switches in VARIANTS.items()}
    for step in steps.values():
        step()  # warm-up: allocations and the choice of kernels
    times = take_turns(steps, arguments.rounds)
    middle = medians(times)
    rows = [
        (
            name,
            f"{middle[name]:.3f}",
            f"{min(spent):.3f}",
            f"{max(spent):.3f}",
            f"{middle['float32'] / middle[name]:.2f}",
        )
        for name, spent in times.items()
    ]
    print(f"training step, sprites preset, B = {arguments.batch}, T = 8, {arguments.rounds} rounds\n")
    print(table(("variant", "median s a step", "min", "max", "times faster than float32"), rows))
    save(arguments.json, "training_step", {"settings": {"batch": arguments.batch}, "seconds": times})


if __name__ == "__main__":
    main()
