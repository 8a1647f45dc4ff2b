"""Our side: Assent's own code, put together as its steps put it together."""
