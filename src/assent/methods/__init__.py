"""Algorithms: wiring between engine, losses, advantages and the loop. Found in one literal dict."""
