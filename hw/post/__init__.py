"""Post engine: from accumulators to stored stream values and activation planes."""
