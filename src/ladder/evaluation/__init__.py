"""Scores of a trained ladder in the toy world: observe first, then judge by pure functions."""
