#!/usr/bin/python3
"""One measurement of a PyTorch training step (forward, backward, SGD with momentum) on synthetic images in float32.

Prints one line of JSON: images_per_second, seconds_per_step (the median of its steps), peak_rss_bytes (of the whole
process, import included), parameters, and what was asked for. The networks are those of
tests/golden/torch_networks.py, whose gradients agree with the engine's. Needs Debian's python3-torch.

examples:
  tests/peers/torch_step.py resnet20
  tests/peers/torch_step.py resnet50 --batch-size 16 --layout nhwc --malloc keep
  tests/peers/torch_step.py resnet18 --stem cifar --norm bn --accumulation 2
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))

CLASSES = 10  # of the synthetic images of `mbs bench step`, whatever their size

# What glibc reads at the start of a process. keep: never give memory back, so that a step faults no page in again.
# huge: the same on huge pages, as the engine's arena is.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "268435456"}
MALLOC = {"default": {}, "keep": KEEP, "huge": {**KEEP, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}}


def restart_with(variables):
    """Starts this program again where glibc and OpenMP have not read the variables yet."""
    if any(os.environ.get(name) != value for name, value in variables.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **variables})


def peak_rss_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


def make_step(options):
    """A function that does one training step, and the number of parameters."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    from torch_networks import RESNETS, ResNet, group_norm

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    stem = options.stem or RESNETS[options.network][3]
    size = 32 if stem == "cifar" else 224
    layout = torch.channels_last if options.layout == "nhwc" else torch.contiguous_format
    norm = nn.BatchNorm2d if options.norm == "bn" else group_norm
    model = ResNet(options.network, 3, CLASSES, norm, stem=stem).to(memory_format=layout).train()
    images = torch.randn(options.batch_size, 3, size, size).contiguous(memory_format=layout)
    labels = torch.randint(0, CLASSES, (options.batch_size,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    chunk = options.batch_size // options.accumulation

    def step():
        optimizer.zero_grad(set_to_none=True)
        for first in range(0, options.batch_size, chunk):
            loss = F.cross_entropy(model(images[first:first + chunk]), labels[first:first + chunk])
            (loss / options.accumulation).backward()
        optimizer.step()

    return step, sum(p.numel() for p in model.parameters())


def measure(step, seconds):
    """Seconds of each step, from at least 3 steps after 2 that are not counted."""
    gc.disable()
    step()
    step()
    times = []
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["resnet20", "resnet56", "resnet18", "resnet50"])
    parser.add_argument("--norm", choices=["gn", "bn"], default="gn", help="default: %(default)s")
    parser.add_argument("--stem", choices=["cifar", "imagenet"],
                        help="first layers, and with them images of 32x32 or 224x224; default: as published")
    parser.add_argument("--batch-size", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nchw", help="nhwc: channels last")
    parser.add_argument("--malloc", choices=MALLOC, default="default",
                        help="keep: malloc keeps freed memory; huge: on huge pages too")
    parser.add_argument("--accumulation", type=int, default=1, help="sub-batches whose gradients are added up")
    parser.add_argument("--seconds", type=float, default=5, help="to measure for; default: %(default)s")
    options = parser.parse_args()
    if options.accumulation < 1 or options.batch_size % options.accumulation != 0:
        parser.error(f"--accumulation {options.accumulation} does not divide the batch of {options.batch_size}")
    restart_with({**MALLOC[options.malloc], "OMP_NUM_THREADS": str(options.threads)})

    step, parameters = make_step(options)
    times = measure(step, options.seconds)
    seconds = statistics.median(times)
    print(json.dumps({**vars(options), "images_per_second": options.batch_size / seconds, "seconds_per_step": seconds,
                      "steps": len(times), "peak_rss_bytes": peak_rss_bytes(), "parameters": parameters}))


if __name__ == "__main__":
    main()
