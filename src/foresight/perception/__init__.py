"""Perception: from raw camera messages to the latent of a world model."""
