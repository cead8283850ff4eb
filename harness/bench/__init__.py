"""The start-up benchmark: who takes part, how they take turns, what was found and how it is told."""
