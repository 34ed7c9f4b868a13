"""Robots as the stack knows them: their profiles."""
