"""What keeping freed memory is worth: the same ECAPA-TDNN training steps in two fresh processes, without and with it.

    python benchmarks/freed_memory.py [--frames 240] [--steps 5]

Ends with one line of JSON: `step_time_ratio` is with over without, smaller is better. The gain depends on how dear a
fresh page is: large on virtual machines, small on bare metal.
"""

import argparse
import json
import subprocess
import sys

STEP = """
import sys, time
if {keep}:
    from raclap.memory import keep_freed_memory
    assert keep_freed_memory(), "this C library cannot be told to keep memory"
import torch
from modeling_raclap import EcapaTdnnConfig, EcapaTdnnModel
torch.manual_seed(0)
model = EcapaTdnnModel(EcapaTdnnConfig(channels=192, mfa_channels=576)).train()
features = torch.randn(64, {frames}, 80)
mask = (torch.arange({frames}) < torch.linspace(0.7 * {frames}, {frames}, 64).long()[:, None]).long()
times = []
for _ in range({steps}):
    began = time.perf_counter()
    model(features, attention_mask=mask).pooler_output.sum().backward()
    times.append(time.perf_counter() - began)
print(sorted(times)[len(times) // 2])
"""


def median_step(keep: bool, frames: int, steps: int) -> float:
    """Median seconds of a step in a process of its own."""
    code = STEP.format(keep=keep, frames=frames, steps=steps)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Runs both and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=240, help="length of the longest clip, log-mel frames")
    parser.add_argument("--steps", type=int, default=5, help="forward and backward passes in each process")
    arguments = parser.parse_args()
    seconds = {keep: median_step(keep, arguments.frames, arguments.steps) for keep in (False, True)}
    print(f"median step: {seconds[False]:.2f} s without, {seconds[True]:.2f} s with freed memory kept")
    print(json.dumps({"step_time_ratio": round(seconds[True] / seconds[False], 3)}))


if __name__ == "__main__":
    main()
