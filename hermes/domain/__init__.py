"""The domain: events, folds, shapes. Pure; it imports nothing else of Hermes."""
