"""A WavLM tower over clips of unequal length: padded against micro-batched, and its attention, side by side.

    python benchmarks/speech_tower.py                            a narrow tower, a minute or two on two cores
    python benchmarks/speech_tower.py --width 768 --channels 512 --layers 12 --batch 16 --device cuda --flex
                                                                 WavLM-base as published, on a GPU

The layout is that of WavLM-base (seven convolutions, the first with a group norm), narrower and shallower by default
so that the padded step fits a small machine. Clip lengths are the quantiles of a lognormal distribution with a mean of
5 s whose longest clip in the batch has 20 s, in random order: the same mix at every batch size. A step is forward and
backward of the contrastive objective, without dropout, so that both ways must come to the same.

    microbatch_speedup              time of the padded step over that of the micro-batched one
    loss_difference                 of the two steps, relative
    gradient_difference             norm of the difference of their gradients, relative to the gradient's norm
    alone_vs_padded_max_difference  largest difference of an embedding's element, each clip alone against the batch
    sdpa_speedup                    forward pass on the padded batch: time of the library's attention over ours
    sdpa_step_speedup               the same for the micro-batched step
    flex_speedup, flex_step_speedup the same for FlexAttention; with --flex, on a GPU

Single precision leaves some 1e-6 of the gradient open, in whatever order a batch is summed. So both differences are
also taken in double precision (suffix _double), for clips of a tenth of the length. Ends with one line of JSON. Times
are medians of rounds in which the variants run in turn.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

from raclap.memory import keep_freed_memory

keep_freed_memory()  # before torch is imported

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from transformers import BertConfig, WavLMConfig  # noqa: E402

from modeling_raclap import RaClapConfig, RaClapModel  # noqa: E402
from raclap.training.objectives import ContrastiveObjective  # noqa: E402

RATE = 16_000
MEAN_SECONDS, LONGEST_SECONDS = 5.0, 20.0
TOKENS = 28  # of a caption
SEED = 0


def main() -> None:
    """Measures one thing after another on one model and one batch, and prints the ratios."""
    asked = arguments()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    print(f"{machine(asked.device)}, torch {torch.__version__}, {torch.get_num_threads()} threads, seed {SEED}")
    model, seconds = build(asked), clip_seconds(asked.batch)
    batch = made_up_batch(seconds, asked.device)
    print(
        f"{asked.batch} clips of {min(seconds):.1f} to {max(seconds):.1f} s, mean {statistics.mean(seconds):.2f} s: "
        f"padding makes it {max(seconds) / statistics.mean(seconds):.2f} times as much; {asked.parts} parts"
    )
    figures = differences(model, batch, asked.parts)
    figures["alone_vs_padded_max_difference"] = alone_vs_padded(model, batch)
    short = made_up_batch([length / 10 for length in seconds], asked.device, torch.float64)
    double = differences(build(asked).double(), short, asked.parts)
    figures |= {f"{name}_double": value for name, value in double.items()}

    kinds = {"eager": "eager", "sdpa": "sdpa", **({"flex": "flex_attention"} if asked.flex else {})}
    variants: dict[str, Callable[[], object]] = {"padded step": lambda: step(model.train(), batch, 1)}
    for name, kind in kinds.items():
        variants[f"{name} step"] = lambda kind=kind: step(model.train(), batch, asked.parts, kind)
        variants[name] = lambda kind=kind: embed(model.eval(), batch, kind)
    times = in_turn(variants, asked.rounds, asked.device)
    figures["microbatch_speedup"] = times["padded step"] / times["sdpa step"]
    for name in kinds.keys() - {"eager"}:
        figures[f"{name}_speedup"] = times["eager"] / times[name]
        figures[f"{name}_step_speedup"] = times["eager step"] / times[f"{name} step"]
    rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
    print(json.dumps({"batch": asked.batch, "parts": asked.parts, **rounded}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="clips, 12 or more (default 32)")
    parser.add_argument("--parts", type=int, default=8, help="micro-batches of the speech tower (default 8)")
    parser.add_argument("--width", type=int, default=192, help="hidden size, a multiple of 64 (default 192)")
    parser.add_argument("--layers", type=int, default=4, help="of the transformer (default 4)")
    parser.add_argument("--channels", type=int, default=48, help="of the convolutions (default 48)")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each variant (default 3)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: one a core)")
    parser.add_argument("--device", default="cpu", help="where to run (default cpu)")
    parser.add_argument("--flex", action="store_true", help="also time FlexAttention (needs a GPU)")
    return parser.parse_args()


def machine(device: str) -> str:
    """What the figures were measured on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{torch.backends.cpu.get_cpu_capability()} {platform.machine()}, {os.cpu_count()} cores"


def build(asked: argparse.Namespace) -> RaClapModel:
    """A model of the asked size with random weights, without dropout."""
    torch.manual_seed(SEED)
    none = dict.fromkeys(
        ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "mask_time_prob"), 0.0
    )
    speech = WavLMConfig(
        hidden_size=asked.width, num_hidden_layers=asked.layers, num_attention_heads=asked.width // 64,
        intermediate_size=4 * asked.width, conv_dim=(asked.channels,) * 7, **none,
    )  # fmt: skip
    text = BertConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return RaClapModel(RaClapConfig(speech, text)).to(asked.device).eval()


def clip_seconds(count: int) -> list[float]:
    """Quantiles of a lognormal distribution, mean and longest as stated, in random order."""
    normal = statistics.NormalDist()
    scores = [normal.inv_cdf((index + 0.5) / count) for index in range(count)]
    # Of exp(σ z − σ² / 2), whose mean is 1, the last quantile is to be the ratio of the longest to the mean.
    ratio = torch.tensor(LONGEST_SECONDS / MEAN_SECONDS).log().item()
    deviation = scores[-1] - (scores[-1] ** 2 - 2 * ratio) ** 0.5
    lengths = MEAN_SECONDS * torch.exp(deviation * torch.tensor(scores) - deviation**2 / 2)
    return lengths[torch.randperm(count, generator=torch.Generator().manual_seed(SEED))].tolist()


def made_up_batch(seconds: list[float], device: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Noise of these lengths, padded, and captions of random words."""
    generator = torch.Generator().manual_seed(SEED)
    samples = torch.tensor([round(length * RATE) for length in seconds])
    mask = (torch.arange(int(samples.max())) < samples[:, None]).long()
    values = torch.randn(mask.shape, generator=generator).mul_(mask).to(dtype)
    ids = torch.randint(1000, 30_000, (len(seconds), TOKENS), generator=generator)
    batch = {"input_values": values, "audio_attention_mask": mask, "input_ids": ids}
    return {name: value.to(device) for name, value in {**batch, "attention_mask": torch.ones_like(ids)}.items()}


def step(
    model: RaClapModel, batch: dict[str, Tensor], parts: int, implementation: str = "sdpa"
) -> tuple[float, Tensor]:
    """Forward and backward, with the tower's attention of the given kind: the loss and the gradient of all weights."""
    model.audio_model.set_attn_implementation(implementation)
    model.zero_grad()
    loss = ContrastiveObjective(speech_micro_batches=parts)(model, batch).value
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


@torch.no_grad()
def embed(model: RaClapModel, batch: dict[str, Tensor], implementation: str = "sdpa") -> Tensor:
    """Unit embeddings of the clips, with the tower's attention of the given kind."""
    model.audio_model.set_attn_implementation(implementation)
    return model.get_audio_features(batch["input_values"], None, batch["audio_attention_mask"]).pooler_output


def differences(model: RaClapModel, batch: dict[str, Tensor], parts: int) -> dict[str, float]:
    """What micro-batching changes."""
    (loss, gradient), (other_loss, other) = (step(model, batch, each) for each in (1, parts))
    return {
        "loss_difference": abs(other_loss - loss) / loss,
        "gradient_difference": ((other - gradient).norm() / gradient.norm()).item(),
    }


def alone_vs_padded(model: RaClapModel, batch: dict[str, Tensor]) -> float:
    """What the other clips of the batch change in an embedding, at most."""
    together, worst = embed(model, batch), 0.0
    for index, length in enumerate(batch["audio_attention_mask"].sum(dim=1).tolist()):
        names = ("input_values", "audio_attention_mask")
        alone = embed(model, {name: batch[name][index : index + 1, :length] for name in names})
        worst = max(worst, (alone - together[index]).abs().max().item())
    return worst


def in_turn(variants: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each variant."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            began = time.perf_counter()
            run()
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
            seconds[name].append(time.perf_counter() - began)
    for name, values in seconds.items():
        print(f"  {name}: {', '.join(f'{value:.2f}' for value in values)} s")
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
