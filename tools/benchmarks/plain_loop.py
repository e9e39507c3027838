"""A training loop for distillation as the literature writes it, to compare with; nothing of kdzoo but its networks.

PIL images, random crop and flip of each by torchvision in two worker processes (mdistiller's
number), float32 in NCHW, the teacher's forward under no_grad, loss and accuracy read after every
step. It is what RepDistiller, mdistiller and the repositories built on them do, without their
logging to files.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
WORKERS = 2


class Pictures(Dataset):
    """Arrays as torchvision's CIFAR100 holds them: a PIL image is made and transformed at each access.

    Args:
        images: [N, 32, 32, 3] uint8.
        labels: [N] int64.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels.tolist()
        self.transform = transforms.Compose([
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index], index


class PlainLoop:
    """The loop, as something that can be timed.

    Args:
        teacher, student: normalised images [B, 3, 32, 32] to logits [B, C].
        pictures: the training set.
        batch_size: images a step.
        device: where the networks are.
        cores: of the machine; there are no more workers than that.
    """

    name = "plain loop"
    limit = "bare fp32"

    def __init__(
        self, teacher: nn.Module, student: nn.Module, pictures: Pictures, batch_size: int, device: torch.device,
        cores: int,
    ):
        self.teacher, self.student = teacher.to(device).eval(), student.to(device).train()
        self.pictures, self.batch_size, self.device = pictures, batch_size, device
        self.workers = min(WORKERS, cores)
        self.optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        self.temperature, self.ce_weight, self.kd_weight = 4.0, 0.1, 0.9

    def steps(self, number: int, count: int) -> Iterator[int]:
        """``count`` training steps, with workers of their own; yields the images of each."""
        # One long epoch: no restart of the workers falls into the timed steps.
        sampler = RandomSampler(self.pictures, num_samples=count * self.batch_size)
        loader = DataLoader(self.pictures, self.batch_size, sampler=sampler, num_workers=self.workers)
        losses, top1, top5 = Average(), Average(), Average()
        for images, target, _ in loader:
            images = images.to(self.device, non_blocking=True)
            target = target.to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            with torch.no_grad():
                taught = self.teacher(images)
            logits = self.student(images)
            loss = self.ce_weight * F.cross_entropy(logits, target) + self.kd_weight * self.kd(logits, taught)
            loss.backward()
            self.optimizer.step()
            right1, right5 = accuracy(logits, target)
            losses.add(loss.item(), len(images))
            top1.add(right1.item(), len(images))
            top5.add(right5.item(), len(images))
            yield len(images)

    def kd(self, student: Tensor, teacher: Tensor) -> Tensor:
        """T^2 KL(teacher || student) of [B, C] logits at temperature T."""
        log_p = F.log_softmax(student / self.temperature, dim=1)
        q = F.softmax(teacher / self.temperature, dim=1)
        return F.kl_div(log_p, q, reduction="batchmean") * self.temperature**2


class Average:
    """A running mean of numbers on the host."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float, images: int) -> None:
        self.total += value * images
        self.count += images


@torch.no_grad()
def accuracy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Top-1 and top-5 in percent of [B, C] logits against [B] classes."""
    found = logits.topk(5, dim=1).indices == target[:, None]  # [B, 5]
    return 100.0 * found[:, 0].float().mean(), 100.0 * found.any(dim=1).float().mean()
