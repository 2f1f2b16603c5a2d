"""From the user's tables to results: the direct call, many tables, one table's own solution, partitions of Dask."""
