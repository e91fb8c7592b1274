"""Networks of layers/zoo/ in PyTorch, with torchvision's names. make_torch_fixtures.py holds the engine's gradients
against theirs; tests/peers/torch_step.py times them. Written for speed as torchvision's are: ReLU and add in place."""

import torch
import torch.nn as nn
import torch.nn.functional as F

# Blocks of each stage, channels of the first stage, bottleneck blocks or plain ones, stem of ImageNet or of CIFAR.
RESNETS = {
    "resnet8": ((1, 1, 1), 16, False, "cifar"),
    "resnet20": ((3, 3, 3), 16, False, "cifar"),
    "resnet56": ((9, 9, 9), 16, False, "cifar"),
    "resnet18": ((2, 2, 2, 2), 64, False, "imagenet"),
    "resnet50": ((3, 4, 6, 3), 64, True, "imagenet"),
}


def default_shortcut(name):
    """How a block changes shape: "a" in networks published for CIFAR, else "b" (Shortcut in layers/zoo/zoo.h)."""
    return "a" if RESNETS[name][3] == "cifar" else "b"


def group_norm(channels):
    """Group norm with the engine's default: the largest divisor of the channels up to 32 (layers/zoo/zoo.h)."""
    groups = next(g for g in range(min(32, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class StandardizedConv2d(nn.Conv2d):
    """A convolution with its filters brought to mean 0 and length 1 (Qiao et al. 2019, arXiv:1903.10520)."""

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), unbiased=False, keepdim=True)
        filters = (self.weight - mean) / torch.sqrt(self.weight[0].numel() * (variance + 1e-6))
        return self._conv_forward(x, filters, self.bias)


class OptionA(nn.Module):
    """The shortcut without parameters: every second pixel, new channels zero on both sides of the old ones."""

    def __init__(self, extra, stride):
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x):
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


class Block(nn.Module):
    def __init__(self, c_in, width, stride, bottleneck, norm, shortcut, conv2d):
        super().__init__()
        out = width * 4 if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        channels = (c_in, width, width, out) if bottleneck else (c_in, width, out)
        strided = 1 if bottleneck else 0  # torchvision: a bottleneck strides in its 3x3 convolution
        for i, k in enumerate(kernels):
            conv = conv2d(channels[i], channels[i + 1], k, stride if i == strided else 1, k // 2, bias=False)
            setattr(self, f"conv{i + 1}", conv)
            setattr(self, f"bn{i + 1}", norm(channels[i + 1]))
        self.count = len(kernels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Identity()
        if (stride != 1 or c_in != out) and shortcut == "a":
            self.downsample = OptionA(out - c_in, stride)
        elif stride != 1 or c_in != out:
            self.downsample = nn.Sequential(conv2d(c_in, out, 1, stride, bias=False), norm(out))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = self.relu(y)
        y += self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    """`norm`: a function from channels to a module. `shortcut` "a" or "b" and `stem` "cifar" or "imagenet"; None: as
    published for the network. `conv2d`: the class of its convolutions."""

    def __init__(self, name, channels, classes, norm, shortcut=None, stem=None, conv2d=nn.Conv2d):
        super().__init__()
        stages, width, bottleneck, standard_stem = RESNETS[name]
        self.large_stem = (stem or standard_stem) == "imagenet"
        self.conv1 = conv2d(channels, width, *((7, 2, 3) if self.large_stem else (3, 1, 1)), bias=False)
        self.bn1 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if self.large_stem else nn.Identity()
        c = width
        for s, count in enumerate(stages):
            blocks = []
            for i in range(count):
                stride = 2 if s > 0 and i == 0 else 1
                blocks.append(
                    Block(c, width << s, stride, bottleneck, norm, shortcut or default_shortcut(name), conv2d))
                c = (width << s) * (4 if bottleneck else 1)
            setattr(self, f"layer{s + 1}", nn.Sequential(*blocks))
        self.stages = len(stages)
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for s in range(self.stages):
            x = getattr(self, f"layer{s + 1}")(x)
        return self.fc(x.mean((2, 3)))


class SmallCnn(nn.Module):
    def __init__(self, channels, classes, norm):
        super().__init__()
        c = channels
        for i, out in enumerate((16, 32, 64)):
            setattr(self, f"conv{i + 1}", nn.Conv2d(c, out, 3, 1, 1, bias=False))
            setattr(self, f"bn{i + 1}", norm(out))
            c = out
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.pool(self.relu(self.bn2(self.conv2(x))))
        x = self.relu(self.bn3(self.conv3(x)))
        return self.fc(x.mean((2, 3)))
