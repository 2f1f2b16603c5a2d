"""What an estimate says and how it is shown: figures, diagnostics, variation, pictures. Knows pandas; no torch."""
