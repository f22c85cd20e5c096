"""Speed and memory of the live engine, each against a baseline in the same run."""
