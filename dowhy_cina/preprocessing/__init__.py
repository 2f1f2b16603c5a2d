"""From the user's table to arrays: arms, outcome, encoded covariates in an order that no permutation changes."""

from dowhy_cina.preprocessing.arms import TreatmentCoding, check_outcome, encode_treatment
from dowhy_cina.preprocessing.canonical import canonical_row_key
from dowhy_cina.preprocessing.covariates import Preprocessor
from dowhy_cina.preprocessing.sampling import check_cluster, check_sample_weight

__all__ = [
    "Preprocessor",
    "TreatmentCoding",
    "canonical_row_key",
    "check_cluster",
    "check_outcome",
    "check_sample_weight",
    "encode_treatment",
]
