"""What every room shares: records, errors, JSON lines, hashing, seeds, the console, two protocols."""
