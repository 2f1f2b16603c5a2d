"""The network: the column encoder, the CInA layer, and the model that joins them to the closed forms."""
