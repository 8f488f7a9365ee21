"""The three stages of training: the Lightning module, the monitor of its steps, and the runs."""
