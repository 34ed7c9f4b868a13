"""Brings the nodes of a robot up and down."""
