"""How fast and how large: measurements on made-up data and on models with random weights."""
