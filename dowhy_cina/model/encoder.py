"""The column-token transformer: from column statistics to corrections of the closed forms' settings.

Letters: B tables, N rows, D covariates, F features of a column, G features of a table, E embedding.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dowhy_cina.config import ModelConfig

#: Settings predicted for each column: log-scales in the kernels of treatment, control outcome and treated outcome.
COLUMN_OUTPUTS = 3
#: Settings predicted for each table, with the largest correction of each (natural logarithm, through tanh).
TABLE_OUTPUTS: dict[str, float] = {
    "treatment_width": 1.0,
    "outcome_width": 1.0,
    "treatment_short": 3.0,
    "treatment_wide": 2.0,
    "outcome_short": 3.0,
    "outcome_wide": 2.0,
    "treatment_penalty": 2.0,
    "control_penalty": 2.0,
    "treated_penalty": 2.0,
    "balance_ridge": 3.0,
    "treatment_isotropic": 2.0,
    "outcome_isotropic": 2.0,
    "propensity_in_outcome": 2.0,
    "propensity_in_balance": 2.0,
    "prognosis_in_balance": 2.0,
    "regularisation": 2.0,
}
#: Places of the outputs after the arms have changed places.
_SWAPPED_COLUMN_OUTPUTS = (0, 2, 1)
_SWAPPED_TABLE_OUTPUTS = tuple(
    list(TABLE_OUTPUTS).index(
        {"control_penalty": "treated_penalty", "treated_penalty": "control_penalty"}.get(name, name)
    )
    for name in TABLE_OUTPUTS
)
#: Largest correction of a column's log-scale.
COLUMN_BOUND = 1.5


def _correlations(
    x: Float[Tensor, "B N D"], y: Float[Tensor, "B K N"], rows: Float[Tensor, "B K N"]
) -> Float[Tensor, "B K D"]:
    """Correlation of every column with each ``y`` over its weighted rows; zero for constants.

    Sums over rows are products of matrices. The columns are near their means already, of which one over fewer rows is
    taken off their squares.
    """
    weight = rows / rows.sum(2, keepdim=True)
    centred = y - (weight * y).sum(2, keepdim=True)
    left = weight * centred
    sums = torch.cat([left, weight], 1) @ x
    covariance, means = sums.chunk(2, 1)
    variance = (weight @ (x * x) - means * means).clamp_min(0)
    scale = (variance * (left * centred).sum(2, keepdim=True)).clamp_min(1e-12).sqrt()
    return covariance / scale


def column_features(
    x: Float[Tensor, "B N D"],
    t: Float[Tensor, "B N"],
    y: Float[Tensor, "B N"],
    shares: Float[Tensor, "B D 3"],
    sizes: tuple[Float[Tensor, " B"], Float[Tensor, " B"]] | None = None,
) -> Float[Tensor, "B D F"]:
    """Statistics of each column and of its association with treatment and with the outcome of each arm.

    All are invariant to the sign of a column and of the outcome and to the order of rows. ``sizes`` are the numbers of
    independent controls and treated, where those are not the rows.
    """
    count, ones = x.new_full((x.shape[0],), x.shape[1]), torch.ones_like(t)
    counts = (count, (1 - t).sum(1), t.sum(1)) if sizes is None else (sizes[0] + sizes[1], *sizes)
    size, square = x.abs(), x * x
    transformed = torch.cat([x, square - 1, size], 2)
    parts = [*torch.log(shares * x.shape[2] + 1e-3).unbind(-1)]
    rows, responses = torch.stack([ones, 1 - t, t], 1), torch.stack([t, y, y], 1)
    correlations = _correlations(transformed, responses, rows).abs()
    # Sizes of the correlations, as they are and in standard errors on a log scale.
    significances = torch.log1p(correlations * torch.stack(counts, 1).sqrt()[..., None])
    forms = [form.reshape(len(x), 3, 3, x.shape[2]) for form in (correlations, significances)]
    parts += torch.stack(forms, 3).flatten(1, 3).unbind(1)
    cross = (x.mT @ x).abs() / x.shape[1]
    cross.diagonal(dim1=1, dim2=2).zero_()
    skewness, kurtosis = (square * x).mean(1).abs(), square.square().mean(1)
    parts += [torch.log1p(skewness), torch.log1p(kurtosis), (size.mean(1) - 1).abs()]
    parts += [cross.mean(2), cross.amax(2) if x.shape[2] else cross.mean(2)]
    return torch.stack(parts, -1)


#: Number of column features: gradient shares, nine associations in two forms, and five of the column itself.
COLUMN_FEATURES = 3 + 18 + 5
#: Number of table features, see :func:`table_features`.
TABLE_FEATURES = 12
#: Places of :func:`column_features` and of :func:`table_features` after the arms have changed places.
SWAPPED_COLUMN_FEATURES = (0, 2, 1, *range(3, 9), *range(15, 21), *range(9, 15), *range(21, 26))
SWAPPED_TABLE_FEATURES = (0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 11, 10)


def table_totals(
    t: Float[Tensor, "B N"],
    y: Float[Tensor, "B N"],
    sizes: tuple[Float[Tensor, " B"], Float[Tensor, " B"]] | None = None,
) -> Float[Tensor, "B 4"]:
    """All that :func:`table_features` asks of the rows: their sums of 1, t, y^4 and |y|.

    ``sizes`` are the numbers of independent controls and treated, where those are not the rows: the means of y^4 and
    |y| stay those of the rows.
    """
    totals = torch.stack(
        [torch.full_like(t[:, 0], t.shape[1]), t.sum(1), y.square().square().sum(1), y.abs().sum(1)], -1
    )
    if sizes is None:
        return totals
    count = sizes[0] + sizes[1]
    return torch.cat([torch.stack([count, sizes[1]], -1), totals[:, 2:] * (count / t.shape[1])[:, None]], -1)


def table_features(
    totals: Float[Tensor, "B 4"], columns: int, explained: Float[Tensor, "B 3"], freedom: Float[Tensor, "B 3"]
) -> Float[Tensor, "B G"]:
    """Sizes of the table and its arms, what the pilot fits explain, and the outcome's shape.

    ``totals`` are the :func:`table_totals`.
    """
    n, treated, fourth, absolute = totals.unbind(-1)
    width = torch.full_like(n, columns + 1)
    sizes = [torch.log(n) - 6, torch.log(treated) - 5, torch.log(n - treated) - 5, torch.log(width) - 2.5]
    shape = [torch.log1p(fourth / n) - 1, (absolute / n - 1).abs()]
    return torch.cat([torch.stack(sizes + shape, -1), explained, torch.log(freedom)], -1)


class ColumnEncoder(nn.Module):
    """Transformer over one token per column and one for the table.

    It is equivariant to the order of the columns and, as the mean over both ways to call the arms, to their names. The
    output layers start at zero, so that an untrained network leaves the fixed rule as it is.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.column_input = nn.Linear(COLUMN_FEATURES, config.width)
        self.table_input = nn.Linear(TABLE_FEATURES, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            2 * config.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.column_output = nn.Linear(config.width, COLUMN_OUTPUTS)
        self.table_output = nn.Linear(config.width, len(TABLE_OUTPUTS))
        for output in (self.column_output, self.table_output):
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)

    def forward(
        self, columns: Float[Tensor, "B D F"], table: Float[Tensor, "B G"]
    ) -> tuple[Float[Tensor, "B D 3"], dict[str, Float[Tensor, " B"]]]:
        """Log-scale corrections of each column and logarithms of the table's multipliers, all bounded."""
        columns = torch.cat([columns, columns[..., SWAPPED_COLUMN_FEATURES]])
        table = torch.cat([table, table[:, SWAPPED_TABLE_FEATURES]])
        tokens = torch.cat([self.table_input(table)[:, None], self.column_input(columns)], 1)
        # The layers one after the other, without what the whole asks of masks, which takes as long as a layer.
        for layer in self.transformer.layers:
            tokens = layer(tokens)
        hidden = self.norm(tokens)
        scales, swapped_scales = (COLUMN_BOUND * torch.tanh(self.column_output(hidden[:, 1:]))).chunk(2)
        raw, swapped_raw = torch.tanh(self.table_output(hidden[:, 0])).chunk(2)
        scales = (scales + swapped_scales[..., _SWAPPED_COLUMN_OUTPUTS]) / 2
        raw = (raw + swapped_raw[:, _SWAPPED_TABLE_OUTPUTS]) / 2
        multipliers = raw * raw.new_tensor(list(TABLE_OUTPUTS.values()))
        return scales, dict(zip(TABLE_OUTPUTS, multipliers.unbind(1), strict=True))
