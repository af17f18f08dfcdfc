"""Architecture exploration: which accelerator for a model on a board."""
