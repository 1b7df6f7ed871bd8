"""Time of one training step: plain float32 against the defaults (bf16 autocast, channels_last), side by side.

    python -m benchmarks.training_step [--batch 64] [--rounds 5] [--json results.json]

The variants take turns round by round, so that a machine whose speed drifts treats them alike; medians are compared.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sdkit.models.losses import objective
from sdkit.models.model import SplitModel
from sdkit.training.config import ANY_IMAGE, settings
from sdkit.training.device import bf16_available

VARIANTS = {
    "float32": (False, False),
    "float32, channels_last": (False, True),
    "bf16": (True, False),
    "bf16, channels_last (the defaults)": (True, True),
}


def step_function(bf16: bool, channels_last: bool, x: torch.Tensor) -> Callable[[], None]:
    """Return a function that takes one optimiser step of the sprites preset."""
    model_config, train = settings(ANY_IMAGE, preset_name="sprites")
    torch.manual_seed(0)
    model = SplitModel(model_config)
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), train.learning_rate)
    static, dynamic = train.betas

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = model(x)
        terms = objective(output, model_config, alpha=train.alpha, beta_static=static, beta_dynamic=dynamic)
        optimizer.zero_grad(set_to_none=True)
        terms.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    x = torch.randint(0, 256, (arguments.batch, 8, 3, 64, 64), dtype=torch.uint8)
    steps = {name: step_function(*switches, x) for name, switches in VARIANTS.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()  # warm-up: allocations and the choice of kernels
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    machine = {
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": str(torch.__version__),
        "bf16 instructions": bf16_available(torch.device("cpu")),
    }
    print(f"training step, sprites preset, B = {arguments.batch}, T = 8, {arguments.rounds} rounds; {machine}\n")
    print("| variant | median s a step | min | max | times faster than float32 |\n|---|---|---|---|---|")
    for name, values in times.items():
        ratio = medians["float32"] / medians[name]
        print(f"| {name} | {medians[name]:.3f} | {min(values):.3f} | {max(values):.3f} | {ratio:.2f} |")
    if arguments.json:
        results = {"command": "python -m benchmarks.training_step", "machine": machine, "seconds": times}
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
