"""Small pictures as data URIs."""

import base64
import io

import numpy as np

LARGEST = 112  # pixels a side; larger pictures are scaled down to keep the page light


def data_uri(image: np.ndarray) -> str:
    """A uint8 [H, W, 1, 3 or 4] picture; small ones stay exact (PNG), large ones become a JPEG thumbnail."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    buffer, kind = io.BytesIO(), "png"
    if max(picture.size) > LARGEST and picture.mode != "RGBA":
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        picture.save(buffer, "JPEG", quality=85)
        kind = "jpeg"
    else:
        picture.save(buffer, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
