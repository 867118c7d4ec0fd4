"""This room decides what is run again, what may be removed, and what is wrong with an installation."""
