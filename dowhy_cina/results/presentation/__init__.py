"""How results are told: in words, as a card in a notebook, and as a page of their own."""

from dowhy_cina.results.presentation.cards import effect_card, refutation_card
from dowhy_cina.results.presentation.page import report_page
from dowhy_cina.results.presentation.words import one_line, summary

__all__ = ["effect_card", "one_line", "refutation_card", "report_page", "summary"]
