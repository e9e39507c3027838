"""The 15 + 4 common corruptions of Hendrycks and Dietterich (ICLR 2019), in batch on the device.

    >>> from kdzoo.robust.corruptions import corrupt
    >>> foggy = corrupt(images, "fog", severity=3, index=range(len(images)))

A new one is a function with its constants under ``@corruption`` in the file of its family.
"""

from kdzoo.robust.corruptions import blur, digital, extra, noise, weather
from kdzoo.robust.corruptions.table import CORRUPTIONS, SEVERITIES, Corruption, corrupt, corruption

# The published order: it is that of every table and of the baseline's errors.
COMMON = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")

__all__ = [
    "COMMON", "CORRUPTIONS", "EXTRA", "SEVERITIES", "Corruption", "blur", "corrupt", "corruption", "digital", "extra",
    "noise", "weather",
]  # fmt: skip
