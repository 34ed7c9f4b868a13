"""How well a model drives: suites, baselines, figures and pictures."""
