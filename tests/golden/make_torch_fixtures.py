"""Writes the fixtures of tests/zoo_torch_test.cpp: loss, probabilities, gradients and running statistics of whole
networks, computed by PyTorch in float64. Needs Debian's python3-torch; README.md says how to run it.

Nothing of the engine is used here, except that its counter-based random numbers (engine/random.h) are computed again, so
that weights and images need not be stored.
"""
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from torch_networks import ResNet, SmallCnn, StandardizedConv2d

STREAM_TEST = 9  # engine/random.h: Stream::test
IMAGES, LABELS, PARAMS, STATES = range(4)  # what a value is for: the third part of its key
SAMPLED = 16  # elements of each array that are written out
MARGIN = 1e-5  # how far inputs of ReLU and winners of max pool stay from a tie, so that float32 decides alike

CASES = {
    "small_cnn_gn": dict(arch="small_cnn", norm="gn", gn_groups=4, input=(11, 9, 3), classes=7, samples=5, smoothing=0.125),
    "resnet8_gn_a": dict(arch="resnet8", norm="gn", gn_channels=8, shortcut="a", input=(11, 9, 1), classes=10, samples=5),
    "resnet20_gn_a": dict(arch="resnet20", norm="gn", gn_channels=4, shortcut="a", input=(13, 9, 3), classes=10, samples=3),
    "resnet8_bn_b": dict(arch="resnet8", norm="bn", shortcut="b", input=(11, 9, 3), classes=7, samples=5),
    "resnet8_gn_ws_b": dict(arch="resnet8", norm="gn", gn_channels=8, weight_standardization=1, shortcut="b",
                            input=(11, 9, 3), classes=10, samples=5),
    "resnet50_gn_b": dict(arch="resnet50", norm="gn", gn_groups=32, shortcut="b", input=(17, 21, 3), classes=5, samples=3,
                          smoothing=0.25),
}


# --- the engine's random numbers ---

def mix_bits(z):
    with np.errstate(over="ignore"):
        z = np.asarray(z, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def bits(seed, a, b, count):
    key = mix_bits(seed)
    for part in (STREAM_TEST, a, b):
        key = mix_bits(key ^ np.uint64(part))
    return mix_bits(key ^ mix_bits(np.arange(count, dtype=np.uint64)))


def centred(uniform_bits):
    """Multiples of 2^-15 in [-1, 1): exact in float32, also when scaled by a power of two or added to 1."""
    return (uniform_bits >> np.uint64(48)).astype(np.float64) * 2.0**-15 - 1


def labels_of(seed, count, classes):
    return [int(b) * classes >> 64 for b in bits(seed, LABELS, 0, count)]


# --- networks ---

def make_model(case):
    def norm(channels):
        if case["norm"] == "bn":
            return nn.BatchNorm2d(channels)
        return nn.GroupNorm(case["gn_groups"] or channels // case["gn_channels"], channels)

    channels, classes = case["input"][2], case["classes"]
    if case["arch"] == "small_cnn":
        model = SmallCnn(channels, classes, norm)
    else:
        shortcut = None if case["shortcut"] == "standard" else case["shortcut"]
        conv2d = StandardizedConv2d if case.get("weight_standardization") else nn.Conv2d
        model = ResNet(case["arch"], channels, classes, norm, shortcut, conv2d=conv2d)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs: note_relu(inputs[0]))
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_pre_hook(lambda pool, inputs: note_max_pool(pool, inputs[0]))
    return model


margins = []  # of every tie that a forward pass has decided


def note_relu(x):
    margins.append(x.detach().abs().min().item())


def note_max_pool(pool, x):
    padded = F.pad(x.detach(), (pool.padding,) * 4, value=-1e30)
    windows = padded.unfold(2, pool.kernel_size, pool.stride).unfold(3, pool.kernel_size, pool.stride).flatten(4)
    first, second = windows.topk(2).values.unbind(4)
    # Equal zeros out of a ReLU pass no gradient, so which of them wins does not matter.
    margins.append((first - second)[first > 0].min().item())


# --- filling and writing, in the engine's layout ---

def to_engine(t):
    """(out, in, kh, kw) -> (kh, kw, in, out); (out, in) -> (in, out)."""
    return t.permute(2, 3, 1, 0) if t.dim() == 4 else t.t() if t.dim() == 2 else t


def from_engine(values, like):
    if like.dim() == 4:
        o, i, h, w = like.shape
        return values.view(h, w, i, o).permute(3, 2, 0, 1)
    return values.view(like.shape[1], like.shape[0]).t() if like.dim() == 2 else values


def fill(model, seed):
    def values(kind, index, like):
        return from_engine(torch.from_numpy(centred(bits(seed, kind, index, like.numel()))), like)

    scales = [m.weight for m in model.modules() if isinstance(m, (nn.GroupNorm, nn.BatchNorm2d))]
    with torch.no_grad():
        for index, (_, p) in enumerate(model.named_parameters()):
            v = values(PARAMS, index, p)
            if p.dim() == 1:  # norm scales around 1, norm shifts and biases around 0
                p.copy_(1 + v / 2 if any(p is scale for scale in scales) else v / 2)
            else:  # the power of two at or below sqrt(6 / fan_in)
                fan_in = p[0].numel()
                p.copy_(v * 2.0 ** np.floor(np.log2(np.sqrt(6 / fan_in))))
        for index, (name, s) in enumerate(states_of(model)):
            v = values(STATES, index, s)
            s.copy_(1 + v / 2 if name.endswith("running_var") else v / 2)


def states_of(model):
    return [(n, s) for n, s in model.named_buffers() if not n.endswith("num_batches_tracked")]


def number(x):
    return f"{x:.17g}"


def array_line(kind, key, t):
    v = to_engine(t.detach()).contiguous()
    flat = v.flatten().numpy()
    projection = float(np.dot(flat, centred(mix_bits(np.arange(flat.size, dtype=np.uint64)))))
    places = mix_bits(np.arange(SAMPLED, dtype=np.uint64)) % np.uint64(flat.size)
    values = [np.linalg.norm(flat), np.abs(flat).max(), projection, *flat[places.astype(np.int64)]]
    return " ".join([kind, key, "x".join(map(str, v.shape)), *map(number, values)])


def run(case, seed):
    torch.manual_seed(0)
    model = make_model(case).double()
    fill(model, seed)
    h, w, c = case["input"]
    n, classes = case["samples"], case["classes"]
    pixels = 2 * centred(bits(seed, IMAGES, 0, n * h * w * c))
    images = torch.from_numpy(pixels).view(n, h, w, c).permute(0, 3, 1, 2)
    labels = torch.tensor(labels_of(seed, n, classes))

    margins.clear()
    logits = model.train()(images)
    loss = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=case["smoothing"])
    (loss / n).backward()
    correct = int((logits.argmax(1) == labels).sum())
    with torch.no_grad():
        eval_logits = model.eval()(images)
    return min(margins), model, loss.item(), correct, F.softmax(eval_logits, 1)


def write(name, case):
    case = {"gn_groups": 0, "gn_channels": 0, "shortcut": "standard", "smoothing": 0.0, **case}
    for seed in range(1000):
        margin, model, loss_sum, correct, probabilities = run(case, seed)
        if margin > MARGIN:
            break
    else:
        raise SystemExit(f"{name}: no seed keeps clear of ties")
    lines = ["# Made by make_torch_fixtures.py with PyTorch " + torch.__version__]
    for key, value in case.items():
        lines.append(f"{key} " + (" ".join(map(str, value)) if isinstance(value, tuple) else str(value)))
    lines += [f"seed {seed}", f"loss_sum {number(loss_sum)}", f"correct {correct}"]
    lines.append("probabilities " + " ".join(number(p) for p in probabilities.flatten().tolist()))
    lines += [array_line("gradient", key, p.grad) for key, p in model.named_parameters()]
    lines += [array_line("state", key, s) for key, s in states_of(model)]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".txt")
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
    print(f"{path}: {os.path.getsize(path)} bytes, seed {seed}, margin {margin:.1e}, loss {loss_sum:.4f}")


for name, case in CASES.items():
    write(name, case)
