"""The `hermes` command. It speaks HTTP only, and imports late so that it starts fast."""
