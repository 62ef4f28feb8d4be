"""The training step of benchmarks/training.py in PyTorch (channels-last), for another Python, which has torch.

    python torch_training.py IMAGE_SIZE CLIPS SEGMENTS CLASSES FLOW_LENGTH

Answers {"steps": N} with {"times": [seconds, ...]}; nothing of ccsn_tf is imported.
"""

import itertools
import json
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional

# EfficientNet-Lite0: repeats, kernel, stride, expansion, output channels. The connection is behind row JOINED.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80))
STAGES += ((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
JOINED, HEADS = 5, 4


def convolution(before, after, kernel=1, stride=1, groups=1, act=True):
    layers = [nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(after)]
    return nn.Sequential(*layers, *([nn.ReLU6()] if act else []))


class Inverted(nn.Module):
    def __init__(self, before, after, kernel, stride, expansion):
        super().__init__()
        inner = before * expansion
        parts = [convolution(before, inner)] if expansion > 1 else []
        parts += [convolution(inner, inner, kernel, stride, inner), convolution(inner, after, act=False)]
        self.parts, self.residual = nn.Sequential(*parts), stride == 1 and before == after

    def forward(self, x):
        return x + self.parts(x) if self.residual else self.parts(x)


def stream(channels):
    """The parts below and above the connection."""
    stages, before = [convolution(channels, 32, 3, 2)], 32
    for repeats, kernel, stride, expansion, after in STAGES:
        first = Inverted(before, after, kernel, stride, expansion)
        others = [Inverted(after, after, kernel, 1, expansion) for _ in range(repeats - 1)]
        stages.append(nn.Sequential(first, *others))
        before = after
    stages.append(convolution(before, 1280))
    return nn.ModuleList([nn.Sequential(*stages[: JOINED + 1]), nn.Sequential(*stages[JOINED + 1 :])])


class Message(nn.Module):
    """Cross-attention of one stream to the other with a learned Gaussian window per head, normalised to zero."""

    def __init__(self, channels, side):
        super().__init__()
        self.width = channels // 2
        self.query, self.key, self.value = (nn.Linear(channels, self.width) for _ in range(3))
        self.output, self.norm = nn.Linear(self.width, channels), nn.BatchNorm1d(channels)
        nn.init.zeros_(self.norm.weight)
        self.windows = nn.Parameter(torch.zeros(HEADS))
        places = 8 * torch.cartesian_prod(torch.arange(side), torch.arange(side)).float() / side
        self.register_buffer("offsets", ((places[:, None] - places[None]) ** 2).sum(-1))

    def forward(self, own, other):
        n, c, h, w = own.shape
        own, other = (x.flatten(2).transpose(1, 2) for x in (own, other))
        query, key, value = (
            layer(x).view(n, h * w, HEADS, -1).transpose(1, 2)
            for layer, x in ((self.query, own), (self.key, other), (self.value, other))
        )
        logits = query @ key.transpose(2, 3) / math.sqrt(self.width / HEADS)
        logits = logits - functional.softplus(self.windows)[:, None, None] * self.offsets
        found = (logits.softmax(-1) @ value).transpose(1, 2).reshape(n, h * w, self.width)
        message = self.norm(self.output(found).transpose(1, 2))
        return message.reshape(n, c, h, w).contiguous(memory_format=torch.channels_last)


class TwoStreams(nn.Module):
    def __init__(self, size, classes, flow_length):
        super().__init__()
        self.streams = nn.ModuleList([stream(3), stream(2 * flow_length)])
        self.messages = nn.ModuleList([Message(STAGES[JOINED - 1][-1], math.ceil(size / 16)) for _ in range(2)])
        self.classifiers = nn.ModuleList([nn.Linear(width, classes) for width in (1280, 1280, 2560)])
        self.embeddings = nn.ModuleList([nn.Linear(1280, 128, bias=False) for _ in range(2)])

    def forward(self, images, clips):
        s, m = (parts[0](image) for parts, image in zip(self.streams, images, strict=True))
        s, m = s + self.messages[0](s, m), m + self.messages[1](m, s)
        tops = [parts[1](x).mean((2, 3)) for parts, x in zip(self.streams, (s, m), strict=True)]
        ends = [top.view(clips, -1, 1280).mean(1) for top in tops]
        dropped = [functional.dropout(end, 0.5, self.training) for end in ends]
        spatial, temporal = (layer(x) for layer, x in zip(self.classifiers[:2], dropped, strict=True))
        fused = spatial + temporal + self.classifiers[2](torch.cat(dropped, 1))
        embeddings = [layer(end) for layer, end in zip(self.embeddings, ends, strict=True)]
        return (spatial, temporal, fused), [functional.normalize(embedding) for embedding in embeddings]


def joint_loss(logits, embeddings, labels, margin=0.3):
    """Three cross-entropies, and batch-hard ranking within and across the streams."""
    total, same = sum(functional.cross_entropy(each, labels) for each in logits), labels[:, None] == labels[None]
    for a, anchors in enumerate(embeddings):
        for r, references in enumerate(embeddings):
            distances = (((anchors[:, None] - references[None]) ** 2).sum(-1) + 1e-12).sqrt()
            positives = same & ~torch.eye(len(labels), dtype=torch.bool) if a == r else same
            farthest = distances.masked_fill(~positives, 0).amax(1)
            nearest = distances.masked_fill(same, math.inf).amin(1)
            total = total + 0.5 * functional.relu(farthest - nearest + margin).mean()
    return total


def main(size, clips, segments, classes, flow_length):
    model = TwoStreams(size, classes, flow_length).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    shapes = [(clips * segments, channels, size, size) for channels in (3, 2 * flow_length)]
    batch = [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes]
    labels = torch.arange(clips) // 2
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        ends = []
        for _ in range(json.loads(line)["steps"] + 1):
            images = [(x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last) for x in batch]
            optimizer.zero_grad()
            joint_loss(*model(images, clips), labels).backward()
            optimizer.step()
            ends.append(time.perf_counter())
        print(json.dumps({"times": [b - a for a, b in itertools.pairwise(ends)]}), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
