"""From driving to a bundle: data sets, training, export, evaluation."""
