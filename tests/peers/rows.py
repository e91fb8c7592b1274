"""What is compared with what: the settings that are measured, and the rows of the table that are made of them."""

import dataclasses
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MBS = os.path.join(ROOT, "build", "mbs")
TORCH_STEP = os.path.join(HERE, "torch_step.py")
ONEDNN = os.path.join(ROOT, "build", "peers", "onednn_convolutions")
DLIB = os.path.join(ROOT, "build", "peers", "dlib_resnet20")

THREADS = 2
SPEED, MEMORY = "images_per_second", "peak_rss_bytes"
SECONDS = "{seconds}"  # in a command: the whole seconds it is to measure for


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with its input, as `mbs bench step` and torch_step.py are told."""

    arch: str
    batch: int
    stem: str  # cifar or imagenet
    image_size: int

    def __str__(self):
        return f"{self.arch} b{self.batch}"


RESNET20 = Network("resnet20", 128, "cifar", 32)
RESNET56 = Network("resnet56", 128, "cifar", 32)
RESNET18 = Network("resnet18", 128, "cifar", 32)
RESNET50 = Network("resnet50", 16, "imagenet", 224)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to train (or, for oneDNN, only to convolve) that is measured, each time in a process of its own."""

    peer: str  # mbs, PyTorch, oneDNN or dlib
    name: str  # what sets it apart from other settings of the peer
    network: Network
    command: tuple  # prints one JSON object; SECONDS stands for the whole seconds it is to measure for
    threads: int = THREADS  # as OMP_NUM_THREADS says
    norm: str = ""  # of a rival that tells its number of parameters, which must be ours with this norm
    stdin_command: tuple = ()  # whose output the command reads

    def __str__(self):
        return f"{self.peer} {self.network} {self.name}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: the worst of `ours` against the best of `rivals`.

    The ratio ours/rivals of `quantity` is to be at least `asked`, or at most where the quantity is memory. An aim is
    told like any other target, but nobody has promised it.
    """

    name: str
    ours: tuple
    rivals: tuple
    asked: float
    quantity: str = SPEED
    aim: bool = False

    @property
    def settings(self):
        return tuple(dict.fromkeys(self.ours + self.rivals))


def network_options(network):
    return ("--stem", network.stem, "--image-size", str(network.image_size))


def mbs(network, order, norm="gn", threads=THREADS, batch=0, options=()):
    """A step of ours; on one thread it gets one processor to itself."""
    network = dataclasses.replace(network, batch=batch or network.batch)
    pin = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))) if threads == 1 else ()
    command = (MBS, "bench", "step", network.arch, "--orders", order, "--norm", norm, "--batch-size", str(network.batch),
               "--threads", str(threads), "--cores", str(threads), *network_options(network), *options,
               "--rounds", SECONDS,  # of about a second each
               "--progress", "none", "--json")
    name = f"{norm} {order}" + ("" if threads == THREADS else f", {threads} thread")
    name = " ".join((name, *options))
    return Setting("mbs", name, network, (*pin, *command), threads)


def torch(network, norm, layout, malloc, accumulation=1):
    command = (TORCH_STEP, network.arch, "--norm", norm, "--stem", network.stem, "--batch-size", str(network.batch),
               "--threads", str(THREADS), "--layout", layout, "--malloc", malloc, "--accumulation", str(accumulation),
               "--seconds", SECONDS)
    name = f"{norm} {layout}, malloc {malloc}" + (f", {accumulation} sub-batches" if accumulation > 1 else "")
    return Setting("PyTorch", name, network, command, norm=norm)


def onednn(network, algorithm):
    layers = (MBS, "bench", "kernels", network.arch, "--kind", "conv2d", "--batch-size", "1", *network_options(network),
              "--json")
    return Setting("oneDNN", f"convolutions, {algorithm}", network, (ONEDNN, str(network.batch), algorithm),
                   stdin_command=layers)


def dlib(threads):
    command = (DLIB, str(RESNET20.batch), SECONDS)
    return Setting("dlib", f"bn, {threads} thread" + "s" * (threads > 1), RESNET20, command, threads, "bn")


def torch_speed(network, norm):
    """PyTorch with memory that it keeps, on small pages and on huge ones; with group norm in two sub-batches, too.
    Batch norm of a sub-batch would be another training."""
    layouts = ("nchw", "nhwc")
    settings = [torch(network, norm, layout, malloc) for layout in layouts for malloc in ("keep", "huge")]
    if norm == "gn":
        settings += [torch(network, norm, layout, "keep", accumulation=2) for layout in layouts]
    return tuple(settings)


def torch_memory(network, norm):
    """PyTorch with the whole batch at once, as in the baseline of ours, whatever malloc does."""
    return tuple(torch(network, norm, layout, malloc) for layout in ("nchw", "nhwc") for malloc in ("default", "keep"))


def speed_rows():
    def beside_torch(network, order, norm, asked):
        return Row(f"{network} {norm}, {order} / PyTorch", (mbs(network, order, norm),), torch_speed(network, norm), asked)

    def beside_convolutions(algorithm, aim):
        return Row(f"{RESNET20} gn, mbs2, whole step / {algorithm} convolutions alone in oneDNN",
                   (mbs(RESNET20, "mbs2"),), (onednn(RESNET20, algorithm),), 1.0, aim=aim)

    return [
        beside_torch(RESNET20, "mbs2", "gn", 1.6),
        beside_torch(RESNET20, "baseline", "bn", 1.4),
        beside_torch(RESNET56, "mbs2", "gn", 1.6),
        beside_torch(RESNET18, "mbs2", "gn", 1.5),
        beside_torch(RESNET50, "mbs2", "gn", 1.3),
        beside_convolutions("direct", aim=False),
        beside_convolutions("winograd", aim=True),
        Row(f"{RESNET20} bn, baseline / dlib", (mbs(RESNET20, "baseline", "bn"),), (dlib(1), dlib(2)), 8.0),
    ]


def own_rows():
    def orders(network, asked, aim=False):
        return Row(f"{network} gn, mbs2 / baseline", (mbs(network, "mbs2"),), (mbs(network, "baseline"),), asked, aim=aim)

    batches = tuple(mbs(RESNET20, "mbs2", batch=batch) for batch in (32, 64, 128, 256, 512, 1024))
    return [
        orders(RESNET20, 1.25),
        orders(RESNET56, 1.25),
        orders(dataclasses.replace(RESNET20, batch=1024), 1.25, aim=True),
        orders(dataclasses.replace(RESNET56, batch=1024), 1.25, aim=True),
        orders(RESNET18, 0.99),
        orders(RESNET50, 0.99),
        Row(f"{RESNET20} gn, mbs2, 2 threads / 1 thread with half of the batch", (mbs(RESNET20, "mbs2"),),
            (mbs(RESNET20, "mbs2", threads=1, batch=64),), 1.9),
        # 5 % more time per image are 1 / 1.05 of the images per second.
        Row("resnet20 gn, mbs2, slowest / fastest batch of 32 to 1024", batches, batches, 1 / 1.05),
    ]


def memory_rows():
    def beside_torch(network, order, asked, options=()):
        ours = mbs(network, order, options=options)
        return Row(f"{network} gn, peak memory, {ours.name.removeprefix('gn ')} / PyTorch", (ours,),
                   torch_memory(network, "gn"), asked, MEMORY)

    return [
        beside_torch(RESNET20, "mbs2", 0.5),
        beside_torch(RESNET50, "mbs2", 0.75),
        beside_torch(RESNET20, "mbs-r", 0.35),
        beside_torch(RESNET50, "mbs-r", 0.5),
        beside_torch(RESNET50, "mbs-r", 0.5, ("--recompute", "expansions", "--buffer", "16MiB")),
    ]


def all_rows():
    return speed_rows() + own_rows() + memory_rows()


# What each peer needs, as `./setup.sh` is told.
PACKAGES = {"PyTorch": "python3-torch", "oneDNN": "libdnnl-dev", "dlib": "libdlib-dev"}


def is_missing(peer):
    """Whether a peer is not there to be measured."""
    if peer == "PyTorch":
        look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
        return subprocess.run(["/usr/bin/python3", "-c", look], check=False, stderr=subprocess.DEVNULL).returncode != 0
    return peer != "mbs" and not os.path.exists({"oneDNN": ONEDNN, "dlib": DLIB}[peer])
