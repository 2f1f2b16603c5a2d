"""Columns that a search adds: labels, differences, an index, steps and waves; what each is, and how it is found."""
