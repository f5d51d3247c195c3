"""Train the network on a cache of preprocessed exams, with image-level labels (and ``--guidance`` by lesion positions).

    python training/train.py --cache CACHE --output RUN --resolution half            # learn at 2.2 mm
    python training/train.py --cache CACHE --output RUN2 --resolution full --init RUN/best.safetensors   # finish at 1.1 mm

Continues from RUN/last.pt when it is there. Writes config.json, metrics.csv, last.pt and best.safetensors (best AUC on
the validation exams).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BreastCMSLLib.losses import MARGIN, cosine, cosine_margin_loss, sigmoid_loss  # noqa: E402
from BreastCMSLLib.network import BreastNet, NetworkSettings  # noqa: E402
from training import cache  # noqa: E402
from training.lesion_guidance import GuidanceHead, centres_of, guidance_loss, move, targets  # noqa: E402
from training.metrics import auc  # noqa: E402
from training.transfer import full_from_half, half_settings, load_weights, save_weights  # noqa: E402


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resolution", choices=("half", "full"), default="half")
    parser.add_argument("--objective", choices=("bce", "nsl", "cmsl"), default="bce")
    parser.add_argument("--init", type=Path, help="weights to start from; half-resolution weights are carried over to full resolution")
    parser.add_argument("--train", default="1:300", help="seeds first:last of the training exams")
    parser.add_argument("--validate", default="301:360")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--margin-warmup", type=int, default=0, help="epochs over which the margin grows from 0")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--blocks", type=int, nargs=4, default=(3, 4, 6, 3))
    parser.add_argument("--pooling", default="average")
    parser.add_argument("--freeze-norm", action="store_true", help="keep the batch statistics of --init")
    parser.add_argument("--guidance", type=float, default=0.0, help="weight of the auxiliary loss on lesion positions (0: labels only)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def seeds(span: str) -> set[int]:
    """The seeds of "first:last", both included."""
    first, last = (int(n) for n in span.split(":"))
    return set(range(first, last + 1))


def files(folder: Path, span: str) -> list[Path]:
    found = [path for n in sorted(seeds(span)) if (path := folder / f"{n:06d}.npz").exists()]
    if not found:
        raise SystemExit(f"No cached exams {span} in {folder}; make them with python -m training.prepare.")
    return found


def seen_exams(o: argparse.Namespace) -> dict[str, list[int]]:
    """Seeds trained on and validated on, by this run and the one it starts from: none of them may become a test exam."""
    seen = {"train": seeds(o.train), "validate": seeds(o.validate)}
    earlier = o.init.parent / "config.json" if o.init else None
    if earlier is not None and earlier.exists():
        for name, used in json.loads(earlier.read_text())["seen"].items():
            seen[name] |= set(used)
    return {name: sorted(used) for name, used in seen.items()}


class Exams:
    """Cached exams by index; half-resolution ones stay in memory."""

    def __init__(self, paths: list[Path], resolution: str):
        self.paths, self.resolution, self.kept = paths, resolution, {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, torch.Tensor]:
        if index in self.kept:
            return self.kept[index]
        exam = cache.load(self.paths[index], self.resolution)
        centres = centres_of(exam.meta, self.resolution == "half")
        item = exam.array.bfloat16(), exam.meta["label"], centres  # the network reads bfloat16
        if self.resolution == "half":
            self.kept[index] = item
        return item


def augment(array: torch.Tensor, centres: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror left–right and head–foot, shift by up to 17 mm, scale the intensity by up to a quarter."""
    flips = [axis for axis in (0, 2) if torch.rand((), generator=generator) < 0.5]
    reach = 8 if array.shape[1] < 200 else 16
    shifts = torch.randint(-reach, reach + 1, (3,), generator=generator).tolist()
    factor = float(torch.empty(()).uniform_(0.8, 1.25, generator=generator))
    flipped = array.flip([axis + 1 for axis in flips]) if flips else array
    return torch.roll(flipped, shifts, (1, 2, 3)) * factor, move(centres, array.shape[1:], flips, shifts)


def batches(exams: Exams, size: int, generator: torch.Generator | None):
    """Batches of (arrays, labels, lesion centres); shuffled and augmented when there is a generator."""
    order = torch.randperm(len(exams), generator=generator).tolist() if generator is not None else range(len(exams))
    for start in range(0, len(order) - (size - 1 if generator is not None else 0), size):
        items = [exams[i] for i in order[start : start + size]]
        labels = torch.tensor([label for _, label, _ in items])
        pairs = [augment(a, c, generator) if generator is not None else (a, c) for a, _, c in items]
        yield torch.stack([a for a, _ in pairs]).contiguous(memory_format=torch.channels_last_3d), labels, [c for _, c in pairs]


def objective(network: BreastNet, pooled: torch.Tensor, labels: torch.Tensor, name: str, margin: float) -> torch.Tensor:
    if name == "bce":
        return sigmoid_loss(network.classify(pooled), labels)
    return cosine_margin_loss(cosine(pooled, network.weight), labels, network.settings.scale, margin if name == "cmsl" else 0.0)


@torch.inference_mode()
def validate(network: BreastNet, exams: Exams, batch: int) -> tuple[float, float]:
    network.eval()
    logits, labels = [], []
    for arrays, target, _ in batches(exams, batch, None):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = network.feature_map(arrays)
        logits.append(network.classify(network.pool(features)))
        labels.append(target)
    logits, labels = torch.cat(logits), torch.cat(labels)
    return float(sigmoid_loss(logits, labels)), auc(labels.numpy(), logits.numpy())


@torch.no_grad()
def settle_norms(network: BreastNet, exams: Exams, batch: int, generator: torch.Generator, count: int = 25) -> None:
    """Batch-norm statistics as plain averages over training batches, instead of the last few small ones."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    network.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    for n, (arrays, _, _) in enumerate(batches(exams, batch, generator)):
        if n == count:
            break
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network.feature_map(arrays)
    for norm in norms:
        norm.momentum = 0.1


def main(arguments: list[str] | None = None) -> None:
    o = options(arguments)
    torch.manual_seed(o.seed)
    generator = torch.Generator().manual_seed(o.seed)
    head = "linear" if o.objective == "bce" else "cosine"
    settings = NetworkSettings(width=o.width, blocks=tuple(o.blocks), head=head, pooling=o.pooling)
    network = BreastNet(half_settings(settings) if o.resolution == "half" else settings)
    if o.init:
        state = load_weights(o.init)
        load = full_from_half(state) if o.resolution == "full" and state["stem.0.weight"].shape[-1] == 3 else state
        missing, unexpected = network.load_state_dict(load, strict=False)
        if {*missing, *unexpected} - {"bias"}:  # only the heads may differ
            raise SystemExit(f"{o.init} holds weights of another architecture; give the --width, --blocks and --pooling it was made with.")
    network = network.to(memory_format=torch.channels_last_3d)
    train, check = Exams(files(o.cache, o.train), o.resolution), Exams(files(o.cache, o.validate), o.resolution)
    guide = GuidanceHead(network.settings.features)
    learned = torch.nn.ModuleDict({"network": network, "guide": guide})
    plain = [p for p in learned.parameters() if p.ndim < 2]  # norms, biases and the head's w: no decay
    decayed = [p for p in learned.parameters() if p.ndim >= 2]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=o.rate)
    if len(train) < o.batch:
        raise SystemExit(f"{len(train)} training exams do not fill a batch of {o.batch}; make more, or lower --batch.")
    steps = o.epochs * (len(train) // o.batch)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps))) + 0.01)
    )

    o.output.mkdir(parents=True, exist_ok=True)
    chosen = {k: str(v) if isinstance(v, Path) else v for k, v in vars(o).items()}
    config = {**chosen, "network": asdict(network.settings), "seen": seen_exams(o)}
    (o.output / "config.json").write_text(json.dumps(config, indent=1))
    first, best = 0, -1.0
    last = o.output / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True)
        learned.load_state_dict(saved["learned"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        generator.set_state(saved["generator"])
        first, best = saved["epoch"], saved["best"]
    for epoch in range(first, o.epochs):
        start, total, seen, guided = time.time(), 0.0, 0, 0.0
        margin = o.margin * min(1.0, (epoch + 1) / o.margin_warmup) if o.margin_warmup else o.margin
        network.train()
        if o.freeze_norm:
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm3d):
                    module.eval()
        for arrays, labels, centres in batches(train, o.batch, generator):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                features = network.feature_map(arrays)
            loss, extra = objective(network, network.pool(features), labels, o.objective, margin), 0.0
            if o.guidance:
                wanted = targets(centres, features.shape[2:], network.settings.total_stride)
                extra = guidance_loss(guide(features), wanted)
                guided += float(extra.detach()) * len(labels)
            optimiser.zero_grad(set_to_none=True)
            (loss + o.guidance * extra).backward()
            torch.nn.utils.clip_grad_norm_(learned.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total, seen = total + float(loss.detach()) * len(labels), seen + len(labels)
        if not o.freeze_norm:
            settle_norms(network, train, o.batch, generator)
        check_loss, check_auc = validate(network, check, o.batch)
        row = {
            "epoch": epoch + 1,
            "train_loss": round(total / seen, 4),
            "guidance_loss": round(guided / seen, 4),
            "validation_loss": round(check_loss, 4),
            "validation_auc": round(check_auc, 4),
            "seconds": round(time.time() - start, 1),
        }
        print(row, flush=True)
        new = not (o.output / "metrics.csv").exists()
        with open(o.output / "metrics.csv", "a", newline="") as stream:
            writer = csv.DictWriter(stream, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        if not check_auc < best:  # also when there is only one class, and so no AUC
            best = check_auc
            save_weights(network, o.output / "best.safetensors")
        partial = last.with_suffix(".tmp")
        torch.save(
            {
                "learned": learned.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
                "epoch": epoch + 1,
                "best": best,
            },
            partial,
        )
        os.replace(partial, last)
    save_weights(network, o.output / "final.safetensors")


if __name__ == "__main__":
    main()
