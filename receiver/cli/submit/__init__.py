"""`receiver submit`: a command for each declared model, and those for chains, batches, other models and once more."""
