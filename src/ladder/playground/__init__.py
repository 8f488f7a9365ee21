"""The ladder in the browser: three tabs to draw, to change and to ask, with a slider a rung."""
