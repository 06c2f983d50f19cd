"""Examples that do real work: `app` shows them all, the others stand on their own."""
