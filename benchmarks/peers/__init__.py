"""The peers' sides. Each module runs in the peer's own environment and imports nothing of Assent."""
