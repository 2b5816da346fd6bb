"""A run from its settings to its judged model, and tournaments of several."""
