"""Numbers with intervals: bootstrap, surface floor, agreement, calibration, diversity (NumPy/SciPy)."""
