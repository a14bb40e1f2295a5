"""One process: its polls, workers, wake-ups and memory of what happened."""
