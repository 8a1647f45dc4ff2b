"""Benchmarks against what a user would pick instead: same model, data, batch and numbers, timed in turns.

Lives beside the package, not in it: `python -m benchmarks ROW --peer trl|hf|vllm|self` (benchmarks/README.md).
"""
