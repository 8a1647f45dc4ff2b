"""What PPO maximises: a reward model, a Python function, a weighted sum of them. Each is a `Scorer`."""
