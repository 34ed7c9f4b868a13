"""Clients that drive the whole stack and watch it: the demonstration, the soak test."""
