"""A GRU that reads an image row by row, after Agarap's GRU classifier (arXiv 1709.03082, 2017).

The paper reads network traffic, one feature a step; rows of an image as steps are our extension. The
cell is torch's, which resets after the recurrent product (the paper's TensorFlow cell: before it).
"""

import torch
import torch.nn.functional as F
from timm.layers import to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, linear_classifier


class RowGRU(StagedNet):
    """One GRU cell over the rows, a linear readout of the last state.

    Args:
        num_classes: classes of the readout.
        in_chans: channels of the images; a step sees all channels of its row.
        img_size: side of the images in pixels, or (height, width); the number of rows is free.
        hidden: D, units of the cell (paper: 256).
        drop_rate: share of a row's values dropped in training (paper: keep 0.85).
    """

    def __init__(
        self, num_classes: int = 10, in_chans: int = 1, img_size: int | tuple[int, int] = 28, hidden: int = 256,
        drop_rate: float = 0.15,
    ):
        super().__init__(num_classes, num_features=hidden)
        self.row = in_chans * to_2tuple(img_size)[1]
        self.drop_rate = drop_rate
        # A cell in a loop and not nn.GRU, which torch.compile cannot take whole.
        self.cell = nn.GRUCell(self.row, hidden)
        self.fc = linear_classifier(self.num_features, num_classes)
        for weight in (self.cell.weight_ih, self.cell.weight_hh):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.cell.bias_ih)
        nn.init.zeros_(self.cell.bias_hh)
        # TensorFlow's cell starts with open gates (bias 1), so that the state is kept at first.
        nn.init.ones_(self.cell.bias_ih[: 2 * hidden])
        if num_classes:
            nn.init.normal_(self.fc.weight, 0, 0.01)
            nn.init.constant_(self.fc.bias, 0.1)

    def read(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to the states after every row, [B, D, H, 1]."""
        rows = x.permute(2, 0, 1, 3).flatten(2)  # [H, B, C * W]
        if rows.shape[2] != self.row:
            raise ValueError(f"gru_rows was built for rows of {self.row} values, got {rows.shape[2]}; set img_size")
        rows = F.dropout(rows, self.drop_rate, self.training)
        state = rows.new_zeros(rows.shape[1], self.num_features)
        states = []
        for row in rows.unbind(0):
            state = self.cell(row, state)
            states.append(state)
        return torch.stack(states, dim=2).unsqueeze(3)

    def stages(self):
        return [self.read]

    def pool(self, x: Tensor) -> Tensor:
        return x[:, :, -1, 0]


default_cfgs = generate_default_cfgs({
    "gru_rows": cifar_cfg(
        num_classes=10, input_size=(1, 28, 28), fixed_input_size=True, mean=(0.0,), std=(1.0,), first_conv=None,
    ),
})


@register_model
def gru_rows(pretrained: bool = False, **kwargs) -> RowGRU:
    """GRU of 256 units over the rows of 28-pixel grey images."""
    return build_model_with_cfg(RowGRU, "gru_rows", pretrained, **kwargs)
