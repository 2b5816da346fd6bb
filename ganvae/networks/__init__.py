"""Networks: torch and nothing of losses or training."""
