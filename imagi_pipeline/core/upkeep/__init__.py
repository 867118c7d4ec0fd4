"""Old work looked after: what is run again, what may go, and what is wrong with an installation."""
