"""Running, looking at and steering dispatchers, from outside of the application."""
