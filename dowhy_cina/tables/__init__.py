"""From the user's table to arrays: arms, outcome, encoded covariates in an order that no permutation changes."""

from dowhy_cina.tables.canonical import canonical_row_key
from dowhy_cina.tables.covariates import Preprocessor
from dowhy_cina.tables.roles import TreatmentCoding, check_cluster, check_outcome, check_sample_weight, encode_treatment

__all__ = [
    "Preprocessor",
    "TreatmentCoding",
    "canonical_row_key",
    "check_cluster",
    "check_outcome",
    "check_sample_weight",
    "encode_treatment",
]
