"""Plans in, safe velocity commands out."""
