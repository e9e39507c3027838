import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from kdzoo.data.rand_augment import OPERATIONS, RandAugment
from kdzoo.errors import UserError

UNSIGNED = ("Identity", "Posterize", "Solarize", "AutoContrast", "Equalize")
CASES = [(name, sign) for name in OPERATIONS for sign in (1, -1) if sign > 0 or name not in UNSIGNED]


def pictures(shape=(4, 3, 32, 32), seed=0) -> torch.Tensor:
    """Smooth random pictures, uint8."""
    coarse = torch.rand(shape[0], shape[1], 5, 5, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).contiguous(memory_format=torch.channels_last)


def by_torchvision(image: torch.Tensor, operation: str, sign: int, magnitude: int) -> torch.Tensor:
    """One image with torchvision's own functions, strengths as in its RandAugment's table."""
    height, width = image.shape[-2:]
    part = magnitude / 30
    plain = dict(angle=0.0, translate=[0, 0], scale=1.0, shear=[0.0, 0.0], interpolation=InterpolationMode.NEAREST)
    shear = float(np.degrees(np.arctan(0.3 * part * sign)))
    return {
        "Identity": lambda: image,
        "ShearX": lambda: TF.affine(image, **{**plain, "shear": [shear, 0.0], "center": [0, 0]}),
        "ShearY": lambda: TF.affine(image, **{**plain, "shear": [0.0, shear], "center": [0, 0]}),
        "TranslateX": lambda: TF.affine(image, **{**plain, "translate": [int(150 / 331 * width * part * sign), 0]}),
        "TranslateY": lambda: TF.affine(image, **{**plain, "translate": [0, int(150 / 331 * height * part * sign)]}),
        "Rotate": lambda: TF.rotate(image, 30 * part * sign),
        "Brightness": lambda: TF.adjust_brightness(image, 1 + 0.9 * part * sign),
        "Color": lambda: TF.adjust_saturation(image, 1 + 0.9 * part * sign),
        "Contrast": lambda: TF.adjust_contrast(image, 1 + 0.9 * part * sign),
        "Sharpness": lambda: TF.adjust_sharpness(image, 1 + 0.9 * part * sign),
        "Posterize": lambda: TF.posterize(image, round(8 - 4 * part)),
        "Solarize": lambda: TF.solarize(image, 255 * (1 - part)),
        "AutoContrast": lambda: TF.autocontrast(image),
        "Equalize": lambda: TF.equalize(image),
    }[operation]()


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (3, 1, 28, 21), (2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("magnitude", [0, 10, 17])
@pytest.mark.parametrize("operation, sign", CASES)
def test_each_operation_is_torchvisions(operation, sign, magnitude, shape):
    images = pictures(shape)
    code = 2 * OPERATIONS.index(operation) + (sign < 0)
    ours = RandAugment(1, magnitude).apply(images, np.full((len(images), 1), code))
    theirs = torch.stack([by_torchvision(image, operation, sign, magnitude) for image in images])
    differing = (ours.int() - theirs.int()).abs() > 1
    assert ours.dtype == torch.uint8 and ours.shape == images.shape
    assert differing.float().mean() < 0.01  # a pixel exactly between two may round to either


def test_groups_give_what_one_image_alone_gets():
    images, step = pictures((64, 3, 16, 16)), RandAugment(n=2, magnitude=10)
    draws = step.draw(np.random.default_rng(0), 64, 16, 16)
    together = step.apply(images, draws)
    alone = torch.cat([step.apply(images[i : i + 1], draws[i : i + 1]) for i in range(64)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, images)


def test_draws_are_per_image_and_cover_all_operations_and_signs():
    draws = RandAugment(n=3).draw(np.random.default_rng(0), 2000, 8, 8)
    assert draws.shape == (2000, 3)
    names = {(OPERATIONS[code // 2], code % 2) for code in np.unique(draws)}
    assert len(names) == len(CASES) == 14 + 9 and ("Equalize", 1) not in names and ("Rotate", 1) in names
    counts = np.bincount(draws.ravel() // 2, minlength=14) / draws.size
    assert np.abs(counts - 1 / 14).max() < 0.01


def test_what_it_cannot_change_is_told():
    step = RandAugment()
    with pytest.raises(UserError, match="1 or 3 channels, these have 4"):
        step.apply(torch.zeros(1, 4, 8, 8, dtype=torch.uint8), np.zeros((1, 2), int))
    with pytest.raises(UserError, match="before Mixup"):
        step.apply(torch.zeros(1, 3, 8, 8), np.zeros((1, 2), int))
